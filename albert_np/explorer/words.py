"""The words of the page: what each step of the network is called, what it does, its formula, and where its code is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from albert_np import activations, embeddings, encoder, heads, ops


@dataclass(frozen=True)
class Words:
    """What the page says of one step."""

    title: str
    says: str  # one or two short sentences
    formula: str
    shape: str  # of the result, in the letters of config.py
    code: tuple[Callable[..., Any], ...]  # what computes it, then what else to read: where it is called


NORM = "Moves and scales each token's numbers to mean 0 and variance 1, then applies a learned scale and shift."
NORM_FORMULA = "y = (x − mean(x)) / √(variance(x) + ε) · w + b"
RESIDUAL = "Adds what went in to what came out, number by number. So a step changes a state and does not replace it."
ACTIVATION = (
    "Bends each number on its own: large ones pass, negative ones become almost 0. Without it, two linear steps "
)
ACTIVATION += "would be one."
ACTIVATIONS = {
    activations.gelu_new: ("GELU", "y = x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))"),
    activations.gelu: ("GELU", "y = x · Φ(x), Φ: the normal distribution"),
    activations.relu: ("ReLU", "y = max(x, 0)"),
    activations.silu: ("SiLU", "y = x / (1 + e⁻ˣ)"),
    activations.tanh: ("tanh", "y = tanh(x)"),
}
LINEAR = ops.linear
ATTENTION, LAYER = encoder.attention, encoder.albert_layer

WORDS = {
    "embeddings.word_embeddings": Words(
        "word row",
        "Looks up the row of the word table whose number is the piece's id.",
        "y = table[id]",
        "T × E",
        (ops.embedding, embeddings.embeddings),
    ),
    "embeddings.token_type_embeddings": Words(
        "segment row",
        "Looks up a row that says to which of two texts the token belongs: 0 or 1.",
        "y = table[segment]",
        "T × E",
        (ops.embedding, embeddings.embeddings),
    ),
    "embeddings.position_embeddings": Words(
        "position row",
        "Looks up a row for the token's place. Without it, the model could not tell one order of words from another.",
        "y = table[position]",
        "T × E",
        (ops.embedding, embeddings.embeddings),
    ),
    "embeddings.sum": Words(
        "sum", "Adds the rows.", "y = word + segment + position", "T × E", (embeddings.embeddings,)
    ),
    "embeddings.LayerNorm": Words("LayerNorm", NORM, NORM_FORMULA, "T × E", (ops.layer_norm, embeddings.embeddings)),
    "encoder.embedding_hidden_mapping_in": Words(
        "projection",
        "Makes H numbers of E. ALBERT keeps its large word table narrow (E numbers a row) and widens what it looks up.",
        "y = x · Wᵀ + b",
        "T × H",
        (LINEAR, encoder.encoder),
    ),
    "attention.query": Words(
        "query",
        "What each token asks for: a list of D numbers for each head.",
        "q = x · Wᵀ + b",
        "T × H",
        (LINEAR, ATTENTION),
    ),
    "attention.key": Words(
        "key", "What each token offers to be found by.", "k = x · Wᵀ + b", "T × H", (LINEAR, ATTENTION)
    ),
    "attention.value": Words(
        "value", "What each token hands over to those who look at it.", "v = x · Wᵀ + b", "T × H", (LINEAR, ATTENTION)
    ),
    "attention.scores": Words(
        "scores",
        "Compares each query with each key: a large number where they fit. Each of the N heads does it with its own D numbers.",
        "s = q · kᵀ / √D",
        "N × T × T",
        (ops.attention_scores, ops.attention),
    ),
    "attention.probs": Words(
        "softmax",
        "Makes shares of the scores: positive, and 1 in all. They say how much each token looks at each other one.",
        "p = exp(s) / Σ exp(s)",
        "N × T × T",
        (ops.masked_softmax, ops.softmax),
    ),
    "attention.context": Words(
        "mix of values",
        "Each token takes the values of all tokens, in these shares. This is the only step in which tokens meet.",
        "c = p · v",
        "T × H",
        (ops.attention_context, ops.attention),
    ),
    "attention.dense": Words(
        "dense", "Mixes what the heads have found.", "y = c · Wᵀ + b", "T × H", (LINEAR, ATTENTION)
    ),
    "attention.sum": Words("+ input", RESIDUAL, "y = x + dense", "T × H", (ATTENTION,)),
    "attention.LayerNorm": Words("LayerNorm", NORM, NORM_FORMULA, "T × H", (ops.layer_norm, ATTENTION)),
    "ffn": Words(
        "widen",
        "Each token on its own: I numbers are made of H, so that many patterns can be looked for.",
        "y = x · W₁ᵀ + b₁",
        "T × I",
        (LINEAR, LAYER),
    ),
    "activation": Words("activation", ACTIVATION, "", "T × I", (LAYER,)),
    "ffn_output": Words("narrow", "Makes H numbers of I again.", "y = x · W₂ᵀ + b₂", "T × H", (LINEAR, LAYER)),
    "sum": Words("+ input", RESIDUAL, "y = x + ffn_output", "T × H", (LAYER,)),
    "full_layer_layer_norm": Words("LayerNorm", NORM, NORM_FORMULA, "T × H", (ops.layer_norm, LAYER)),
    "predictions.dense": Words(
        "dense",
        "Makes E numbers of H: as many as a row of the word table has.",
        "y = x · Wᵀ + b",
        "T × E",
        (LINEAR, heads.predictions),
    ),
    "predictions.activation": Words("activation", ACTIVATION, "", "T × E", (heads.predictions,)),
    "predictions.LayerNorm": Words("LayerNorm", NORM, NORM_FORMULA, "T × E", (ops.layer_norm, heads.predictions)),
    "predictions.decoder": Words(
        "logits",
        "Compares the result with each row of the word table: a score (logit) for each of the V pieces. Softmax makes "
        "chances of the scores.",
        "y = x · tableᵀ + b",
        "T × V",
        (LINEAR, heads.predictions),
    ),
    "pooler": Words(
        "pooler",
        "Takes the state of the first token, [CLS], for the whole text.",
        "y = x₀ · Wᵀ + b",
        "H",
        (LINEAR, heads.pooler),
    ),
    "pooler_activation": Words(
        "tanh", "Squeezes each number into −1 … 1.", "y = tanh(x)", "H", (ops.tanh, heads.pooler)
    ),
    "sop_classifier.classifier": Words(
        "sentence order",
        "Two scores: are two texts in their order, or were they swapped?",
        "y = x · Wᵀ + b",
        "2",
        (LINEAR, heads.sop_classifier),
    ),
    "classifier": Words("classifier", "A score for each label.", "y = x · Wᵀ + b", "K", (LINEAR, heads.classifier)),
    "qa_outputs": Words(
        "answer span",
        "Two scores for each token: does the answer begin here, does it end here?",
        "y = x · Wᵀ + b",
        "T × 2",
        (LINEAR, heads.qa_outputs),
    ),
}


def words_of(part: str, attributes: dict[str, Any]) -> Words:
    """The words of a step. An activation's formula and code are those of the function that the config names."""
    words = WORDS[part]
    if words.title == "activation":
        function = activations.ACTIVATIONS[attributes["name"]]
        title, formula = ACTIVATIONS[function]
        return Words(title, words.says, formula, words.shape, (function, *words.code))
    if attributes.get("position_type", "absolute") != "absolute":
        return Words(words.title, words.says, f"{words.formula} + what distances add", words.shape, words.code)
    return words
