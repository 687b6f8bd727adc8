"""A whole ALBERT whose arithmetic is exact in float16, bfloat16 and float32, in any order: a comparison is bitwise.

Every weight, input and value of the trace is a small dyadic number, every sum has few terms of like size, and every nonlinear
function is used only where its exact value is a number of the format. So there is nothing to tolerate: a program that differs
in one bit (but for the sign of zero) is wrong, whatever its precision and its order of adding.

How it works. A state holds bits s = ±1, each in a pair of channels of opposite signs, size·s and −size·s, so that its mean is
known and its variance depends on nothing but the sizes (exact_code.py). These are chosen such that the variance is 1, and ε is
3: the root of variance + ε is 2. (An ε that is left out, or outside the root, changes bits.) The mean is a constant that biases
add, and in the embeddings one for each position.

- Embeddings: position, type and word each have bits of their own; constants that cancel make the tables dense.
- Attention: the position p is written in b bits p₀ … p₍b₋₁₎ = ±1. The query of head n carries 2ᵏ·(bit k of p xor mₙ), the key
  2ᵏ·(bit k of p), so that a score is c·Σ 2ᵏ·(±1), largest for the key at p xor mₙ; and if that is masked, for the allowed key
  whose position is nearest in the sense of xor. No two keys tie, so under *any* mask the softmax is one-hot: scores are at
  least 2c apart and e⁻²ᶜ is 0 in float32. A sequence with nothing to attend to is uniform: it has a power of two of tokens,
  all alike but for their positions.
- Values carry bits. A quarter of the channels holds the state; the others are empty (0 before LayerNorm, a constant behind
  it), and the output of attention fills them with bits of the attended tokens. So nothing needs to be cancelled, and the
  variance is known, whatever was attended to.
- The feed-forward network sees each pre-activation at 0 or at least 512 away from it, where gelu, silu and relu are 0 or x
  exactly, also in float16, where the cube overflows and tanh(∞) = 1. With h = act it computes the parity of m bits with sum S:

      (−1)ᵐ − (−1)ᵐ·h(S + m) + Σₖ 2·(−1)ᵐ⁺ᵏ⁺¹·h(S + m − 2k),  k = 1 … m − 1

  a line through (−1)ᵐ, (−1)ᵐ⁻¹ … at S = −m, −m + 2 …, and s = h(s) − h(−s) for the residual, which it takes away. Each new bit
  is the parity of some four old ones, of the token itself and of those attended to: a wrong bit never heals.
- The pooler is at ±32, where tanh is ±1. The head for masked words has 64 ± size in front of its activation, which is x there.

With heads of 16, sums may be kept in float16 too, in any order (with larger heads partial sums of q·k may overflow), and in
bfloat16 but for ffn_output and the head for masked words, whose partial sums need more digits.
LayerNorm's sums are kept in float32 at least, as programs in half precision do. Its mean and variance are exact in two passes,
or as the mean of squares; Welford's running mean, which torch has, divides on the way and is a few units off in float32, which
rounding to float16 or bfloat16 takes away again: torch gives the same bits in these two, and not in float32.

What it is no test of: exp, tanh, GELU and rsqrt between their saturated ends, whose accuracy budgets are for, and so the scale
and temperature of scores behind the softmax (the scores themselves show them).
"""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

import numpy as np

from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.names import expected_shapes, hub_name
from albert_np.checkpoints.save import save
from albert_np.config import AlbertConfig
from albert_np.encoder import layer_name
from albert_np.files import shown, write_atomically
from albert_np.golden.graph import ARCHITECTURES
from albert_np.golden.models.exact_code import Code, binary, shares
from albert_np.ops import Array

PATTERN = (2, 0.5, 0.5, 0.5, 0.5, 1, 1, 1)  # sizes of eight pairs, whose mean square is 1
EPSILON = 3.0
INPUTS_NAME = "inputs.npz"
LARGEST = 65504  # of float16
# Sizes by name. The first is for tests; the second has the sizes of ALBERT-base.
EXACT_SIZES = {
    "exact": {
        "vocab_size": 60,
        "embedding_size": 32,
        "hidden_size": 128,
        "num_attention_heads": 8,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "max_position_embeddings": 32,
    },
    "exact-base": {
        "vocab_size": 30000,
        "embedding_size": 128,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "max_position_embeddings": 512,
    },
}


def exact_set(
    config: AlbertConfig | None = None,
    seed: int = 0,
    architecture: str = "AlbertForPreTraining",
    *,
    length: int = 16,
    batch: int = 5,
) -> tuple[dict[str, Array], AlbertConfig, dict[str, Array]]:
    """A checkpoint (named as in a file of that class, float32), its config, and inputs, for which all arithmetic is exact.

    config: sizes to keep, by default those of EXACT_SIZES["exact"]; its layer_norm_eps becomes 3.
    length: T, a power of two. 16 tokens give scores so far apart that the softmax is one-hot in float64 as well; with more,
    float64 has probabilities below 10⁻⁵⁵ where float32 has 0, and nothing else differs.
    The sequences: one without a mask, one padded on the right, the others with holes, and the last with nothing to attend to
    (float16 does not swallow a score of some thousands in its lowest number: a program that adds the mask there, in place of
    choosing, is not uniform for that sequence). Any other mask, and any ids, are exact too in at most `length` positions.
    Raises ValueError for sizes that do not work, and says which do.
    """
    config = AlbertConfig(**EXACT_SIZES["exact"]) if config is None else config
    config = config.replace(layer_norm_eps=EPSILON, architectures=[architecture])
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}; got {shown(repr(architecture), 80)}")
    b, c = _check(config, length, batch)
    rng = np.random.default_rng(seed)
    parts = ARCHITECTURES[architecture]
    made = _Maker(config, rng, b, c).tensors()
    tensors = {}
    for name in expected_shapes(config, parts):
        short = name if "choice" not in parts or not name.startswith("classifier") else f"choice_{name}"
        tensors[hub_name(name, parts)] = made[short].astype(np.float32)
    if "predictions.decoder.weight" in tensors:
        tensors["predictions.decoder.bias"] = tensors["predictions.bias"]
    call = _inputs(config, rng, batch, length)
    if "choice" in parts:  # the sequences are the choices of one question
        call = {name: x[None] for name, x in call.items()}
    return tensors, config, call


def save_exact(
    folder: str | os.PathLike,
    config: AlbertConfig | None = None,
    seed: int = 0,
    architecture: str = "AlbertForPreTraining",
    *,
    length: int = 16,
) -> None:
    """Writes an exact set as a folder: config.json and model.safetensors as save_pretrained writes them, and inputs.npz."""
    tensors, config, call = exact_set(config, seed, architecture, length=length)
    save(folder, config.replace(dtype="float32"), as_tensors(tensors))
    data = io.BytesIO()
    np.savez(data, **call)  # type: ignore[arg-type]
    write_atomically(Path(folder) / INPUTS_NAME, data.getvalue())


def _check(config: AlbertConfig, length: int, batch: int) -> tuple[int, int]:
    """Bits of a position, and the unit c of scores."""
    E, H, N, I, D = (
        config.embedding_size,
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        config.head_size,
    )
    for name, value in (("length", length), ("batch", batch)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of 1 or more; got {shown(repr(value), 60)}")
    b = length.bit_length() - 1
    root = math.isqrt(D)
    c = min(512, 1 << int(math.log2(LARGEST / (root * (length - 1))))) if 1 < length <= LARGEST // root else 0
    types, words = max(1, (config.type_vocab_size - 1).bit_length()), max(1, (config.vocab_size - 1).bit_length())
    content = H // 8 - b
    rules = {
        "length must be a power of two, from 2 on": length == 1 << b and length > 1,
        f"{length} positions must be in the model's {config.max_position_embeddings}": (
            length <= config.max_position_embeddings
        ),
        "position_embedding_type must be absolute": config.position_embedding_type == "absolute",
        "hidden_act must not be tanh, which has no half that is x": config.hidden_act != "tanh",
        "the head size must be 16, 64 or 256, with an exact root": D in (16, 64, 256),
        "hidden_size must be a multiple of 64": H % 64 == 0,
        "embedding_size must be a multiple of 16, at most 128": E % 16 == 0 and E <= 128,
        "scores that far apart would overflow float16: fewer positions are needed": c >= 64,
        "embedding_size is too small to tell all tokens apart": E // 2 - b - types >= words,
        "hidden_size is too small for that many positions": content >= 1 and H // 2 - b <= 8 * content,
        "intermediate_size must be 1.5 to 5 times hidden_size": 3 * H // 2 <= I <= 5 * H,
        "every head must hold a code of the positions": D >= b,
    }
    for rule, holds in rules.items():
        if not holds:
            sizes = f"E={E}, H={H}, N={N}, I={I}, D={D}, V={config.vocab_size}, length={length}"
            raise ValueError(f"no exact set of these sizes: {rule}; got {sizes}")
    return b, c


def _inputs(config: AlbertConfig, rng: np.random.Generator, B: int, T: int) -> dict[str, Array]:
    pad = config.pad_token_id or 0
    ids = rng.integers(0, config.vocab_size, (B, T))
    types = np.broadcast_to(np.arange(T) % config.type_vocab_size, (B, T)).copy()
    mask = rng.random((B, T)) < 0.7
    mask[0] = True
    mask[1:2] = np.arange(T) <= 5 * T // 8
    mask[:, 0] = True  # padding on the left would only bring a warning
    if B > 1:
        mask[-1], types[-1] = False, 0
    ids = np.where(mask, ids, min(pad, config.vocab_size - 1))
    return {"input_ids": ids, "attention_mask": mask.astype(np.int64), "token_type_ids": types}


class _Maker:
    """Builds the tensors of one exact model, in float64, named as expected_shapes names them."""

    def __init__(self, config: AlbertConfig, rng: np.random.Generator, b: int, c: int) -> None:
        self.config, self.rng, self.b, self.c = config, rng, b, c
        E, H = config.embedding_size, config.hidden_size
        self.state_bits = H // 8  # of which the first b are the position's
        self.before_embedding = self._code(np.arange(E), E // 2, 1)
        self.embedding = self._behind(self.before_embedding)
        channels = rng.permutation(H)[: H // 4]
        self.before_state = self._code(channels, self.state_bits, 2, H)
        # behind LayerNorm the state has the sizes with which attention's sum has variance 1 again; empty channels a constant
        sizes = self._code(channels, self.state_bits, 1, H).size
        sign = np.sign(self.before_state.size)
        offset = np.where(sign == 0, self._any((0.25, 0.5, 1), H), np.abs(sizes) * self._any((0, 0.5), H))
        self.state = Code(self.before_state.bit, np.abs(sizes) * sign, offset)

    def tensors(self) -> dict[str, Array]:
        """All of them, of every head."""
        made = self._embeddings()
        for group in range(self.config.num_hidden_groups):
            for inner in range(self.config.inner_group_num):
                layer = self._layer()
                made |= {f"{layer_name(group, inner)}.{name}": x for name, x in layer.items()}
        return made | self._heads(made["embeddings.word_embeddings.weight"])

    # --- random choices ---

    def _any(self, sizes: tuple[float, ...], n: int) -> Array:  # -> (n,)
        """Some of the sizes, with random signs."""
        return self.rng.choice(sizes, n) * self.rng.choice((-1, 1), n)

    def _code(self, channels: Array, bits: int, scale: float, width: int | None = None) -> Code:
        """Pairs of the given channels, with PATTERN's sizes. Channels that are not given are empty."""
        C = len(channels) if width is None else width
        pairs = (channels if width is not None else self.rng.permutation(channels)).reshape(bits, 2)
        bit, size = np.full(C, -1), np.zeros(C)
        bit[pairs] = np.arange(bits)[:, None]
        magnitude = scale * self.rng.permutation(np.resize(PATTERN, bits)) * self.rng.choice((-1, 1), bits)
        size[pairs[:, 0]], size[pairs[:, 1]] = magnitude, -magnitude
        return Code(bit, size, np.zeros(C))

    def _behind(self, before: Code) -> Code:
        """Behind a LayerNorm, with other sizes of the same signs, and offsets."""
        n = len(before.bit)
        size = np.sign(before.size) * self.rng.choice((0.5, 1, 2), n)
        return Code(before.bit, size, size * self._any((0, 0.5), n))

    def _norm(self, name: str, before: Code, behind: Code) -> dict[str, Array]:
        """LayerNorm's weight and bias: x/2·weight + bias. The weight of an empty channel has nothing to multiply."""
        some = self.rng.choice((0.5, 1, 2), len(before.size))
        weight = np.divide(2 * behind.size, before.size, out=some, where=before.bit >= 0)
        return {f"{name}.weight": weight, f"{name}.bias": behind.offset}

    # --- parts ---

    def _embeddings(self) -> dict[str, Array]:
        config, rng, code, b = self.config, self.rng, self.before_embedding, self.b
        V, P, S, bits = config.vocab_size, config.max_position_embeddings, config.type_vocab_size, len(code.pairs)
        types = max(1, (S - 1).bit_length())
        words = bits - b - types
        numbered = binary(np.arange(V), max(1, (V - 1).bit_length()))
        random = rng.choice((-1, 1), (V, words - numbered.shape[1]))
        word_bits = np.concatenate([numbered, random], axis=1)[:, rng.permutation(words)] * rng.choice((-1, 1), words)
        signs = {
            "position": np.pad(binary(np.arange(P), b), ((0, 0), (0, bits - b))),
            "token_type": np.pad(binary(np.arange(S), types), ((0, 0), (b, words))),
            "word": np.pad(word_bits, ((0, 0), (b + types, 0))),
        }
        tables = {name: x[:, code.bit] * code.size for name, x in signs.items()}
        # constants that add up to 0; the words' own columns have none from them, so that the tied decoder stays small
        of_words = np.where(code.bit < b + types, np.abs(code.size) * self._any((0, 1), len(code.bit)), 0)
        of_positions = self._any((0.25, 0.5, 1), len(code.bit))
        tables["word"] += of_words
        tables["position"] += of_positions + rng.choice((0.5, 1, 2), (P, 1))  # a mean for LayerNorm
        tables["token_type"] -= of_words + of_positions
        made = {f"embeddings.{name}_embeddings.weight": x for name, x in tables.items()}
        made |= self._norm("embeddings.LayerNorm", code, self.embedding)
        # the state's bits: the position's, and then those of type and word, as often as there is room
        source = np.append(np.arange(b), b + rng.permutation(np.resize(np.arange(bits - b), self.state_bits - b)))
        full = self.state.bit >= 0
        weight, bias = self.embedding.read(source[self.state.bit], self.state.size)
        at = "encoder.embedding_hidden_mapping_in"
        made[f"{at}.weight"], made[f"{at}.bias"] = weight * full[:, None], bias * full + self.state.offset
        return made

    def _layer(self) -> dict[str, Array]:
        before_middle, made = self._attention()
        middle = self._behind(before_middle)
        made |= self._norm("attention.LayerNorm", before_middle, middle)
        made |= self._norm("full_layer_layer_norm", self.before_state, self.state)
        return made | self._feed_forward(middle)

    def _attention(self) -> tuple[Code, dict[str, Array]]:
        """Attention's weights, and how its sum holds bits: those of the state, and behind them one for each filled slot."""
        config, rng, state, b = self.config, self.rng, self.state, self.b
        H, N, D = config.hidden_size, config.num_attention_heads, config.head_size
        content = np.arange(b, self.state_bits)
        made: dict[str, Array] = {}

        # b dimensions of queries and keys hold the position; the others come in twos, whose products cancel
        places = np.stack([n * D + rng.permutation(D) for n in range(N)])  # (N,D)
        code, others = places[:, :b], places[:, b : b + (D - b) // 2 * 2].reshape(N, -1, 2)
        of_key = 8.0  # and the query has what is missing to √D·c
        of_query = math.isqrt(D) * self.c / of_key
        flips = binary(np.resize(rng.permutation(1 << b), N), b)  # −1 where bit k of mₙ is 0
        signs, both = rng.choice((-1, 1), code.shape), rng.choice((-1, 1), others.shape[:2])
        for name, size in (("query", of_query), ("key", of_key)):
            gain, bits = np.zeros(H), np.zeros(H, int)
            bits[code], bits[others] = np.arange(b), rng.choice(content, others.shape[:2])[..., None]
            gain[code] = signs * size * (-flips * 2.0 ** np.arange(b) if name == "query" else 1)
            gain[others] = size * np.stack([both, both if name == "query" else -both], axis=-1)
            made[f"attention.{name}.weight"], made[f"attention.{name}.bias"] = state.read(bits, gain)

        # values: each head fills 3D/8 slots, and its D dimensions share them
        slots = 3 * H // 8
        carried = rng.permutation(np.resize(content, slots))
        slot = np.concatenate(
            [n * (3 * D // 8) + rng.permutation(np.resize(np.arange(3 * D // 8), D)) for n in range(N)]
        )
        gains = self._any((0.5, 1, 2), H)
        made["attention.value.weight"], made["attention.value.bias"] = state.read(carried[slot], gains)
        pairs = rng.permutation(state.empty)
        filled = self._code(pairs, slots, 1, H)
        weight = np.zeros((H, H))
        weight[pairs] = (slot == filled.bit[pairs][:, None]) * filled.size[pairs][:, None] * shares(slot) / gains
        made["attention.dense.weight"], made["attention.dense.bias"] = weight, rng.choice((-2, -1, 1, 2)) - state.offset
        bit = np.where(state.bit >= 0, state.bit, self.state_bits + filled.bit)
        return Code(bit, state.size + filled.size, np.zeros(H)), made

    def _feed_forward(self, middle: Code) -> dict[str, Array]:
        """New content bits are parities of the old; positions stay."""
        config, rng, b = self.config, self.rng, self.b
        old = len(middle.pairs)
        mixed = np.array_split(rng.permutation(np.arange(b, old)), self.state_bits - b)
        units = (old - b) + 2 * old
        member, threshold, scale = np.zeros((units, old)), np.zeros(units), np.zeros(units)
        new_bit, constant, old_bit = (
            np.zeros((self.state_bits, units)),
            np.zeros(self.state_bits),
            np.zeros((old, units)),
        )
        at = 0
        for i, bits in enumerate(mixed, b):
            m = len(bits)
            here, sign = slice(at, at + m), (-1.0) ** m
            member[here, bits], threshold[here] = 1, -m + 2 * np.arange(m)
            scale[here] = rng.choice((512, 1024, 2048), m)
            new_bit[i, here] = np.where(np.arange(m) == 0, -sign, -2 * sign * (-1.0) ** np.arange(m)) / scale[here]
            constant[i] = sign
            at += m
        scale[at:] = 1024
        for s, first in ((1, at), (-1, at + old)):
            both = first + np.arange(old)
            member[both, np.arange(old)] = s
            old_bit[np.arange(old), both] = s / 1024
        new_bit[:b] = old_bit[:b]

        # more units than are needed share the work of one
        unit = rng.permutation(np.resize(np.arange(units), config.intermediate_size))
        weight, bias = middle.read(np.arange(old), np.ones(old))
        weight, bias = scale[:, None] * (member @ weight), scale * (member @ bias - threshold)
        target = self.before_state
        second = target.size[:, None] * new_bit[target.bit] - middle.size[:, None] * old_bit[middle.bit]
        return {
            "ffn.weight": weight[unit],
            "ffn.bias": bias[unit],
            "ffn_output.weight": second[:, unit] * shares(unit),
            "ffn_output.bias": target.size * constant[target.bit] - middle.offset + rng.choice((-2, -1, 1, 2)),
        }

    def _heads(self, words: Array) -> dict[str, Array]:
        config, rng, state = self.config, self.rng, self.state
        H, E, V, K = config.hidden_size, config.embedding_size, config.vocab_size, config.num_labels
        content = np.arange(self.b, self.state_bits)
        made: dict[str, Array] = {}
        some = rng.permutation(np.resize(content, H))
        made["pooler.weight"], made["pooler.bias"] = state.read(some, self._any((32, 64), H))

        # 64 ± size, in the pairs of the embedding; behind LayerNorm 1/size, so that with a word of the table each pair is ±2
        code = self.before_embedding
        bits = rng.permutation(np.resize(content, E // 2))[code.bit]
        weight, bias = state.read(bits, code.size)
        spare = np.resize(state.empty, E)  # takes what bfloat16 has no digits for beside 64
        weight[np.arange(E), spare] += bias / state.offset[spare]
        made["predictions.dense.weight"], made["predictions.dense.bias"] = weight, np.full(E, 64.0)
        inverse = 1 / code.size
        made |= self._norm("predictions.LayerNorm", code, Code(code.bit, inverse, inverse * self._any((0, 0.5), E)))
        if not config.tie_word_embeddings:
            words = made["predictions.decoder.weight"] = rng.choice((-1, 1), (V, E // 2))[:, code.bit] * code.size
        made["predictions.bias"] = rng.integers(-8, 9, V) - words @ made["predictions.LayerNorm.bias"]

        on_pooled = {"sop_classifier.classifier": 2, "choice_classifier": 1}
        on_hidden = {"qa_outputs": 2}
        (on_pooled if "pooled" in self._classified() else on_hidden)["classifier"] = K
        for name, rows in on_pooled.items():  # ±1 in at most 64 places of each row
            weight = np.zeros((rows, H))
            for row in weight:
                row[rng.permutation(H)[:64]] = rng.choice((-1, 1), min(64, H))
            made[f"{name}.weight"], made[f"{name}.bias"] = weight, self._any((0.5, 1.5), rows)
        for name, rows in on_hidden.items():  # eight bits
            read = [state.read(rng.choice(content, 8), self._any((0.5, 1, 2), 8)) for _ in range(rows)]
            made[f"{name}.weight"] = np.reshape([weight.sum(axis=0) for weight, _ in read], (rows, H))
            made[f"{name}.bias"] = np.array([bias.sum() for _, bias in read]) + self._any((0.5, 1.5), rows)
        return made

    def _classified(self) -> str:
        """What `classifier` reads: pooled states, or the states of all tokens."""
        named = self.config.architectures or [""]
        return "tokens" if named[0] == "AlbertForTokenClassification" else "pooled"
