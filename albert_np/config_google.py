"""albert_config.json: the config of google-research/albert, in which some words mean something else than in config.json."""

from __future__ import annotations

from typing import Any

from albert_np.config_values import is_int

GOOGLE_CONFIG_NAME = "albert_config.json"
# fields that Google's files have and its modeling.py never reads
UNUSED = ("net_structure_type", "gap_size", "num_memory_blocks", "down_scale_factor", "ln_type")


def from_google(values: Any) -> Any:
    """The values of a parsed albert_config.json as config.json has them.

    Google's "gelu" is the tanh formula, which transformers calls "gelu_new": its "gelu" is computed with erf, and differs by up
    to 5e-4. Names of activations may be in capitals (get_activation in modeling.py).
    Raises ValueError where Google's program applies another group of weights in some layer than transformers and we do.
    """
    if not isinstance(values, dict):
        return values  # the config refuses it
    values = {name: value for name, value in values.items() if name not in UNUSED}
    activation = values.get("hidden_act", "gelu")
    if isinstance(activation, str):
        values["hidden_act"] = "gelu_new" if activation.lower() == "gelu" else activation.lower()
    L, G = values.get("num_hidden_layers", 12), values.get("num_hidden_groups", 1)
    if is_int(L) and is_int(G) and 0 < G <= L <= 10_000:
        differing = differing_groups(L, G)
        if differing is not None:
            layer, googles, ours = differing
            raise ValueError(
                f"with {L} layers in {G} groups, Google's program applies group {googles} in layer {layer}, and transformers' "
                f"ALBERT group {ours}: the same weights are another model there"
            )
    return values


def differing_groups(L: int, G: int) -> tuple[int, int, int] | None:
    """The first layer for which modeling.py computes another group than transformers (encoder.py), and the two groups.

    Both divide in floating point, in another order. None where they agree everywhere.
    """
    groups = ((i, int(i / L * G), int(i / (L / G))) for i in range(L))
    return next(((i, googles, ours) for i, googles, ours in groups if googles != ours), None)
