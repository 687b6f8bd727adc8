"""Models whose products run on tensor cores, and the reference that rounds what they round."""

import numpy as np

import albert_np.model
from albert_np.backends.cuda.ops import CudaOps
from albert_np.golden.stochastic import DrawnOps
from support.cuda.matmul_tensor import seen


class RoundedOps:
    """A draw, which rounds operands of products as tensor cores want them; attention's too, if it is said."""

    def __init__(self, kind, attention, seed):
        self.kind, self.rounds_attention, self.drawn = kind, attention, DrawnOps(seed)

    def __getattr__(self, name):
        return getattr(self.drawn, name)

    def _seen(self, x):
        return seen(self.kind, np.asarray(x, np.float32)).astype(np.float64)

    def linear(self, x, weight, bias):
        return self.drawn.linear(self._seen(x), self._seen(weight), bias)

    def attention(self, query, key, value, attending, rng=None):
        if self.rounds_attention:
            query, key, value = map(self._seen, (query, key, value))
        return self.drawn.attention(query, key, value, attending, rng)


def on_tensor_cores(kind, name, config, tensors):
    """A model whose products are of that kind. Three products of tf32 are float32, which a user cannot ask for yet."""
    tensors = {key: x.astype(np.float32) for key, x in tensors.items()}
    dtype = "float32" if kind == "tf32x3" else kind
    model = getattr(albert_np.model, name)(config, backend="cuda", dtype=dtype, tensors=tensors)
    if kind == "tf32x3":
        model._engine.ops = CudaOps(kind)
    assert model._engine.ops.kind == kind
    return model
