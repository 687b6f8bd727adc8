"""Sums and maxima over the 32 lanes of a warp, without shared memory, and over the warps of a block, with it.

Each step adds what a lane 16, 8, 4, 2 and 1 places away has: five steps instead of 31, and every lane ends with the same bits.
"""

from __future__ import annotations

from albert_np.kernels.cuda.target import cuda, device

ALL = 0xFFFFFFFF


@device
def warp_sum(x):
    x += cuda.shfl_xor_sync(ALL, x, 16)
    x += cuda.shfl_xor_sync(ALL, x, 8)
    x += cuda.shfl_xor_sync(ALL, x, 4)
    x += cuda.shfl_xor_sync(ALL, x, 2)
    x += cuda.shfl_xor_sync(ALL, x, 1)
    return x


@device
def warp_max(x):
    x = max(x, cuda.shfl_xor_sync(ALL, x, 16))
    x = max(x, cuda.shfl_xor_sync(ALL, x, 8))
    x = max(x, cuda.shfl_xor_sync(ALL, x, 4))
    x = max(x, cuda.shfl_xor_sync(ALL, x, 2))
    return max(x, cuda.shfl_xor_sync(ALL, x, 1))
