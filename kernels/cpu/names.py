"""Numbers by which a program names the functions that the kernels apply to each element. Importing this imports no Numba."""

ACTIVATION_CODES = {  # the names a config may use, as in ops.ACTIVATIONS, and "none" for a layer without one
    "none": 0,
    "gelu_new": 1,
    "gelu_pytorch_tanh": 1,
    "gelu_fast": 1,
    "gelu": 2,
    "gelu_python": 2,
    "relu": 3,
    "silu": 4,
    "swish": 4,
    "tanh": 5,
}
FUNCTION_CODES = {**ACTIVATION_CODES, "sigmoid": 6, "erf": 7, "exp": 8}  # everything that `activate` can apply
