"""The kernels for the GPU that are shipped, of each kind some, and what the compiler may make of them."""

from albert_np.kernels.cuda import activations, attention, embeddings, layer_norm, matmul, scores, softmax
from albert_np.kernels.cuda.matmul import LARGE, MEDIUM, SMALL
from support.cuda.caps import Caps

LOAD, STORE = r"LDG\.E\.128", r"STG\.E\.128"

# name -> kernel; at most so many registers and bytes of shared memory; at least this share of FFMA in the inner loop, and these
KERNELS = {
    "layer_norm 768": Caps(layer_norm.layer_norm(768), 88, 0, 0, {LOAD: 18, STORE: 6, "SHFL": 10}),
    "layer_norm 4096": Caps(layer_norm.layer_norm(4096), 112, 64, 0, {LOAD: 24, STORE: 8, "BAR": 2}),
    "layer_norm 130": Caps(layer_norm.layer_norm(130), 64, 0, 0, {"SHFL": 10}),
    "embed 128": Caps(embeddings.embed(128, True, True), 40, 0, 0, {LOAD: 5, STORE: 1, "SHFL": 10}),
    "take_rows": Caps(embeddings.take_rows, 24, 0, 0, {}),
    "spread_rows": Caps(embeddings.spread_rows, 24, 0, 0, {}),
    "softmax 128": Caps(
        softmax.softmax(128, "keys", False), 40, 0, 0, {LOAD: 1, STORE: 1, "SHFL": 10, r"MUFU\.EX2": 4}
    ),
    "softmax 512, pairs": Caps(softmax.softmax(512, "pairs", True), 56, 0, 0, {LOAD: 4, STORE: 4, r"MUFU\.EX2": 16}),
    "softmax 333": Caps(softmax.softmax(333, "keys", False), 64, 0, 0, {"SHFL": 10}),
    "softmax 4000": Caps(softmax.softmax(4000, "keys", False), 40, 0, 0, {"SHFL": 10}),
    "gelu_new": Caps(activations.activate("gelu_new"), 40, 0, 0, {LOAD: 1, STORE: 1}),
    "gelu": Caps(activations.activate("gelu"), 48, 0, 0, {LOAD: 1, STORE: 1}),
    "matmul large": Caps(
        matmul.matmul(LARGE), 255, 33280, 0.85, {LOAD: 4, STORE: 16, r"LDS\.(U\.)?128": 16, "FFMA": 256}
    ),
    "matmul large, gelu_new": Caps(
        matmul.matmul(LARGE, "gelu_new"), 255, 33280, 0.85, {LOAD: 4, STORE: 16, "FFMA": 256}
    ),
    "matmul medium, residual": Caps(
        matmul.matmul(MEDIUM, "none", True),
        128,
        17920,
        0.80,
        {LOAD: 6, STORE: 8, "FFMA": 128},
    ),
    "matmul medium, gelu_new": Caps(
        matmul.matmul(MEDIUM, "gelu_new"), 128, 17920, 0.80, {LOAD: 6, STORE: 8, "FFMA": 128}
    ),
    "matmul small": Caps(matmul.matmul(SMALL), 128, 9728, 0.70, {LOAD: 4, STORE: 4, "FFMA": 64}),
    "matmul small, single numbers": Caps(matmul.matmul(SMALL, vector=False), 128, 9728, 0.70, {STORE: 4, "FFMA": 64}),
    "matmul small, split": Caps(matmul.matmul(SMALL, split=True), 128, 9728, 0.70, {LOAD: 4, STORE: 4, "FFMA": 64}),
    "add_chunks, gelu_new": Caps(matmul.add_chunks("gelu_new"), 88, 0, 0, {LOAD: 2, STORE: 1}),
    "attention 64": Caps(attention.attention(64, "keys", False), 168, 32256, 0.55, {LOAD: 4, STORE: 4, "FFMA": 48}),
    "attention 128": Caps(attention.attention(128, "none", False), 255, 39936, 0.55, {LOAD: 4, STORE: 4, "FFMA": 64}),
    "attention 32, pairs": Caps(
        attention.attention(32, "pairs", True), 168, 18432, 0.45, {LOAD: 4, STORE: 4, "FFMA": 32}
    ),
    "attention 10": Caps(attention.attention(10, "none", False), 168, 18432, 0.45, {"FFMA": 32}),
    "heads_matmul": Caps(scores.heads_matmul, 48, 2304, 0, {"FFMA": 16}),
    "add_distances": Caps(scores.add_distances, 56, 0, 0, {"FFMA": 1}),
    "naive matmul": Caps(matmul.naive_matmul, 64, 0, 0, {"FFMA": 1}),
    "tiled matmul": Caps(matmul.tiled_matmul, 64, 2048 + 1024, 0, {"FFMA": 16}),
    "naive attention": Caps(attention.naive_attention, 96, 0, 0, {"FFMA": 1}),
    "naive layer_norm": Caps(layer_norm.naive_layer_norm, 64, 0, 0, {}),
    "naive softmax": Caps(softmax.naive_softmax, 64, 0, 0, {}),
    "naive embed": Caps(embeddings.naive_embed, 64, 0, 0, {}),
    "naive gelu_new": Caps(activations.naive_gelu_new, 40, 0, 0, {}),
}
