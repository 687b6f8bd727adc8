"""Porting mistakes that are not in the catalogue: for each, diagnose must say "unknown"."""

import numpy as np

from albert_np.golden.mistakes.rewriting import changed, wrong

QUERY, KEY, VALUE, DENSE, SCORES, PROBS, CONTEXT = (
    f"*.attention.{name}" for name in ("query", "key", "value", "dense", "scores", "probs", "context")
)
ACT, FFN, OUT = "encoder.*.activation", "*.ffn", "*.ffn_output"
NORMS = ("*LayerNorm", "*.full_layer_layer_norm")


def scaled_weight(factor):
    return lambda t, x, w, b, **how: t.linear(x, w * factor, b, **how)


def rolled_rows(t, x, w, b, **how):
    return t.linear(x, np.roll(w, 1, 0), b, **how)


def one_weight(t, x, w, b, **how):
    w = w.copy()
    w[0, 0] += 0.05
    return t.linear(x, w, b, **how)


def windowed(t, s, allowed, *rest, **how):
    i = np.arange(s.shape[-1])
    return t.probs(np.where(abs(i[:, None] - i) < 2, s, s - 50), allowed, *rest, **how)


def sloped(t, *a, **how):
    s = t.scores(*a, **how)
    i = np.arange(s.shape[-1])
    return s - s.dtype.type(0.1) * abs(i[:, None] - i)


def sparse(t, s, allowed, *rest, **how):
    p = t.probs(s, allowed, *rest, **how)
    return p * (p >= np.sort(p, -1)[..., -2:-1])


def dropped(t, x, **how):
    kept = np.random.default_rng(5).random(x.shape) > 0.1
    return t.activation(x, **how) * kept


def coarse(t, *a, **how):
    x = t.linear(*a, **how)
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(mantissa * 16) / 16, exponent).astype(x.dtype)


def one_channel(t, x, w, b, **how):
    b = b.copy()
    b[1] = 0
    return t.layer_norm(x, w, b, **how)


def swapped_channels(t, *a, **how):
    x = t.linear(*a, **how)
    return x[..., [1, 0, *range(2, x.shape[-1])]]


def one_head(t, p, v, *, num_heads):
    x = np.array(t.context(p, v, num_heads=num_heads))
    x[..., : x.shape[-1] // num_heads] *= x.dtype.type(1.1)
    return x


def gelu(x, cubic=0.05, factor=1.0):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi).astype(x.dtype) * (x + cubic * x**3))) * factor


FOREIGN = [
    wrong("ffn output times 1.01", "", OUT, lambda t, *a, **how: t.linear(*a, **how) * a[0].dtype.type(1.01)),
    wrong("linear bias on distances", "", SCORES, sloped),
    wrong("weight of the norm squared", "", NORMS, lambda t, x, w, b, **how: t.layer_norm(x, w * w, b, **how)),
    wrong("activation times 1.05", "", ACT, lambda t, x, **how: t.activation(x, **how) * x.dtype.type(1.05)),
    wrong("keys moved by a token", "", KEY, lambda t, *a, **how: np.roll(t.linear(*a, **how), 1, 1)),
    wrong("epsilon 0.03", "", NORMS, lambda t, *a, eps: t.layer_norm(*a, eps=0.03)),
    wrong("temperature 1.1", "", PROBS, lambda t, s, *a, **how: t.probs(s / s.dtype.type(1.1), *a, **how)),
    wrong("window", "", PROBS, windowed),
    wrong("channels reversed", "", "embeddings.LayerNorm", lambda t, *a, **how: t.layer_norm(*a, **how)[..., ::-1]),
    wrong("other words", "", "embeddings.word_embeddings", lambda t, i, w: t.gather(np.minimum(i ^ 1, len(w) - 1), w)),
    wrong("rows of ffn moved", "", FFN, rolled_rows),
    wrong("value times 0.95", "", VALUE, scaled_weight(0.95)),
    wrong("activation is x³", "", ACT, lambda t, x, **how: x**3 / 10),
    wrong("another constant", "", ACT, lambda t, x, **how: gelu(x)),
    wrong("activation with a floor", "", ACT, lambda t, x, **how: np.maximum(t.activation(x, **how), -0.05)),
    wrong("one weight off", "", FFN, one_weight),
    wrong("random dropout", "", ACT, dropped),
    wrong("few bits", "", DENSE, coarse),
    wrong("one channel without bias", "", NORMS, one_channel),
    wrong("two channels exchanged", "", DENSE, swapped_channels),
    wrong("one head louder", "", CONTEXT, one_head),
    wrong("two keys only", "", PROBS, sparse),
    wrong("residual times 0.7", "", "*.attention.sum", lambda t, x, y: 0.7 * x + y),
    wrong("query times 1.02", "", QUERY, scaled_weight(1.02)),
    wrong("norm with the median", "", "*.attention.LayerNorm", lambda t, x, w, b, eps: (x - np.median(x)) * w + b),
    changed("ffn reads the context", "", FFN, lambda one: _reads(one, one.name.replace("ffn", "attention.context"))),
    changed("query of the embeddings", "", QUERY, lambda one: _reads(one, "encoder.embedding_hidden_mapping_in")),
]


def _reads(one, name):
    from dataclasses import replace

    return replace(one, inputs=(name,))
