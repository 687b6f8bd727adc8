"""The parts of one training step: the batches as they come, the seed of their dropout, and their gradients combined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from albert_np.ops import IGNORE_INDEX, Array

Batch = Mapping[str, Any]
POSITIONS = ("start_positions", "end_positions")


class ListOfBatches:
    """Batches held in memory, in their order. One iteration is one epoch."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches, self.next = batches, 0

    @property
    def batches_per_epoch(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        while self.next < len(self.batches):
            self.next += 1
            yield self.batches[self.next - 1]
        self.next = 0

    def state(self) -> dict[str, int]:
        return {"next": self.next}

    def restore(self, state: dict[str, int]) -> None:
        self.next = state["next"]


def epochs(data: Any) -> Iterator[Batch]:
    """Batches, epoch after epoch. An empty one may be the rest of an epoch that a checkpoint ended with; two are the end."""
    empty = 0
    while empty < 2:
        empty += 1
        for batch in data:
            empty = 0
            yield batch


def loss_and_gradients(
    model: Any, batches: Sequence[Batch], *, step: int, dropout: bool, seed: int, recompute: bool = False
) -> tuple[float, dict[str, Array]]:
    """The loss and gradients of one update: the mean over its batches, each weighted by the number of its labels that count.

    A loss is a mean over labels, so a plain mean of these means would favour the labels of a batch that has few. The weighted
    mean gives the gradients of one big batch. A batch in which no label counts has no part; ValueError if none has one that
    counts. The exception is AlbertForPreTraining with sentence_order_label: that loss is a
    mean over sequences, but is weighted by masked tokens here. This makes no difference if all batches have equally many.

    With the CPU kernels, if there is a batch for every core, batches are computed at the same time, one on each thread. Then
    no thread waits for another, and a step takes a fifth less time. Sums are taken in the order of the batches, so the bits are
    the same.
    """
    counts = [count_labels(batch) for batch in batches]
    if not any(counts):
        raise ValueError(f"no label of step {step + 1} counts: all are {IGNORE_INDEX}")

    def of_batch(micro: int) -> tuple[float, dict[str, Array]]:
        options: dict[str, Any] = {"recompute": True} if recompute else {}
        if dropout:
            options |= {"training": True, "seed": dropout_seed(seed, step, micro)}
        return model.value_and_grad(**batches[micro], **options)

    counted = [micro for micro, count in enumerate(counts) if count]  # the mean of another would be 0/0
    loss, gradients = 0.0, dict[str, Array]()
    for micro, (part, found) in zip(counted, _side_by_side(model, of_batch, counted), strict=True):
        share = counts[micro] / sum(counts)
        loss += share * float(part)
        if len(batches) == 1:
            return loss, found
        for name, gradient in found.items():
            if name in gradients:
                gradients[name] += share * gradient
            else:
                gradients[name] = share * gradient
    return loss, gradients


def _side_by_side(model: Any, of_batch: Callable[[int], Any], micros: Sequence[int]) -> Iterator[Any]:
    """The results of of_batch for each batch, in order."""
    if getattr(model, "backend", None) == "numba":
        from albert_np.kernels.cpu.threads import get_num_threads, num_threads

        def alone(micro: int) -> Any:
            with num_threads(1):
                return of_batch(micro)

        threads = get_num_threads()
        if 1 < threads <= len(micros):
            with ThreadPoolExecutor(threads, thread_name_prefix="albert_np_batch") as workers:
                yield from workers.map(alone, micros)
            return
    yield from map(of_batch, micros)


def dropout_seed(seed: int, step: int, micro: int) -> int:
    """The seed of one batch's dropout. It depends only on these three, so that a resumed training draws the same."""
    return int(np.random.SeedSequence(seed, spawn_key=(step, micro)).generate_state(1, np.uint64)[0])


def count_labels(batch: Batch) -> float:
    """Over how many labels the loss of a batch is the mean; the number of its sequences if it has no labels at all.

    0 means that the loss would be 0/0: it is the mean, or a sum of means, over labels of which none counts. Not counted are
    labels of −100, and positions at or beyond the end of the input, which question answering ignores. With two kinds of
    labels, both must have one that counts. The number is that of `labels`, or the mean of those of starts and ends. With
    class_weights it is the sum of the labels' weights, by which such a loss is divided.
    """
    order = batch.get("sentence_order_label")
    if order is not None and not np.any(np.asarray(order) != IGNORE_INDEX):
        return 0
    if batch.get("labels") is not None:
        labels = np.asarray(batch["labels"])
        if labels.dtype.kind not in "iu":  # numbers, or several labels a row
            return labels.size
        counting = labels[labels != IGNORE_INDEX]
        weights = batch.get("class_weights")
        return len(counting) if weights is None else float(np.sum(np.asarray(weights)[counting]))
    given = [np.asarray(batch[name]) for name in POSITIONS if batch.get(name) is not None]
    columns = next((np.shape(batch[name])[1] for name in ("input_ids", "inputs_embeds") if name in batch), None)
    if not given or columns is None:
        return len(next(iter(batch.values())))
    counts = [int(np.count_nonzero(positions < columns)) for positions in given]
    return sum(counts) / len(counts) if all(counts) else 0


def count_tokens(batch: Batch) -> int:
    """The number of real tokens, as far as the batch says."""
    for name in ("attention_mask", "input_ids"):
        if batch.get(name) is not None:
            x = np.asarray(batch[name])
            return int(np.count_nonzero(x)) if name == "attention_mask" else x.size
    return 0
