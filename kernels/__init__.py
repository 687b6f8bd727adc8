"""Kernels for the CPU and the GPU, installed as `albert_np.kernels` and under no other name."""
