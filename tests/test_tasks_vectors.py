"""Pooling, similarity, search and quantization of vectors, against values that were worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_np.tasks.vectors import BLOCK, nearest, normalised, pooled, quantized, similarity

STATES = np.array([[1.0, -4.0], [3.0, 2.0], [5.0, 8.0], [7.0, -2.0]])


@pytest.mark.parametrize(
    ("modes", "vector"),
    [
        (("cls",), [1, -4]),
        (("lasttoken",), [7, -2]),
        (("max",), [7, 8]),
        (("mean",), [4, 1]),
        (("mean_sqrt_len_tokens",), [8, 2]),
        (("weightedmean",), [(1 + 6 + 15 + 28) / 10, (-4 + 4 + 24 - 8) / 10]),
        (("cls", "mean"), [1, -4, 4, 1]),
    ],
)
def test_pooling(modes, vector):
    assert pooled(STATES, modes).tolist() == pytest.approx(vector)


def test_a_vector_of_nothing_stays_nothing():
    assert normalised(np.zeros((1, 3))).tolist() == [[0, 0, 0]]
    assert normalised(np.array([[3.0, 4.0]]))[0].tolist() == pytest.approx([0.6, 0.8])


def test_similarities():
    a, b = np.array([[3.0, 4.0]]), np.array([[4.0, 3.0], [-3.0, -4.0]])
    assert similarity(a, b)[0].tolist() == pytest.approx([24 / 25, -1])
    assert similarity(a, b, "dot")[0].tolist() == pytest.approx([24, -25])
    assert similarity(a, b, "euclidean")[0].tolist() == pytest.approx([-np.sqrt(2), -10])
    assert similarity(a, b, "manhattan")[0].tolist() == pytest.approx([-2, -14])
    with pytest.raises(ValueError, match="similarity is one of cosine, dot, euclidean, manhattan; got 'near'"):
        similarity(a, b, "near")


@given(st.integers(1, 5), st.integers(0, 3), st.integers(1, 12))
def test_the_search_is_that_of_sorting_everything(n, blocks, top_k):
    rng = np.random.default_rng(n)
    queries, corpus = rng.integers(-2, 3, (n, 3)) * 1.0, rng.integers(-2, 3, (blocks * BLOCK + 7, 3)) * 1.0
    every = queries @ corpus.T
    order = np.argsort(-every, axis=1, kind="stable")[:, :top_k]  # of equal scores the first comes first
    answers = nearest(queries, corpus, top_k, "dot")
    assert [[one["corpus_id"] for one in row] for row in answers] == order.tolist()
    assert [[one["score"] for one in row] for row in answers] == np.take_along_axis(every, order, 1).tolist()


def test_quantized():
    x = np.array([[0.0, -1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0], [255.0, 1.0, -1.0, 5.0, 5.0, 5.0, 5.0, -5.0]])
    assert quantized(x, "float32").dtype == np.float32
    assert quantized(x, "ubinary").tolist() == [[0b00111111], [0b11011110]]
    assert quantized(x, "binary").tolist() == [[0b00111111 - 128], [0b11011110 - 128]]
    ranges = np.stack([np.zeros(8), np.full(8, 255.0)])
    assert quantized(x, "uint8", ranges)[:, 0].tolist() == [0, 255]
    assert quantized(x, "int8", ranges)[:, 0].tolist() == [-128, 127]
    assert quantized(x, "uint8")[:, 1].tolist() == [0, 255]  # the range of what is there
    with pytest.raises(ValueError, match="precision is one of"):
        quantized(x, "int4")


@given(st.integers(0, 99), st.sampled_from(["cosine", "dot", "euclidean", "manhattan"]))
def test_a_query_has_the_same_answer_bit_by_bit_beside_others(seed, kind):
    rng = np.random.default_rng(seed)
    queries, corpus = (rng.standard_normal((n, 24), dtype=np.float32) for n in (7, BLOCK + 30))
    corpus[5] = corpus[BLOCK + 3]  # equal scores
    together = nearest(queries, corpus, 6, kind)
    assert [nearest(query[None], corpus, 6, kind)[0] for query in queries] == together
