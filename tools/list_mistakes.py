"""Writes docs/golden_mistakes.md, the catalogue of porting mistakes, from the catalogue itself.

    python tools/list_mistakes.py

tests/test_golden_mistakes.py fails if the page is not what this writes.
"""

from pathlib import Path

from albert_np.golden.mistakes.catalogue import catalogue

PAGE = Path(__file__).parents[1] / "docs" / "golden_mistakes.md"
PLACES = ("embeddings", "attention", "full_layer", "predictions", "encoder")
HEAD = """# Porting mistakes

`albert-np golden diagnose` knows these mistakes, and names the one that explains a candidate's outputs best. Each is a small,
runnable rewriting of the list of steps (`golden.mistakes.catalogue`), which falls on all applications of a layer or on one:

```python
from albert_np import AlbertConfig
from albert_np.golden.graph import graph
from albert_np.golden.mistakes.catalogue import first_wrong_step, mistakes, with_mistake

config = AlbertConfig(vocab_size=60, embedding_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=32)
known = {one.name: one for one in mistakes(config, "AlbertForMaskedLM")}
steps = graph(config, "AlbertForMaskedLM")
wrong = with_mistake(steps, known["mask_after_softmax"], application=3)
first_wrong_step(steps, wrong)
```

```text
'encoder.layer.3.attention.probs'
```

Which of them a model can have follows from its config and its class. Mistakes that give equal outputs are named together,
as a tie, and a mistake that changes no output for the given inputs (a missing mask without padding) cannot be seen.
`also in` lists places that have an entry of their own, as in `layer_norm_missing.predictions`.

| name | mistake | falls on | also in |
|---|---|---|---|
"""


def page() -> str:
    known = catalogue()
    lines = []
    for name, one in known.items():
        base, _, place = name.rpartition(".")
        if place in PLACES and base in known:
            continue
        places = [place for place in PLACES if f"{name}.{place}" in known]
        where = ", ".join(f"`{pattern}`" for pattern in one.where)
        lines.append(f"| `{name}` | {one.description} | {where} | {', '.join(places)} |")
    return HEAD + "\n".join(lines) + f"\n\n{len(known)} entries, in all places.\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
