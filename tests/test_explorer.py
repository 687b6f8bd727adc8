"""What the explorer's page shows are the model's own numbers, for models of every kind."""

import inspect
import linecache

import numpy as np
import pytest
from support import ROOT
from support.explored import TEXT, demo_tokenizer, of_the_demo, small
from support.pages import HOSTILE, Page, assert_nothing_outside

import albert_np
from albert_np import AlbertConfig, AlbertForPreTraining, AlbertForTokenClassification, ops
from albert_np.cli.describe import describe
from albert_np.costs import multiply_adds
from albert_np.explorer import words
from albert_np.explorer.attention import habit, packed
from albert_np.explorer.network import LEVELS
from albert_np.explorer.states import on_a_plane
from albert_np.golden.graph import ARCHITECTURES, graph


@pytest.fixture(scope="module")
def tokenizer():
    return demo_tokenizer()


@pytest.fixture(scope="module")
def model():
    return AlbertForPreTraining.from_pretrained("demo", backend="numpy", dtype="float64")


@pytest.fixture(scope="module")
def inputs(tokenizer):
    return tokenizer(TEXT, return_tensors="np")


@pytest.fixture(scope="module")
def out(model, inputs):
    return model(**inputs, trace="unfused", output_attentions=True, output_hidden_states=True)


@pytest.fixture(scope="module")
def explored():
    return of_the_demo()


def unpacked(row):
    return np.array([int(row[i : i + 2], 36) for i in range(0, len(row), 2)])


# --- the numbers are the model's ----------------------------------------------------------------------------------------


def test_tokens_are_those_that_the_model_reads(explored, inputs, tokenizer):
    ids = inputs["input_ids"][0].tolist()
    tokens = explored.data["tokens"]
    assert [token["id"] for token in tokens] == ids
    assert [token["piece"] for token in tokens] == tokenizer.convert_ids_to_tokens(ids)
    assert [t for t, token in enumerate(tokens) if token["mask"]] == [7]
    assert [t for t, token in enumerate(tokens) if token["special"] and not token["mask"]] == [0, len(ids) - 1]


def test_the_guesses_at_the_end_are_the_models_answer(explored, out, tokenizer):
    lens, p = explored.data["lens"], ops.softmax(out.prediction_logits[0])
    for t, row in enumerate(p):
        best = np.argsort(-row)[:5]
        flat = lens["top"][-1][t]
        assert [lens["names"][k] for k in flat[::2]] == tokenizer.convert_ids_to_tokens(best.tolist())
        assert flat[1::2] == [round(1000 * x) for x in row[best]]
    assert lens["names"][lens["top"][-1][7][0]] == "▁door"


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_the_guesses_at_a_depth_are_those_of_a_model_that_ends_there(explored, model, inputs, tokenizer, depth):
    ends = AlbertForPreTraining.from_pretrained("demo", num_hidden_layers=depth, backend="numpy", dtype="float64")
    p = ops.softmax(ends(**inputs).prediction_logits[0])
    lens = explored.data["lens"]
    best = p.argmax(axis=-1)
    assert [lens["names"][row[0]] for row in lens["top"][depth]] == tokenizer.convert_ids_to_tokens(best.tolist())
    assert [row[1] for row in lens["top"][depth]] == [round(1000 * x) for x in p.max(axis=-1)]
    ids = inputs["input_ids"][0]
    for t, (rank, chance) in enumerate(lens["own"][depth]):
        assert rank == 1 + np.sum(p[t] > p[t, ids[t]])
        assert chance == round(1000 * p[t, ids[t]])


def test_lines_follow_the_last_guesses_and_every_first_one(explored):
    lens = explored.data["lens"]
    for t, lines in enumerate(lens["lines"]):
        followed = [line[0] for line in lines]
        assert followed[:5] == lens["top"][-1][t][::2]
        firsts = {row[t][0] for row in lens["top"]}
        assert firsts <= set(followed) or len(followed) == 7
        for depth, row in enumerate(lens["top"]):
            known = dict(zip(row[t][::2], row[t][1::2], strict=True))
            assert all(line[1 + depth] == known[line[0]] for line in lines if line[0] in known)


def test_attention_is_the_models_of_each_head_and_their_mean(explored, out):
    shown = explored.data["attention"]["probs"]
    assert len(shown) == len(out.attentions) == 6
    for heads, p in zip(shown, out.attentions, strict=True):
        assert len(heads) == p.shape[1] + 1
        for rows, right in zip(heads, [*p[0], p[0].mean(axis=0)], strict=True):
            assert np.array_equal([unpacked(row) for row in rows], np.round(1000 * right))


def test_packed_probabilities_have_two_letters_each():
    assert unpacked(packed(np.array([0, 1, 0.0004, 0.0006, 0.5]))).tolist() == [0, 1000, 0, 1, 500]
    assert len(packed(np.full(7, 1 / 7))) == 14


def test_habits_say_where_a_head_looks():
    before = np.eye(4, k=-1)
    before[0, 0] = 1
    special = np.array([True, False, False, True])
    assert habit(before, special) == {"self": 25.0, "before": 100.0, "after": 0.0, "special": 25.0, "spread": 1.0}
    even = habit(np.full((4, 4), 0.25), special)
    assert even == {"self": 25.0, "before": 25.0, "after": 25.0, "special": 37.5, "spread": 4.0}


def test_states_move_as_far_as_the_models_do(explored, out):
    shown = explored.data["states"]
    for a, (x, y) in enumerate(zip(out.hidden_states, out.hidden_states[1:], strict=False)):
        x, y = x[0], y[0]
        assert shown["distance"][a] == pytest.approx(np.sqrt(((x - y) ** 2).sum(-1)).tolist(), rel=1e-3)
        cosine = (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
        assert shown["cosine"][a] == pytest.approx(cosine.tolist(), rel=1e-3)
    assert shown["norm"][0] == pytest.approx(np.linalg.norm(out.hidden_states[0][0], axis=-1).tolist(), rel=1e-3)


def test_a_plane_shows_what_lies_in_one_and_says_how_much():
    rng = np.random.default_rng(0)
    flat = rng.standard_normal((3, 4, 2)) @ rng.standard_normal((2, 9)) + 5
    points, explained = on_a_plane(flat)
    assert explained.sum() == pytest.approx(1)
    apart = np.linalg.norm(flat[0, 0] - flat[2, 3])
    assert np.linalg.norm(points[0, 0] - points[2, 3]) == pytest.approx(apart)
    points, explained = on_a_plane(np.ones((2, 2, 1)))
    assert points.shape == (2, 2, 2)
    assert not points.any()
    assert not explained.any()


def test_values_of_every_step_are_the_traces(explored, out):
    boxes = {box["part"]: box for box in explored.data["network"]["boxes"]}
    seen = set()
    for part, box in boxes.items():
        for a, values in enumerate(box["values"]):
            name = f"encoder.layer.{a}.{part}" if box["layer"] else part
            if name not in out.trace:
                continue
            seen.add(name)
            x = out.trace[name][0]
            rows = x.swapaxes(0, 1).reshape(x.shape[1], -1) if x.ndim == 3 else np.atleast_2d(x)
            assert box["shape"] == list(x.shape)
            assert values["of"] == rows.shape[1]
            assert len(values["rows"]) == len(rows)
            for row, (strip, length, *first) in zip(rows, values["rows"], strict=True):
                assert first == [float(f"{v:.4g}") for v in row[:5]]
                assert length == float(f"{np.linalg.norm(row):.4g}")
                levels = np.array([LEVELS.index(letter) - 30 for letter in strip])
                assert np.allclose(levels / 30 * values["largest"], row[:32], atol=values["largest"] / 59)
    assert seen == set(out.trace)


def test_a_label_for_each_token_has_its_letters(tokenizer):
    letters = {"AlbertForTokenClassification": "T × K", "AlbertForSequenceClassification": "K"}
    for kind, expected in letters.items():
        data = albert_np.explore("a b", small(getattr(albert_np, kind)), tokenizer=tokenizer).data
        (box,) = (box for box in data["network"]["boxes"] if box["part"] == "classifier")
        assert box["letters"] == expected
        assert len(box["shape"]) == len(expected.split(" × "))


def test_looked_up_rows_are_rows_of_the_tables(explored, model, inputs):
    boxes = {box["part"]: box for box in explored.data["network"]["boxes"]}
    table = dict(model.named_parameters())["albert.embeddings.word_embeddings.weight"]
    for t, i in enumerate(inputs["input_ids"][0]):
        shown = boxes["embeddings.word_embeddings"]["values"][0]["rows"][t]
        assert shown[2:] == [float(f"{v:.4g}") for v in table[i][:5]]


def test_parameters_are_counted_as_info_counts_them(explored):
    counts, info = explored.data["network"]["counts"], describe("demo")
    assert counts["stored"] == info["stored"]
    assert counts["unshared"] == info["unshared"]
    assert counts["layers"] == sum(x["stored"] for x in info["parameters"] if x["part"].startswith("shared layer"))


def test_multiplications_are_counted_as_by_hand(explored):
    m = explored.data["model"]
    T, E, H, I, V, A = (m[letter] for letter in "TEHIVA")
    layer = 4 * T * H * H + 2 * T * T * H + 2 * T * H * I
    by_hand = T * E * H + A * layer + H * H + 2 * H + T * H * E + T * E * V
    assert explored.data["network"]["counts"]["work"] == by_hand


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query"])
def test_multiplications_are_counted_as_the_costs_of_the_encoder_are(tokenizer, kind):
    model = small(albert_np.AlbertModel, position_embedding_type=kind)
    data = albert_np.explore("a b c", model, tokenizer=tokenizer).data
    pooler = model.config.hidden_size**2
    assert data["network"]["counts"]["work"] == sum(multiply_adds(model.config, 5).values()) + pooler


def test_code_is_what_stands_in_the_files(explored):
    sources = explored.data["network"]["sources"]
    assert {"ops.linear", "ops.layer_norm", "ops.softmax", "activations.gelu_new", "encoder.encoder"} <= set(sources)
    for one in sources.values():
        lines = [
            linecache.getline(str(ROOT / one["file"]), one["first"] + i).rstrip("\n") for i in range(len(one["lines"]))
        ]
        assert one["lines"] == lines
        assert lines[0].startswith("def ")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_step_of_every_class_has_words_and_code(architecture):
    for act in ("gelu_new", "gelu", "relu", "silu", "tanh"):
        for position_type in ("absolute", "relative_key"):
            config = AlbertConfig(num_hidden_layers=1, hidden_act=act, position_embedding_type=position_type)
            for step in graph(config, architecture):
                if not step.beside:
                    said = words.words_of(step.name.removeprefix("encoder.layer.0."), dict(step.attributes))
                    assert said.says[-1] in ".?"
                    assert said.formula
                    assert all(inspect.isfunction(function) for function in said.code)


# --- models of every kind -------------------------------------------------------------------------------------------------


def test_a_loaded_model_is_computed_in_float64_whatever_it_runs_on(explored):
    model = AlbertForPreTraining.from_pretrained("demo")
    assert (model.backend, model.dtype) != ("numpy", np.float64)
    assert albert_np.explore(TEXT, model).data == explored.data


def test_layers_that_are_not_shared_have_weights_of_their_own(tokenizer):
    model = small(num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2)
    data = albert_np.explore("a b", model, tokenizer=tokenizer).data
    assert (data["model"]["A"], data["model"]["G"]) == (8, 4)
    (query,) = (box for box in data["network"]["boxes"] if box["part"] == "attention.query")
    layers = [names[0][0].rpartition(".attention")[0] for _, names in query["names"]]
    assert layers == [f"encoder.albert_layer_groups.{g}.albert_layers.{i}" for g in (0, 0, 1, 1) for i in (0, 1)]
    counts = data["network"]["counts"]
    assert counts["unshared"] - counts["stored"] == counts["layers"]  # each of four layers is applied twice


def test_labels_take_the_place_of_pieces_in_a_model_that_has_labels(tokenizer):
    names = {0: "NOTHING", 1: HOSTILE, 2: "PLACE"}
    model = small(AlbertForTokenClassification, id2label=names, label2id={x: i for i, x in names.items()})
    found = albert_np.explore("a house", model, tokenizer=tokenizer)
    lens = found.data["lens"]
    assert lens["kind"] == "labels"
    assert set(lens["names"]) <= set(names.values())
    assert all(sum(row[1::2]) == pytest.approx(1000, abs=2) for row in lens["top"][-1])
    assert_nothing_outside(Page(found.html()))


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab_size": 8100},
        {"position_embedding_type": "relative_key_query"},
        {"num_hidden_layers": 1},
        {"tie_word_embeddings": False},
        {"hidden_size": 1, "num_attention_heads": 1},
        {"hidden_act": "relu"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_models_of_every_shape_have_a_page(tokenizer, changes):
    model = small(**changes)
    for text in ("a [MASK]", ""):
        found = albert_np.explore(text, model, tokenizer=tokenizer)
        assert Page(found.html()).data["model"]["T"] == len(found.data["tokens"])
    parts = {box["part"] for box in found.data["network"]["boxes"]}
    relative = model.config.position_embedding_type != "absolute"
    assert ("embeddings.position_embeddings" in parts) != relative


@pytest.mark.parametrize("kind", ["AlbertModel", "AlbertForSequenceClassification", "AlbertForQuestionAnswering"])
def test_a_model_without_a_head_for_tokens_has_a_page_without_guesses(tokenizer, kind):
    model = small(getattr(albert_np, kind))
    found = albert_np.explore("a house", model, tokenizer=tokenizer)
    assert (found.data["label"] is None) == (kind != "AlbertForSequenceClassification")
    assert found.data["lens"] is None
    assert Page(found.html()).data["lens"] is None


def test_a_model_for_whole_texts_says_its_label():
    text = "Come in! said the old man."
    (answer,) = albert_np.pipeline("text-classification", "demo-speech")(text)
    label, chance = albert_np.explore(text, "demo-speech").data["label"]
    assert label == answer["label"]
    assert chance == pytest.approx(1000 * answer["score"], abs=0.6)


def test_a_checkpoint_is_loaded_with_the_head_that_it_has(tokenizer, tmp_path):
    small().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = albert_np.explore("a", tmp_path)
    assert found.data["model"]["class"] == "AlbertForPreTraining"
    assert found.data["model"]["name"] == tmp_path.name
    assert str(tmp_path.parent) not in found.html()  # a page may be sent around
    assert albert_np.explore("a", "demo-names").data["lens"]["kind"] == "labels"
    assert albert_np.explore("a", "demo-speech").data["model"]["class"] == "AlbertForSequenceClassification"


def test_two_texts_have_segments_and_an_order(tokenizer, model):
    data = albert_np.explore("It rained.", pair="The street was wet.").data
    given = tokenizer("It rained.", "The street was wet.", return_tensors="np")
    assert [token["segment"] for token in data["tokens"]] == given["token_type_ids"][0].tolist()
    assert data["order"] == round(1000 * ops.softmax(model(**given).sop_logits[0])[0])
    assert albert_np.explore("It rained.").data["order"] is None
