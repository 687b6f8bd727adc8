"""A process for each engine, so that thread pools, allocators and OpenMP runtimes of one never meet those of another.

The parent asks by pipe and waits: only one of them works at a time. Each child notes the CPU time it takes between its
turns, which shows whether an idle engine burns a core.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP_BELOW = 0.5  # seconds: a longer call forgets in no time that others have used the caches


class EngineError(Exception):
    """What a child says about itself when it cannot go on."""


class Child:
    """A spawned process that runs one of the functions below and answers one question at a time."""

    def __init__(self, serve: Callable[..., None], *args: Any, threads: int, verbose: bool = False) -> None:
        # read when the libraries load, so they have to be there when the process starts
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        quiet = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        before = dict(os.environ)
        os.environ.update(limits | quiet)
        try:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_run, args=(serve, theirs, verbose, *args), daemon=True)
            self._process.start()
            theirs.close()  # or the end of a child would never show here
        finally:
            os.environ.clear()
            os.environ.update(before)

    def receive(self) -> Any:
        try:
            good, answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise EngineError(f"its process ended with status {self._process.exitcode}") from None
        if not good:
            raise EngineError(answer)
        return answer

    def ask(self, *question: Any) -> Any:
        try:
            self._pipe.send(question)
        except OSError:
            raise EngineError("its process is gone") from None
        return self.receive()

    def close(self) -> None:
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _run(serve: Callable[..., None], pipe: Any, verbose: bool, *args: Any) -> None:
    if not verbose:  # warnings of frameworks would tear the progress bar
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    try:
        serve(pipe, *args)
    except EOFError:  # the parent has closed its end
        pass
    except Exception as error:
        text = (str(error).strip() or "no message").splitlines()[0]
        pipe.send((False, f"{type(error).__name__}: {text[:300]}"))


def in_numpy(result: Any) -> np.ndarray:
    """A copy, for the engine may own the memory; float32 where it is PyTorch's bfloat16, which NumPy does not have."""
    return np.array(result if isinstance(result, np.ndarray) else result.float())


def serve_engine(pipe: Any, name: str, checkpoint: Path, threads: int, probing: bool) -> None:
    """Answers "prepare" with seconds and the result, "turn" with the seconds of each call, and "idle" with two times.

    probing: a turn also says what a tile load cost before it and after it, in nanoseconds, each None without tiles.
    """
    from instruction_peak import tile_load_ns
    from peers import Given
    from reduced_peers import ALL
    from workloads import batch

    prepare, note = ALL[name].make(Given(checkpoint, threads))
    look = tile_load_ns if probing else lambda: None
    look()  # what it needs is compiled now
    pipe.send((True, note))
    run: Callable[[], Any] = lambda: None  # noqa: E731
    last = cpu = wall = idle_cpu = idle_wall = 0.0
    while True:
        question, *details = pipe.recv()
        if cpu:
            idle_cpu, idle_wall = idle_cpu + time.process_time() - cpu, idle_wall + time.perf_counter() - wall
        if question == "prepare":
            start = time.perf_counter()
            run = prepare(*batch(details[0]))
            result = run()
            seconds = time.perf_counter() - start
            answer: Any = (seconds, in_numpy(result))
            start = time.perf_counter()
            run()
            last = time.perf_counter() - start
        elif question == "turn":
            before = look()
            samples = timed_calls(run, details[0], warm_up=last < WARM_UP_BELOW)
            last = min(samples)
            answer = (samples, (before, look()))
        else:
            answer = (idle_cpu, idle_wall)
        pipe.send((True, answer))
        cpu, wall = time.process_time(), time.perf_counter()


def timed_calls(run: Callable[[], Any], budget: float, warm_up: bool) -> list[float]:
    """Seconds of each call, at least one, until they make up the budget."""
    if warm_up:
        run()
    samples: list[float] = []
    while sum(samples) < budget:
        start = time.perf_counter()
        result = run()
        samples.append(time.perf_counter() - start)
        del result  # given back outside the clock, as everybody's
    return samples


def serve_peak(pipe: Any, threads: int, reduced: bool) -> None:
    """Answers "turn" with Gflop/s by instruction, three runs each, and "copy" with GB/s.

    reduced: beside fused multiply-adds, all instructions of reduced precision that the CPU has.
    """
    from instruction_peak import peaks
    from peak import copy_gb_per_s, fma_gflops, fma_loop

    fma_loop()
    pipe.send((True, ""))
    while True:
        (question,) = pipe.recv()
        if question == "copy":
            pipe.send((True, copy_gb_per_s(threads)))
        else:
            pipe.send((True, peaks(threads) if reduced else {"fma": [fma_gflops(threads) for _ in range(3)]}))


def serve_truth(pipe: Any, checkpoint: Path) -> None:
    """Answers a shape's name with the float64 reference's last_hidden_state, zero at padding."""
    from workloads import batch

    from albert_np import AlbertModel

    model = AlbertModel.from_pretrained(checkpoint, add_pooling_layer=False, backend="numpy", dtype="float64")
    pipe.send((True, ""))
    while True:
        (shape,) = pipe.recv()
        pipe.send((True, model(*batch(shape), skip_padding=True).last_hidden_state))


def serve_answers(pipe: Any, name: str, threads: int) -> None:
    """Answers questions of answers.py with the engine's own answers."""
    from answers import answer
    from reduced_peers import ALL

    pipe.send((True, ""))
    while True:
        (question,) = pipe.recv()
        pipe.send((True, answer(ALL[name], question, threads)))
