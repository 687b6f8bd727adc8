"""One number for what a model answers about a sequence, however it is asked. Also run by the children of the engine's tests."""

import functools
import hashlib
import os
import subprocess
import sys
import threading

import numpy as np

from albert_np import AlbertConfig, AlbertModel, num_threads
from albert_np.golden.cases import PARTS, trained_like
from albert_np.golden.stochastic import model_draws
from albert_np.golden.tolerances import assert_float32_rule
from albert_np.kernels.cpu import program
from support import with_helpers

program.WORTH_SHARING = 0  # the models are tiny, and are to be shared by threads all the same

SMALL = {
    "vocab_size": 90,
    "embedding_size": 12,
    "hidden_size": 48,
    "num_attention_heads": 3,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "max_position_embeddings": 90,
}
CONFIGS = {
    "heads of 16": {},
    "heads of 20": {"hidden_size": 60, "hidden_act": "gelu"},
    "heads of 5, two groups": {
        "hidden_size": 15,
        "num_attention_heads": 3,
        "num_hidden_groups": 2,
        "inner_group_num": 2,
        "num_hidden_layers": 4,
        "hidden_act": "silu",
    },
    "sums in several blocks": {"hidden_size": 264, "num_attention_heads": 8, "intermediate_size": 530},
    "a head of 260": {"hidden_size": 260, "num_attention_heads": 1, "num_hidden_layers": 1},
    "more keys than a block": {"max_position_embeddings": 330, "num_hidden_layers": 1},
    "relative positions": {"position_embedding_type": "relative_key_query", "hidden_act": "tanh"},
}


@functools.cache
def model(name="heads of 16", backend="numba", dtype="float32"):
    config = AlbertConfig(**SMALL | CONFIGS[name])
    stored = "float32" if dtype == "bfloat16" else dtype
    tensors = {name: x.astype(stored) for name, x in trained_like(config, PARTS["AlbertModel"], 1).items()}
    return AlbertModel(config, backend=backend, dtype=dtype, tensors=tensors)


def sequence(seed, length, vocabulary=90):
    return np.random.default_rng(seed).integers(1, vocabulary, length)


def call(sequences, padding=0):
    """input_ids and attention_mask, padded on the right to the longest and then some."""
    width = max(map(len, sequences)) + padding
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in sequences])
    return {"input_ids": np.array([[*row, *[0] * (width - len(row))] for row in sequences]), "attention_mask": mask}


def answers(of, sequences, padding=0, **options):
    """The SHA-256 of the real hidden states and the pooled one, a sequence each."""
    out = of(**call(sequences, padding), output_hidden_states=True, **options)
    found = []
    for b, row in enumerate(sequences):
        digest = hashlib.sha256(out.pooler_output[b].tobytes())
        for states in (out.last_hidden_state, *out.hidden_states):
            digest.update(np.ascontiguousarray(states[b, : len(row)]).tobytes())
        found.append(digest.hexdigest())
    # without hidden states the whole layer loop is one program: a way of its own
    plain = of(**call(sequences, padding), **options)
    assert np.array_equal(plain.last_hidden_state, out.last_hidden_state)
    assert np.array_equal(plain.pooler_output, out.pooler_output)
    return found


ROWS = [sequence(3, 41), sequence(4, 7), sequence(5, 70)]


def one(threads=8, name="heads of 16", dtype="float32"):
    """What ROWS[0] is, computed in some batches. All the same, or this fails."""
    of = model(name, dtype=dtype)
    with num_threads(threads):
        found = {
            answers(of, ROWS[:1])[0],
            answers(of, ROWS, padding=3)[0],
            answers(of, ROWS[::-1], skip_padding=True)[-1],
        }
    (digest,) = found
    return digest


def check_against_reference(name):
    with num_threads(8):
        found = model(name)(**call(ROWS, 2)).last_hidden_state
    reference = model(name, "numpy", "float64")
    truth = reference(**call(ROWS, 2)).last_hidden_state
    drawn = model_draws(reference, lambda model: model(**call(ROWS, 2)).last_hidden_state)
    assert_float32_rule(name, found, drawn, truth)


def in_threads(count, job):
    """What `job` gives in as many Python threads at once."""
    found, start = [], threading.Barrier(count)

    def work():
        start.wait()
        found.append(job())

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == count
    return found


def in_fork(job):
    """What `job` gives in a forked child."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(send, job().encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def python(code, *, timeout=240, **environment):
    """Runs code in a process of its own, which has the names of this file, and gives stdout and stderr.

    A child that hangs is killed, with its children, and fails the test.
    """
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", code],
        env=with_helpers() | environment,
        cwd="/",
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        raise AssertionError(f"the child hangs; until then it said\n{out}\n{err}") from None
    assert process.returncode == 0, f"status {process.returncode}\n{out}\n{err}"
    return out, err


def printed(code, **options):
    """What a child prints, as words."""
    return python(code, **options)[0].split()
