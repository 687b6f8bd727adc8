"""Which weight of ALBERT each step of a graph has: found by what reads from what, as the weights' names may be anything.

Exporters transpose kernels and give them numbers for names; they merge tensors that are equal, so that a name may stand for
another's values; and they may store a layer once for each time that it is applied. The order of the steps is the same in all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from albert_np.checkpoints.formats.onnx_file import Stored
from albert_np.checkpoints.formats.onnx_steps import Step, Steps, View, Walk
from albert_np.config import AlbertConfig
from albert_np.encoder import applications, layer_name
from albert_np.files import shown

MAX_INDEX = 65_536  # numbers of a constant index that are looked at
# a name of ALBERT's, whatever stands before it
PARTS = "embeddings|encoder|pooler|predictions|sop_classifier|classifier|qa_outputs"
NAME = re.compile(rf"(?:|.*?\.)((?:{PARTS})\.\w.*)", re.DOTALL)
PARTED = {"Split", "Slice", "Gather", "SplitToSequence"}  # how start and end logits are taken apart

Roles = dict[str, list[View]]  # the name in names.py -> all places where the graph has this weight
Zeros = dict[str, tuple[tuple[int, ...], str]]  # biases that the graph does not add -> shape, dtype


def plain_name(stored_name: str) -> str:
    """The name in names.py that an initializer has, if it has one; else ""."""
    match = NAME.fullmatch(stored_name)
    return match[1] if match else ""


def find_roles(walk: Walk, config: AlbertConfig) -> tuple[Roles, Zeros]:
    """What the graph computes with. Raises ValueError where the graph is not ALBERT's, or not that of the config."""
    finder = _Finder(walk, config)
    finder.find()
    both = sorted(set(finder.roles) & set(finder.zeros))
    if both:
        raise ValueError(f"{walk.what} adds {both[0]} in some places, and not in others; this model has it once")
    return finder.roles, finder.zeros


class _Finder:
    """Goes from the embeddings to the heads, and notes the weights of each step that it passes."""

    def __init__(self, walk: Walk, config: AlbertConfig) -> None:
        self.walk, self.config = walk, config
        self.roles: Roles = {}
        self.added: set[tuple[str, View]] = set()
        self.zeros: Zeros = {}
        self.readers: dict[tuple[str, Steps], list[int]] = {}  # (kind, sources) -> steps
        self.readers_of: dict[int, set[Steps]] = {}  # a step -> the sources of linear maps that it is among
        for number, step in enumerate(walk.steps):
            self.readers.setdefault((step.kind, step.sources), []).append(number)
            for source in step.sources if step.kind == "linear" else ():
                self.readers_of.setdefault(source, set()).add(step.sources)
        self.products: dict[Steps, list[tuple[Steps, Steps]]] = {}  # what the second factor reads -> both factors
        for pair in walk.products:
            self.products.setdefault(self._sources(pair[1]), []).append(pair)

    def find(self) -> None:
        x = self._embeddings()
        order = list(applications(self.config))
        for application, group, inner in order:
            x = self._layer(x, layer_name(group, inner), f"application {application + 1} of {len(order)}")
        if self._scores(x):
            raise self._other(f"applies layers more often than the {len(order)} times of config.json")
        self._heads(x)

    # --- the encoder ----------------------------------------------------------------------------------------------

    def _embeddings(self) -> Steps:
        norms = [
            number
            for number, step in enumerate(self.walk.steps)
            if step.kind == "norm" and step.sources and self._are(step.sources, "lookup")
        ]
        if len(norms) != 1:
            raise self._other(f"has {len(norms)} LayerNorms of embeddings, not 1")
        norm = self.walk.steps[norms[0]]
        for name, number in self._tables(sorted(norm.sources)).items():
            self._add(f"embeddings.{name}_embeddings.weight", self.walk.steps[number].weight)
            rows, length = self.walk.steps[number].weight.shape[0], self.config.max_position_embeddings
            if name == "position" and self.walk.steps[number].fixed and rows < length:
                raise ValueError(
                    f"{self.walk.what} was exported for texts of {rows} tokens, with {rows} of {length} position embeddings: "
                    f"export it with dynamic axes, or write max_position_embeddings {rows} into config.json"
                )
        self._take("embeddings.LayerNorm", norms)
        mapping = self.readers.get(("linear", frozenset(norms)), [])
        if not mapping or self._scores(frozenset(norms)):
            raise self._other("has no linear map of the embeddings, which ALBERT has (embedding_hidden_mapping_in)")
        return self._take("encoder.embedding_hidden_mapping_in", mapping)

    def _tables(self, numbers: list[int]) -> dict[str, int]:
        """Which of the tables is which, by what is looked up in it."""
        found: dict[str, int] = {}
        texts = []
        for number in numbers:
            step = self.walk.steps[number]
            role = step.role or self._looked_up(step)
            if role == "word":
                texts.append(number)
            elif role in found:
                raise self._other(f"looks up two tables by what seem to be {role} ids")
            else:
                found[role] = number
        # the names of the inputs say nothing: the vocabulary is the table of that size, or the first one
        texts.sort(key=lambda number: self.walk.steps[number].weight.shape[0] != self.config.vocab_size)
        left = [name for name in ("word", "token_type", "position") if name not in found]
        return found | dict(zip(left, texts, strict=False))

    def _looked_up(self, step: Step) -> str:
        index = step.index
        if index is None or index.inputs:
            names = " ".join(sorted(index.inputs)).lower() if index is not None else ""
            return "token_type" if re.search("type|segment", names) else "position" if "position" in names else "word"
        views = [self.walk.views[name] for name in index.constants if name in self.walk.views]
        if index.counts or any(_differ(view.stored) for view in views):
            return "position"
        # one number says nothing: 0 is the only segment of a text, and the position of its first token
        sizes = self.config.max_position_embeddings, self.config.type_vocab_size
        return "position" if step.weight.shape[0] == sizes[0] != sizes[1] else "token_type"

    def _scores(self, x: Steps) -> list[tuple[Steps, Steps]]:
        """The pairs (query, key) that read from x and are multiplied with each other."""
        pairs = self.products.get(x, [])
        return [
            (q, k) for q, k in pairs if len(q) == len(k) == 1 and self._are(q | k, "linear") and self._sources(q) == x
        ]

    def _layer(self, x: Steps, at: str, which: str) -> Steps:
        """One application of the stored layer `at` to what step x gives. Returns the step that gives its output."""
        pairs = self._scores(x)
        if not pairs:
            raise self._other(f"has no attention where {which} is due, or not one of single operations")
        queries, keys = (frozenset[int]().union(*sets) for sets in zip(*pairs, strict=True))
        values: Steps = frozenset()
        for probabilities, value in self.products[x]:
            if self._are(value, "linear") and queries | keys <= probabilities:
                values |= value
        of_head = queries | keys | values
        dense = [
            number
            for sources in (self.readers_of.get(min(values), set()) if values else ())
            if of_head <= sources and self._are(sources - of_head, "lookup")
            for number in self.readers["linear", sources]
        ]
        if not dense:
            raise self._other(f"has no value or no output map in the attention of {which}")
        for name, numbers in (("query", queries), ("key", keys), ("value", values), ("dense", dense)):
            self._take(f"{at}.attention.{name}", numbers)
        for number in frozenset().union(*(self.walk.steps[number].sources for number in dense)) - of_head:
            self._add(f"{at}.attention.distance_embedding.weight", self.walk.steps[number].weight)
        middle = self._take(f"{at}.attention.LayerNorm", self._norm(x | frozenset(dense), which))
        ffn = self.readers.get(("linear", middle), [])
        # in chunks, where config.json wants them, each of them is a map of its own
        output = [number for n in ffn for number in self.readers.get(("linear", frozenset({n})), [])]
        if not output:
            raise self._other(f"has no feed-forward maps in {which}")
        self._take(f"{at}.ffn", ffn)
        self._take(f"{at}.ffn_output", output)
        return self._take(f"{at}.full_layer_layer_norm", self._norm(middle | frozenset(output), which))

    def _norm(self, sources: Steps, which: str) -> list[int]:
        norms = self.readers.get(("norm", sources), [])
        if len(norms) != 1:
            raise self._other(f"has {len(norms)} LayerNorms where {which} is due to have 1")
        return norms

    # --- heads ----------------------------------------------------------------------------------------------------

    def _heads(self, x: Steps) -> None:
        maps = self.readers.get(("linear", x), [])
        for number in maps:
            step = self.walk.steps[number]
            norms = self.readers.get(("norm", frozenset({number})), [])
            if norms:
                self._take("predictions.dense", [number])
                decoders = self.readers.get(("linear", self._take("predictions.LayerNorm", norms)), [])
                for decoder in decoders:
                    self._add("predictions.decoder.weight", self.walk.steps[decoder].weight)
                    self._add_bias("predictions.bias", self.walk.steps[decoder])
            elif "Tanh" in step.read_by:
                self._take("pooler", [number])
                pre_training = any(self.readers.get(("norm", frozenset({n}))) for n in maps)
                for head in self.readers.get(("linear", frozenset({number})), []):
                    sop = pre_training or self._is_named(head, "sop_classifier")
                    self._take("sop_classifier.classifier" if sop else "classifier", [head])
            else:
                self._take("qa_outputs" if self._answers(number) else "classifier", [number])

    def _answers(self, number: int) -> bool:
        """Whether a head of two logits a token is that of question answering: it gives them in two parts."""
        if self._is_named(number, "qa_outputs") or self._is_named(number, "classifier"):
            return self._is_named(number, "qa_outputs")
        step = self.walk.steps[number]
        return step.weight.shape[0] == 2 and number not in self.walk.results and bool(step.read_by & PARTED)

    def _is_named(self, number: int, head: str) -> bool:
        step = self.walk.steps[number]
        return any(view and plain_name(view.stored.name).startswith(f"{head}.") for view in (step.weight, step.bias))

    # --- small helpers --------------------------------------------------------------------------------------------

    def _are(self, numbers: Steps, kind: str) -> bool:
        return all(number >= 0 and self.walk.steps[number].kind == kind for number in numbers)

    def _sources(self, numbers: Steps) -> Steps:
        """What these steps read, if it is the same for all; else nothing."""
        found = {self.walk.steps[number].sources for number in numbers if number >= 0}
        return found.pop() if len(found) == 1 else frozenset()

    def _take(self, module: str, numbers: Iterable[int]) -> Steps:
        """Notes weight and bias of a module, which may be several steps. Returns them."""
        numbers = frozenset(numbers)
        for number in sorted(numbers):
            self._add(f"{module}.weight", self.walk.steps[number].weight)
            self._add_bias(f"{module}.bias", self.walk.steps[number])
        return numbers

    def _add(self, role: str, view: View) -> None:
        if (role, view) not in self.added:  # a look through the list would take a time with its square
            self.added.add((role, view))
            self.roles.setdefault(role, []).append(view)

    def _add_bias(self, role: str, step: Step) -> None:
        """Optimizers leave out a bias of zeros: a step that adds none has just that."""
        if step.bias is not None:
            self._add(role, step.bias)
        elif step.unclear:
            raise ValueError(f"{self.walk.what} adds what is no constant vector where {role} is due")
        else:
            self.zeros[role] = (step.weight.shape[:1], step.weight.stored.dtype)

    def _other(self, what: str) -> ValueError:
        return ValueError(
            f"{self.walk.what} {shown(what)}: is it ALBERT, exported by torch or optimum, with this config.json?"
        )


def _differ(stored: Stored) -> bool:
    """Whether a constant of whole numbers counts, as positions do, instead of repeating one number, as segments do."""
    if stored.dtype not in ("I64", "I32") or not 0 < math.prod(stored.shape) <= MAX_INDEX:
        return False
    x = stored.load()
    return bool((x != x.flat[0]).any())
