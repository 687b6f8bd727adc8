"""SentenceEncoder: folders of sentence-transformers, plain models, vectors, prompts, search, and refusals."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from support import TINY_MODEL

import albert_np
from albert_np.config import AlbertConfig
from albert_np.golden.cases import trained_like
from albert_np.pipelines.sentence_encoder import SentenceEncoder

TEXTS = [
    "The capital of France is Paris.",
    "A cat sat on the mat.",
    "No.",
    "The river was wide and cold in the morning. " * 6,
]
H = 64


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder with an encoder that has no pooler, and its tokenizer."""
    folder = tmp_path_factory.mktemp("plain")
    config = AlbertConfig.from_pretrained(TINY_MODEL).replace(max_position_embeddings=64)
    albert_np.AlbertModel(config, add_pooling_layer=False, tensors=trained_like(config, (), 3)).save_pretrained(folder)
    albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(plain):
    return SentenceEncoder.from_pretrained(plain)


@pytest.fixture
def folder(plain, tmp_path):
    """Writes a folder of sentence-transformers around the plain model."""

    def write(*modules, pooling=None, transformer=None, settings=None, inside=""):
        shutil.copytree(plain, tmp_path / "st" / inside)
        here = tmp_path / "st"
        kinds = [("Transformer", inside), ("Pooling", "1_Pooling"), *modules]
        entries = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(kinds)
        ]
        (here / "modules.json").write_text(json.dumps(entries))
        (here / "1_Pooling").mkdir()
        (here / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {"pooling_mode_mean_tokens": True}))
        if transformer:
            (here / inside / "sentence_bert_config.json").write_text(json.dumps(transformer))
        if settings:
            (here / "config_sentence_transformers.json").write_text(json.dumps(settings))
        return here

    return write


def states(encoder, text, length=64):
    row = encoder.tokenizer(text, truncation=True, max_length=length, return_tensors="np", verbose=False)
    return encoder.model(**row).last_hidden_state[0].astype(np.float64)


def test_the_mean_of_the_hidden_states(encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (4, H)
    assert vectors.dtype == np.float32
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert vector == pytest.approx(states(encoder, text).mean(axis=0), rel=1e-4, abs=1e-5)
    assert np.array_equal(encoder.encode(TEXTS[0]), vectors[0])
    assert encoder.get_sentence_embedding_dimension() == H


@settings(max_examples=10)
@given(st.permutations(TEXTS * 3), st.integers(1, 13))
def test_a_vector_has_the_same_bits_in_any_batch(encoder, texts, batch_size):
    alone = {text: encoder.encode(text) for text in TEXTS}
    vectors = encoder.encode(texts, batch_size=batch_size)
    assert all(np.array_equal(vector, alone[text]) for text, vector in zip(texts, vectors, strict=True))


def test_other_outputs(encoder):
    tokens = encoder.encode(TEXTS[:2], output_value="token_embeddings")
    assert [len(one) for one in tokens] == [len(encoder.tokenizer(text)["input_ids"]) for text in TEXTS[:2]]
    everything = encoder.encode(TEXTS[0], output_value=None)
    assert set(everything) == {
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "token_embeddings",
        "sentence_embedding",
    }
    assert np.array_equal(everything["sentence_embedding"], encoder.encode(TEXTS[0]))
    assert np.array_equal(everything["token_embeddings"], tokens[0])
    assert np.linalg.norm(encoder.encode(TEXTS, normalize_embeddings=True), axis=1) == pytest.approx([1] * 4)
    assert encoder.encode(TEXTS, precision="binary").shape == (4, H // 8)
    assert np.array_equal(encoder.encode(TEXTS, truncate_dim=8), encoder.encode(TEXTS)[:, :8])
    assert isinstance(encoder.encode(TEXTS, convert_to_numpy=False), list)
    assert encoder.encode([]).shape == (0, H)
    assert encoder.encode(iter(TEXTS), show_progress_bar=False).shape == (4, H)
    assert encoder.encode(TEXTS, convert_to_tensor=False, device="cpu").shape == (4, H)


@pytest.mark.parametrize(
    ("pooling", "modes"),
    [
        ({"pooling_mode_cls_token": True}, ["cls"]),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, ["max"]),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, ["cls", "mean"]),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ["mean_sqrt_len_tokens"]),
        ({"pooling_mode": "mean", "embedding_dimension": H, "include_prompt": True}, ["mean"]),
        ({"pooling_mode": ["lasttoken", "weightedmean"]}, ["lasttoken", "weightedmean"]),
    ],
)
def test_pooling_in_the_older_and_the_newer_form(folder, plain, pooling, modes):
    read = SentenceEncoder.from_pretrained(folder(pooling=pooling))
    given = SentenceEncoder.from_pretrained(plain, pooling=modes)
    assert np.array_equal(read.encode(TEXTS), given.encode(TEXTS))


def test_dense_and_normalize_follow_the_pooling(folder, encoder):
    here = folder(("Dense", "2_Dense"), ("Normalize", "3_Normalize"))
    rng = np.random.default_rng(5)
    W, b = rng.normal(size=(5, H)).astype(np.float32) / 8, rng.normal(size=5).astype(np.float32)
    (here / "2_Dense").mkdir()
    name = "torch.nn.modules.activation.Tanh"
    (here / "2_Dense" / "config.json").write_text(
        json.dumps({"in_features": H, "out_features": 5, "bias": True, "activation_function": name})
    )
    save_file({"linear.weight": W, "linear.bias": b}, here / "2_Dense" / "model.safetensors")
    read = SentenceEncoder.from_pretrained(here)
    wanted = np.tanh(encoder.encode(TEXTS).astype(np.float64) @ W.T + b)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert read.encode(TEXTS).ravel() == pytest.approx(wanted.ravel(), rel=1e-4, abs=1e-6)
    assert read.get_sentence_embedding_dimension() == 5


def test_lengths_and_case_follow_the_settings(folder, encoder):
    read = SentenceEncoder.from_pretrained(
        folder(transformer={"max_seq_length": 9, "do_lower_case": True}, inside="0_T")
    )
    assert read.max_seq_length == 9
    assert read.encode(TEXTS[3]) == pytest.approx(states(encoder, TEXTS[3], 9).mean(axis=0), rel=1e-4, abs=1e-5)


def test_prompts(folder, encoder):
    settings = {"prompts": {"query": "cat: ", "passage": "mat: "}, "default_prompt_name": "query"}
    read = SentenceEncoder.from_pretrained(folder(settings=settings))
    assert np.array_equal(read.encode("sat"), encoder.encode("cat: sat"))
    assert np.array_equal(read.encode("sat", prompt_name="passage"), encoder.encode("mat: sat"))
    assert np.array_equal(read.encode("sat", prompt="a "), encoder.encode("a sat"))
    assert np.array_equal(read.encode_query("sat"), encoder.encode("cat: sat"))
    assert np.array_equal(read.encode_document("sat"), encoder.encode("mat: sat"))
    assert np.array_equal(encoder.encode_document("sat"), encoder.encode("sat"))
    with pytest.raises(ValueError, match="there is no prompt 'other'; there are query, passage"):
        read.encode("sat", prompt_name="other")
    with pytest.raises(ValueError, match="prompt must be a text; got int"):
        read.encode("sat", prompt=5)


def test_tokens_of_a_prompt_are_left_out_where_the_pooling_says_so(folder, encoder):
    read = SentenceEncoder.from_pretrained(folder(pooling={"pooling_mode": "mean", "include_prompt": False}))
    prompt = len(encoder.tokenizer("cat: ")["input_ids"]) - 1  # without [SEP]
    wanted = states(encoder, "cat: sat on")[prompt:].mean(axis=0)
    assert read.encode("sat on", prompt="cat: ") == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_search_finds_the_text_itself_first(encoder):
    hits = encoder.semantic_search(TEXTS[:2], TEXTS, top_k=2)
    assert [row[0]["corpus_id"] for row in hits] == [0, 1]
    assert [row[0]["score"] for row in hits] == pytest.approx([1, 1])
    vectors = encoder.encode(TEXTS)
    assert encoder.semantic_search(vectors[:2], vectors, top_k=2) == hits
    assert encoder.semantic_search(TEXTS[0], vectors, top_k=2) == hits[:1]
    assert encoder.similarity(vectors[0], vectors)[0] == pytest.approx(
        [one["score"] for one in sorted(encoder.semantic_search(TEXTS[0], TEXTS)[0], key=lambda one: one["corpus_id"])]
    )


def test_the_pipeline_of_similar_sentences(plain, encoder):
    alike = albert_np.pipeline("sentence-similarity", plain)
    scores = alike(TEXTS[0], TEXTS)
    assert json.loads(json.dumps(scores)) == scores
    assert scores[0] == pytest.approx(1)
    assert alike({"source_sentence": TEXTS[0], "sentences": TEXTS}) == scores
    assert alike([{"source_sentence": TEXTS[0], "sentences": TEXTS}]) == [scores]
    assert albert_np.pipeline(model=encoder)(TEXTS[0], TEXTS) == scores
    for wrong in ((TEXTS[0], []), (TEXTS[0], "a"), ({"source_sentence": "a"},), (["a"],)):
        with pytest.raises(ValueError, match=r"a list of at least one text|an input is"):
            alike(*wrong)
    with pytest.raises(ValueError, match="takes a model only"):
        albert_np.pipeline("sentence-similarity", plain, top_k=5)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        ({"modules": [("LayerNorm", "2")]}, "names the module LayerNorm; after pooling, Dense and Normalize are known"),
        ({"modules": [("Normalize", "../2")]}, "must stay inside the folder"),
        ({"pooling": {"pooling_mode": "median"}}, "the modes of pooling are cls, max, mean"),
        ({"pooling": {"pooling_mode_cls_token": False}}, "the modes of pooling are"),
        ({"transformer": {"max_seq_length": "9"}}, "max_seq_length must be a whole number"),
        ({"settings": {"prompts": ["a"]}}, "prompts must map names to texts"),
        ({"settings": {"default_prompt_name": "a"}}, "is none of"),
        ({"settings": {"similarity_fn_name": "near"}}, "similarity_fn_name is one of cosine"),
    ],
)
def test_settings_that_are_not_known_are_refused(folder, write, message):
    modules = write.pop("modules", [])
    here = folder(*modules, **write)
    with pytest.raises(ValueError, match=message):
        SentenceEncoder.from_pretrained(here)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.encode(5), "encode takes a text or several; got int"),
        (lambda e: e.encode({"text": "a"}), "encode takes a text or several; got dict"),
        (lambda e: e.encode(["a", None]), "encode takes texts; number 1 is a NoneType"),
        (lambda e: e.encode("a", output_value="all"), "output_value is one of"),
        (lambda e: e.encode("a", precision="int4"), "precision is one of"),
        (lambda e: e.encode("a", batch_size=0), "batch_size must be a whole number of at least 1"),
        (lambda e: e.encode("a", truncate_dim=0), "truncate_dim must be a whole number"),
        (lambda e: e.encode("a", convert_to_tensor=True), "convert_to_tensor=True: albert_np makes NumPy arrays only"),
        (lambda e: e.encode("a", device="cuda"), "the model is on cpu"),
        (lambda e: e.semantic_search("a", TEXTS, kind="near"), "kind is one of cosine"),
        (lambda e: e.similarity([["a"]], [[1.0]]), "a must be vectors"),
        (lambda e: e.from_pretrained(TINY_MODEL, pooling="middle"), "pooling is one or several of"),
        (lambda e: e.from_pretrained(TINY_MODEL, foo=1), "knows no foo"),
        (
            lambda e: e.from_pretrained("demo", max_seq_length=10**6),
            "max_seq_length must be a whole number from 1 to",
        ),
    ],
)
def test_refusals_are_value_errors_in_words(encoder, call, message):
    with pytest.raises(ValueError, match=message):
        call(encoder)


def test_a_folder_that_says_its_pooling_takes_no_other(folder):
    with pytest.raises(ValueError, match="says how its states are pooled"):
        SentenceEncoder.from_pretrained(folder(), pooling="max")


def test_a_batch_of_long_texts_takes_the_memory_of_its_vectors_not_of_its_states():
    encoder = SentenceEncoder.from_pretrained()
    encoder.encode("one")
    texts = ["the house " * 100] * 256  # 128 tokens each: 33 MB of states
    tracemalloc.start()
    try:
        encoder.encode(texts, batch_size=256)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30e6
