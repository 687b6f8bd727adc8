"""Numbers by which a program names the functions that the kernels apply to each element. Importing this imports no Numba."""

ACTIVATION_CODES = {"none": 0, "gelu_new": 1, "gelu": 2, "relu": 3, "silu": 4, "tanh": 5}  # what follows a product
FUNCTION_CODES = {**ACTIVATION_CODES, "sigmoid": 6, "erf": 7, "exp": 8}  # everything that `activate` can apply
