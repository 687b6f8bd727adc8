"""A model small enough to train in milliseconds, with the methods that training uses; and data with a place in it."""

from __future__ import annotations

import dataclasses

import numpy as np

from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.save import save as save_model
from albert_np.config import AlbertConfig
from albert_np.training.checkpoints import save_checkpoint
from albert_np.training.loop import Plan, train
from albert_np.training.optimizers import AdamW, Schedule

STEPS = 23
PLAN = Plan(steps=STEPS, seed=3, accumulate=2, log_every=4, evaluate_every=6, save_every=5, keep=2)
LONG = dataclasses.replace(PLAN, steps=150, save_every=3, log_every=2)


class Logistic:
    """Softmax regression, with dropout on its inputs: logits = drop(x)·Wᵀ + b."""

    def __init__(self, features=5, classes=3, dtype="float64", seed=0):
        rng = np.random.default_rng(seed)
        self.tensors = {
            "classifier.weight": (0.1 * rng.standard_normal((classes, features))).astype(dtype),
            "classifier.bias": np.zeros(classes, dtype),
        }
        self.calls = 0

    def named_parameters(self):
        yield from self.tensors.items()

    def parameters_to_change(self):
        return dict(self.tensors)

    def save_pretrained(self, folder):
        save_model(folder, AlbertConfig(), as_tensors(self.tensors))

    def value_and_grad(self, x, labels, training=False, seed=None):
        self.calls += 1
        w, b = self.tensors.values()
        x = np.asarray(x, w.dtype)
        if training:
            x = x * (np.random.default_rng(seed).random(x.shape) < 0.9) / w.dtype.type(0.9)
        kept = labels != -100
        x, labels = x[kept], labels[kept]
        logits = x @ w.T + b
        logits = logits - logits.max(axis=-1, keepdims=True)
        p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        loss = -np.mean(np.log(p[np.arange(len(x)), labels]))
        d = (p - np.eye(p.shape[1], dtype=p.dtype)[labels]) / w.dtype.type(len(x))
        return loss, {"classifier.weight": d.T @ x, "classifier.bias": d.sum(axis=0)}


def examples(count, features=5, classes=3, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, features))
    return {"x": x, "labels": np.argmax(x[:, :classes], axis=1)}


class Shuffled:
    """Batches of shuffled examples, another order each epoch, as the package's own data: a seed, an epoch and a place."""

    def __init__(self, count=20, size=4, seed=5):
        self.data, self.size, self.seed = examples(count), size, seed
        self.epoch, self.place = 0, 0

    def __iter__(self):
        count = len(self.data["labels"])
        order = np.random.default_rng([self.seed, self.epoch]).permutation(count)
        while self.place < count:
            chosen = order[self.place : self.place + self.size]
            self.place += self.size
            yield {name: x[chosen] for name, x in self.data.items()}
        self.epoch, self.place = self.epoch + 1, 0

    def state(self):
        return {"epoch": self.epoch, "place": self.place}

    def restore(self, state):
        self.epoch, self.place = state["epoch"], state["place"]


def evaluated(model):
    data = examples(50, seed=9)
    w, b = model.tensors.values()
    return {"accuracy": np.mean(np.argmax(data["x"] @ w.T + b, axis=1) == data["labels"])}


def run(folder, plan=PLAN, model=None, data=None, optimizer=None, schedule=None, **options):
    """A training with everything on; each object is new, as in another process."""
    model = model or Logistic()
    options.setdefault("evaluate", evaluated)
    ended = train(
        model,
        data or Shuffled(),
        folder,
        plan=plan,
        optimizer=optimizer or AdamW(),
        schedule=schedule or Schedule(0.05, 5, STEPS),
        **options,
    )
    return model, ended


def filled(model, seed):
    """An optimizer's state in the middle of a training."""
    state = AdamW().start(dict(model.named_parameters()))
    rng = np.random.default_rng(seed)
    for x in state.values():
        x[...] = rng.standard_normal(x.shape) * 100
    return state


def save(folder, step, **options):
    model = Logistic(seed=step)
    return save_checkpoint(folder, step, model, filled(model, step), {"data": {"place": step}}, **options)
