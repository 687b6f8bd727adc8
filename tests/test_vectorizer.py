"""AlbertVectorizer: scikit-learn's own checks, a pipeline with cross-validation, clones and copies, refusals."""

import copy
import pickle

import numpy as np
import pytest
from support import needs

import albert_np

sklearn = needs.module("test", "sklearn")
from sklearn.base import clone  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.utils import estimator_checks  # noqa: E402

TEXTS = ["A cat sat on the mat.", "Who goes there?", "", "The river was wide and cold."]


CHECKS = (  # those of scikit-learn that do not call fit on numbers, which for texts it leaves out
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)


@pytest.mark.parametrize("name", CHECKS)
def test_the_checks_of_scikit_learn(name):
    getattr(estimator_checks, name)("AlbertVectorizer", albert_np.AlbertVectorizer())


def test_vectors_are_those_of_the_encoder():
    vectors = albert_np.AlbertVectorizer().fit_transform(TEXTS)
    assert np.array_equal(vectors, albert_np.SentenceEncoder.from_pretrained("demo").encode(TEXTS))
    assert np.array_equal(albert_np.AlbertVectorizer(batch_size=1).transform(np.array(TEXTS)), vectors)
    unit = albert_np.AlbertVectorizer(normalize_embeddings=True).transform(TEXTS)
    assert np.linalg.norm(unit, axis=1) == pytest.approx([1] * 4)


def test_in_a_pipeline_with_cross_validation():
    texts = [f"{word} {number}" for number in range(12) for word in ("the cat and the dog", "a long winter night")]
    scores = cross_val_score(
        make_pipeline(albert_np.AlbertVectorizer(normalize_embeddings=True), LogisticRegression(C=100)),
        texts,
        [0, 1] * 12,
        cv=3,
    )
    assert scores.mean() == 1


def test_clones_and_copies_load_the_model_themselves():
    fitted = albert_np.AlbertVectorizer(pooling="max", max_seq_length=9).fit(TEXTS)
    for other in (clone(fitted), copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert other.get_params() == fitted.get_params()
        assert np.array_equal(other.transform(TEXTS), fitted.transform(TEXTS))
    assert len(pickle.dumps(fitted)) < 1000  # a name, not a model
    changed = fitted.set_params(pooling="mean")
    assert np.array_equal(changed.transform(TEXTS), albert_np.AlbertVectorizer(max_seq_length=9).transform(TEXTS))


def test_names_of_features():
    vectorizer = albert_np.AlbertVectorizer()
    names = vectorizer.get_feature_names_out()
    assert names.dtype == object
    assert len(names) == vectorizer.transform(TEXTS).shape[1]
    assert list(names[:2]) == ["albertvectorizer0", "albertvectorizer1"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a", "Iterable over raw text documents expected"),
        ([None], "text 0 is a NoneType: missing values must be filled"),
        (np.array([["a"]]), r"one column; got an array of the shape \(1, 1\)"),
        (5, "one column; got int"),
    ],
)
def test_refusals(texts, message):
    with pytest.raises(ValueError, match=message):
        albert_np.AlbertVectorizer().transform(texts)
    with pytest.raises(ValueError, match=message):
        albert_np.AlbertVectorizer().fit(texts)
