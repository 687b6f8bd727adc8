"""Models whose products run on tensor cores, and the reference that rounds what they round."""

import numpy as np

import albert_np.model
from albert_np import ops
from albert_np.backends.cuda.ops import CudaOps
from support.cuda.matmul_tensor import seen


class RoundedOps:
    """The reference, which rounds operands of products as tensor cores want them; attention's too, if it is said."""

    def __init__(self, kind, attention):
        self.kind, self.rounds_attention = kind, attention

    def __getattr__(self, name):
        return getattr(ops, name)

    def _seen(self, x):
        return seen(self.kind, x.astype(np.float32)).astype(x.dtype)

    def linear(self, x, weight, bias):
        return ops.linear(self._seen(x), self._seen(weight), bias)

    def attention(self, query, key, value, attending, rng=None):
        if self.rounds_attention:
            query, key, value = map(self._seen, (query, key, value))
        return ops.attention(query, key, value, attending, rng)


def on_tensor_cores(kind, name, config, tensors):
    """A model whose products are of that kind. Three products of tf32 are float32, which a user cannot ask for yet."""
    tensors = {key: x.astype(np.float32) for key, x in tensors.items()}
    dtype = "float32" if kind == "tf32x3" else kind
    model = getattr(albert_np.model, name)(config, backend="cuda", dtype=dtype, tensors=tensors)
    if kind == "tf32x3":
        model._engine.ops = CudaOps(kind)
    assert model._engine.ops.kind == kind
    return model
