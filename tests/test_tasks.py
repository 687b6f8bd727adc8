"""Fine-tuning files to examples and batches: every form, every refusal with its line, and answers found where they stand."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY_MODEL
from support.refusals import refusal

from albert_np import (
    AlbertConfig,
    AlbertForMultipleChoice,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertTokenizer,
)
from albert_np.tasks.multiple_choice import multiple_choice_batch, read_multiple_choice
from albert_np.tasks.question_answering import SquadExample, read_squad, squad_batch, squad_windows
from albert_np.tasks.rows import read_rows
from albert_np.tasks.text_classification import (
    MULTI,
    REGRESSION,
    TextExample,
    classification_batch,
    read_classification,
)
from albert_np.tasks.token_classification import read_token_classification, token_classification_batch
from albert_np.training.batches import Batches


@pytest.fixture(scope="module")
def tokenizer():
    return AlbertTokenizer.from_pretrained(TINY_MODEL)


def tiny(**options):
    return AlbertConfig(
        vocab_size=1000,
        embedding_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=64,
        **options,
    )


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def lines(*objects):
    return "\n".join(map(json.dumps, objects)) + "\n"


def labels(data):
    return [example.label for example in data.examples]


# --------------------------------------------------------------------------------------------------------------- rows


def test_csv_keeps_commas_quotes_and_line_ends(tmp_path):
    path = write(tmp_path, "a.csv", '\ufefftext,label\r\n"a, ""b""\nc",1\r\n\r\n d ,"2"\r\n')
    assert list(read_rows(path)) == [
        (f"{path} line 2", {"text": 'a, "b"\nc', "label": "1"}),
        (f"{path} line 5", {"text": " d ", "label": "2"}),
    ]


def test_tsv_takes_quotes_as_they_are(tmp_path):
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"a\t1\n')
    assert [values for _, values in read_rows(path)] == [{"text": '"a', "label": "1"}]


def test_a_table_without_a_header(tmp_path):
    path = write(tmp_path, "a.txt", "a\t1\nb\t2\n")
    assert [values["y"] for _, values in read_rows(path, file_format="tsv", columns=["x", "y"])] == ["1", "2"]
    assert "format is one of csv, tsv, jsonl, json" in refusal(read_rows, path)
    assert "JSON names its own" in refusal(read_rows, write(tmp_path, "a.jsonl", "{}"), columns=["x"])


def test_json_lines_and_a_json_list(tmp_path):
    objects = [{"text": "a\n\u6f22"}, {"text": "b"}]
    for name, content in (("a.jsonl", lines(*objects) + "\n \n"), ("a.json", json.dumps(objects))):
        assert [values for _, values in read_rows(write(tmp_path, name, content))] == objects


ROWS = {
    "b.csv line 3 is not CSV: unexpected end of data": 'text,label\na,1\n"b,2\nc,3\n',
    "b.csv line 2 is not CSV": 'text,label\n"a"b,1\n',
    "b.csv line 3 has 1 fields where there are 2 columns (text, label)": "text,label\na,1\nb\n",
    "b.csv line 1: the header names 'a' twice": "a,b,a\n",
    "b.csv is empty": "",
    "b.csv line 2 is not UTF-8": b"text\ncaf\xe9\n",
    "b.csv line 2 holds a NUL": "text\na\0b\n",
    "b.jsonl line 2 is not JSON: Expecting ',' delimiter at column 14": '{"text": "a"}\n{"text": "b" "c"}\n',
    "b.jsonl line 1 is not JSON: NaN is no JSON number": '{"x": NaN}\n',
    "b.jsonl line 1 must be an object with named values; got [1]": "[1]\n",
    "b.jsonl line 1 is nested too deeply": "[" * 100_000,
    "b.jsonl line 1 is not JSON: Exceeds the limit": "1" * 5000,
    "b.json line 2 is not JSON: Expecting property name": '[{"text": "a"},\n{}{]',
    "b.json must be a list of objects": '{"text": "a"}',
    "b.json item 1 must be an object": "[{}, 2]",
}


@pytest.mark.parametrize("message", ROWS)
def test_rows_are_refused_with_their_line(message, tmp_path):
    if message.startswith("b.json line 2"):
        message = message.split(":")[0]
    name = message.split()[0]
    content = next(value for key, value in ROWS.items() if key.startswith(message))
    assert message in refusal(lambda: list(read_rows(write(tmp_path, name, content))))


def test_a_field_of_a_megabyte_is_read_and_a_line_without_end_is_refused(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\n" + "x" * 1_000_000 + ",1\n")
    ((_, values),) = read_rows(path)
    assert len(values["text"]) == 1_000_000
    assert csv.field_size_limit() >= 1 << 24
    path = write(tmp_path, "b.csv", "text,label\n" + "x" * ((1 << 24) + 1) + ",1\n")
    assert "line 2 is longer than 16,777,216 bytes" in refusal(lambda: list(read_rows(path)))


# ----------------------------------------------------------------------------------------------------- classification


def test_labels_by_name_by_number_and_given(tmp_path):
    by_name = read_classification(write(tmp_path, "a.csv", "text,label\na,pos\nb,neg\nc, pos \n"))
    assert (by_name.label_names, labels(by_name)) == (["neg", "pos"], [1, 0, 1])
    by_number = read_classification(
        write(tmp_path, "b.jsonl", lines({"text": "a", "label": 2}, {"text": "b", "label": "0"}))
    )
    assert (by_number.label_names, labels(by_number)) == (["0", "1", "2"], [2, 0])
    path = write(
        tmp_path,
        "c.jsonl",
        lines({"text": "a", "label": "yes"}, {"text": "b", "label": 0}, {"text": "c", "label": True}),
    )
    assert labels(read_classification(path, label_names=["no", "yes"])) == [1, 0, 1]
    path = write(tmp_path, "d.csv", "text,label\na,10\nb,20\n")
    assert labels(read_classification(path, label_names=["10", "20"])) == [0, 1]


def test_other_columns_pairs_and_no_labels(tmp_path):
    path = write(tmp_path, "a.tsv", "id\tpremise\thypothesis\tgold\n1\ta b\tc\tx\n2\td\te\ty\n")
    data = read_classification(path, text="premise", pair="hypothesis", label="gold")
    assert data.examples == [TextExample("a b", "c", 0), TextExample("d", "e", 1)]
    assert labels(read_classification(path, text="premise", label=None)) == [None, None]


def test_several_labels(tmp_path):
    table = write(tmp_path, "a.csv", "text,label\na,x|y\nb,\nc,y\n")
    rows = write(
        tmp_path, "a.jsonl", lines(*({"text": t, "label": v} for t, v in (("a", ["x", "y"]), ("b", []), ("c", "y"))))
    )
    columns = write(tmp_path, "b.csv", "text,x,y\na,1,1.0\nb,0,False\nc,0,true\n")
    for data in (
        read_classification(table, problem_type=MULTI),
        read_classification(rows, problem_type=MULTI),
        read_classification(columns, problem_type=MULTI, label=["x", "y"]),
    ):
        assert data.label_names == ["x", "y"]
        assert labels(data) == [(1, 1), (0, 0), (0, 1)]
    assert "must be 0 or 1" in refusal(
        read_classification, write(tmp_path, "c.csv", "text,x,y\na,1,2\n"), problem_type=MULTI, label=["x", "y"]
    )


def test_numbers_for_regression(tmp_path):
    data = read_classification(write(tmp_path, "a.csv", "text,label\na,0.5\nb,-1e3\n"), problem_type=REGRESSION)
    assert (labels(data), data.label_names) == ([0.5, -1000.0], [])
    for bad in ("nan", "inf", "1e999", "high"):
        path = write(tmp_path, "b.csv", f"text,label\na,1\nb,{bad}\n")
        assert "b.csv line 3: label" in refusal(read_classification, path, problem_type=REGRESSION)


def test_rows_without_a_text_are_left_out_and_counted(tmp_path):
    path = write(
        tmp_path, "a.jsonl", lines({"text": " ", "label": 1}, {"text": None, "label": 1}, {"text": "a", "label": 0})
    )
    assert read_classification(path).counts == {"examples": 1, "empty_texts": 2, "unlabelled": 0}
    path = write(tmp_path, "b.csv", "text,label\na,\nb,x\n")
    assert "b.csv line 2 has no label" in refusal(read_classification, path)
    assert read_classification(path, missing_labels="skip").counts == {"examples": 1, "empty_texts": 0, "unlabelled": 1}


LABELS = {
    "line 2: label 7 is none of 2: no, yes": ({"text": "a", "label": 7}, {"label_names": ["no", "yes"]}),
    "line 2: label 'maybe' is none of 2": ({"text": "a", "label": "maybe"}, {"label_names": ["no", "yes"]}),
    "line 2: label -1 is no class number": ({"text": "a", "label": -1}, {}),
    "line 2: label 99999 is no class number from 0 to 9999": ({"text": "a", "label": 99999}, {}),
    "line 2: a label must be text; got 0.5": ({"text": "a", "label": 0.5}, {}),
    "line 2: text must be text; got 5": ({"text": 5, "label": 0}, {}),
    "line 2 has no column 'label'; it has text": ({"text": "a"}, {}),
    "line 2 has no column 'text'; it has t, label": ({"t": "a", "label": 0}, {}),
    "line 2: text holds half a character": ({"text": "a\ud800", "label": 0}, {}),
    "label_names must be different names": ({"text": "a", "label": 0}, {"label_names": ["x", "x"]}),
    "problem_type must be": ({"text": "a", "label": 0}, {"problem_type": "ranking"}),
    "missing_labels must be": ({"text": "a", "label": 0}, {"missing_labels": "drop"}),
    "several label columns are multi_label": ({"text": "a", "label": 0}, {"label": ["label", "text"]}),
}


@pytest.mark.parametrize("message", LABELS)
def test_labels_and_columns_are_refused_with_their_line(message, tmp_path):
    row, options = LABELS[message]
    path = write(tmp_path, "a.jsonl", lines({"text": "x", "label": 0}, row))
    assert message in refusal(read_classification, path, **options)


def test_a_file_without_examples_is_refused(tmp_path):
    assert "has no examples" in refusal(read_classification, write(tmp_path, "a.csv", "text,label\n"))
    assert "(1 empty texts)" in refusal(read_classification, write(tmp_path, "a.csv", "text,label\n,x\n"))
    with pytest.raises(OSError, match="there is no file"):
        read_classification(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("content", "options", "config"),
    [
        ("text,label\nThe cat sat.,x\nRome is old and far away.,y\n", {}, {"num_labels": 2}),
        ("text,label\nThe cat sat.,x|y\nRome is old.,z\n", {"problem_type": MULTI}, {"num_labels": 3}),
        ("text,label\nThe cat sat.,0.5\nRome is old.,2\n", {"problem_type": REGRESSION}, {"num_labels": 1}),
        ("text,b,label\nThe cat sat.,So it did.,x\nRome is old.,Who knows,y\n", {"pair": "b"}, {"num_labels": 2}),
    ],
)
def test_classification_batches_are_what_the_model_takes(content, options, config, tmp_path, tokenizer):
    data = read_classification(write(tmp_path, "a.csv", content), **options)
    model = AlbertForSequenceClassification(tiny(problem_type=data.problem_type, **config), seed=0)
    batch = classification_batch(data.examples, tokenizer, max_length=32)
    assert np.isfinite(model(**batch).loss)
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == batch["token_type_ids"].dtype == np.int64
    assert batch["labels"].dtype == (np.int64 if data.problem_type.startswith("single") else np.float64)
    first = data.examples[0]
    n = int(batch["attention_mask"][0].sum())
    assert batch["input_ids"][0, :n].tolist() == tokenizer.encode(first.text, first.pair)
    assert classification_batch(data.examples, tokenizer, max_length=6, padding="max_length")["input_ids"].shape == (
        2,
        6,
    )
    assert "padding must be" in refusal(classification_batch, data.examples, tokenizer, max_length=6, padding="no")


# --------------------------------------------------------------------------------------------------------------- words

CONLL = "-DOCSTART- -X- O O\n\nRome NNP B-NP B-LOC\nis VBZ B-VP O\n\n\nKathmandu NNP B-NP B-LOC\n"


def test_words_and_labels_from_columns_and_from_json(tmp_path, tokenizer):
    names = ["O", "B-LOC"]
    columns = read_token_classification(write(tmp_path, "a.conll", CONLL), label_names=names)
    tabs = read_token_classification(
        write(tmp_path, "a.txt", CONLL.replace(" ", "\t").replace("\n", "\r\n")), label_names=names
    )
    objects = [{"tokens": ["Rome", "is"], "ner_tags": [1, "O"]}, {"tokens": ["Kathmandu"], "ner_tags": ["B-LOC"]}]
    rows = read_token_classification(write(tmp_path, "a.jsonl", lines(*objects)), label_names=names, labels="ner_tags")
    assert columns.examples == tabs.examples == rows.examples
    assert [example.labels for example in rows.examples] == [(1, 0), (1,)]
    assert read_token_classification(tmp_path / "a.conll").label_names == ["B-LOC", "O"]
    parts = read_token_classification(tmp_path / "a.conll", label_column=1).label_names
    assert parts == ["NNP", "VBZ"]

    batch = token_classification_batch(columns.examples, tokenizer, max_length=16)
    for i, example in enumerate(columns.examples):
        expected = [-100]
        for word, label in zip(example.words, example.labels, strict=True):
            expected += [label, *[-100] * (len(tokenizer.tokenize(word)) - 1)]
        expected += [-100] * (batch["labels"].shape[1] - len(expected))
        assert batch["labels"][i].tolist() == expected
    assert len(tokenizer.tokenize("Kathmandu")) > 2
    assert np.isfinite(AlbertForTokenClassification(tiny(num_labels=2), seed=0)(**batch).loss)


def test_words_that_vanish_or_are_cut_off_have_no_label(tmp_path, tokenizer):
    path = write(
        tmp_path, "a.jsonl", lines({"tokens": ["\u200b", "the", "", "cat"] + ["sat"] * 9, "labels": list(range(13))})
    )
    data = read_token_classification(path)
    found = token_classification_batch(data.examples, tokenizer, max_length=6)["labels"]
    assert [label for label in found[0].tolist() if label != -100] in ([1, 3, 4, 5], [0, 1, 3, 4], [1, 3, 4])
    assert found.shape == (1, 6)


def test_unlabelled_words_and_ignored_ones(tmp_path, tokenizer):
    path = write(tmp_path, "a.jsonl", lines({"tokens": ["a", "b"], "labels": [-100, 1]}, {"tokens": [], "labels": []}))
    data = read_token_classification(path)
    assert (data.examples[0].labels, data.counts) == ((-100, 1), {"examples": 1, "empty_texts": 1})
    plain = read_token_classification(path, labels=None)
    assert plain.examples[0].labels is None
    assert "labels" not in token_classification_batch(plain.examples, tokenizer, max_length=8)


def test_words_are_refused_with_their_line(tmp_path):
    for row, message in (
        ({"tokens": ["a"], "labels": [0, 1]}, "a.jsonl line 2 has 1 words and 2 labels"),
        ({"tokens": "a b", "labels": [0, 1]}, "a.jsonl line 2: tokens and labels must be lists"),
        ({"tokens": ["a", 5], "labels": [0, 1]}, "a.jsonl line 2: a word must be text; got 5"),
        ({"tokens": ["a"], "labels": [5]}, "a.jsonl line 2: label 5 is none of 2"),
        ({"tokens": ["a"]}, "a.jsonl line 2 has no column 'labels'"),
    ):
        path = write(tmp_path, "a.jsonl", lines({"tokens": ["x"], "labels": [1]}, row))
        assert message in refusal(read_token_classification, path, label_names=["O", "B"])
    path = write(tmp_path, "a.conll", "a O\nb\n")
    assert "a.conll line 2 has 1 columns" in refusal(read_token_classification, path)
    assert "has 2 columns: no word in 5" in refusal(read_token_classification, path, word_column=5)


# ------------------------------------------------------------------------------------------------------------- choices


def test_choices_from_json_and_from_a_table(tmp_path, tokenizer):
    objects = [
        {"context": "The cat sat.", "question": "Who?", "choices": ["It.", "The cat did.", "x"], "label": 1},
        {"context": "Rome is old.", "question": "How old?", "choices": ["Very.", "y", "z"], "label": "C"},
    ]
    rows = read_multiple_choice(write(tmp_path, "a.jsonl", lines(*objects)), question="question")
    table = "context,question,a,b,c,label\n" + "".join(
        f"{o['context']},{o['question']},{','.join(o['choices'])},{o['label']}\n" for o in objects
    )
    assert (
        rows.examples
        == read_multiple_choice(write(tmp_path, "a.csv", table), question="question", choices=list("abc")).examples
    )
    assert [example.label for example in rows.examples] == [1, 2]
    batch = multiple_choice_batch(rows.examples, tokenizer, max_length=24)
    assert batch["input_ids"].shape[:2] == (2, 3)
    n = int(batch["attention_mask"][0, 1].sum())
    assert batch["input_ids"][0, 1, :n].tolist() == tokenizer.encode("The cat sat.", "Who? The cat did.")
    assert np.isfinite(AlbertForMultipleChoice(tiny(), seed=0)(**batch).loss)
    unlabelled = read_multiple_choice(tmp_path / "a.jsonl", context=None, question="question", label=None)
    assert unlabelled.examples[0] == ("Who?", ("It.", "The cat did.", "x"), None)
    assert "labels" not in multiple_choice_batch(unlabelled.examples, tokenizer, max_length=24)


def test_choices_are_refused_with_their_line(tmp_path):
    good = {"context": "a", "choices": ["x", "y"], "label": 0}
    for change, message in (
        ({"choices": ["x", "y", "z"]}, "line 2 has 3 choices where the first row has 2"),
        ({"choices": ["x"]}, "line 2: choices must be a list of at least two"),
        ({"choices": ["x", 1]}, "line 2: a choice must be text; got 1"),
        ({"label": 2}, "line 2: label 2 is no choice from 0 to 1"),
        ({"label": "c"}, "line 2: label 'c' is no choice"),
        ({"label": None}, "line 2: a label must be text; got None"),
    ):
        assert message in refusal(read_multiple_choice, write(tmp_path, "a.jsonl", lines(good, good | change)))
    path = write(tmp_path, "a.jsonl", lines(good, good | {"context": " "}))
    assert read_multiple_choice(path).counts == {"examples": 1, "empty_texts": 1}
    assert "contexts or of questions" in refusal(read_multiple_choice, path, context=None)


# --------------------------------------------------------------------------------------------------------------- SQuAD

CONTEXT = (
    "The caf\u00e9 in \ufb01ne old Kathmandu, the capital of Nepal, opened in 1999, said "
    "\u201cthe man\u201d \U0001f600 from Br\u00e1sil. It closed soon after, and nobody knew why it had been so."
)


def squad(*questions, context=CONTEXT):
    return {"version": "2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(questions)}]}]}


def asked(name, answer=None, start=None, **more):
    answers = (
        [] if answer is None else [{"text": answer, "answer_start": CONTEXT.index(answer) if start is None else start}]
    )
    return {"id": name, "question": "When did it open?", "answers": answers} | more


def read_questions(folder, *questions, **options):
    return read_squad(write(folder, "s.json", json.dumps(squad(*questions))), **options).examples


def test_squad_1_and_2_are_read(tmp_path):
    path = write(tmp_path, "s.json", json.dumps(squad(asked("a", "1999"), asked("b", is_impossible=True), asked("c"))))
    data = read_squad(path)
    assert data.counts == {"examples": 3, "impossible": 2}
    assert data.examples[0] == SquadExample("a", "When did it open?", CONTEXT, (("1999", CONTEXT.index("1999")),))
    plausible = asked("d", "1999", is_impossible=True)
    assert read_questions(tmp_path, plausible)[0].answers == ()
    without = {"id": "e", "question": "Who?"}
    assert read_questions(tmp_path, without, labels=False)[0].answers == ()
    assert "qas[0] has no 'answers'; it has id, question" in refusal(read_questions, tmp_path, without)


@pytest.mark.parametrize("max_length", [24, 40, 200])
@pytest.mark.parametrize(
    "answer", ["1999", "caf\u00e9", "\ufb01ne old", "the man", "Br\u00e1sil.", "The", "so.", "\U0001f600", "1999, said"]
)
def test_an_answer_is_labelled_in_every_window_that_holds_all_of_it(answer, max_length, tmp_path, tokenizer):
    examples = read_questions(tmp_path, asked("a", answer))
    windows, counts = squad_windows(examples, tokenizer, max_length=max_length, doc_stride=8)
    labelled = [window for window in windows if window.start]
    assert labelled
    assert counts == {
        "windows": len(windows),
        "unanswered_windows": len(windows) - len(labelled),
        "unlocated_answers": 0,
        "cut_questions": 0,
    }
    batch = squad_batch(windows, tokenizer)
    for i, window in enumerate(windows):
        assert (window.start == 0) == (window.end == 0)
        ids = batch["input_ids"][i]
        if window.start:
            covered = window.answer(window.start, window.end)
            assert answer in covered
            assert len(covered) <= len(answer) + 2  # a token may cover a mark beside the answer
            assert batch["token_type_ids"][i, window.start] == 1
            shown = tokenizer.decode(ids[window.start : window.end + 1])
            known = tokenizer.decode(tokenizer.encode(answer, add_special_tokens=False)).replace("<unk>", "").strip()
            assert known.replace(" ", "") in shown.replace(" ", "") or "<unk>" in shown
        assert window.answer(0, 0) is None
        assert window.answer(window.end, window.start - 1) is None
    assert np.isfinite(AlbertForQuestionAnswering(tiny().replace(max_position_embeddings=256), seed=0)(**batch).loss)


def test_windows_are_those_of_the_tokenizer(tmp_path, tokenizer):
    """Its own overflowing windows, an independent way to them, with the same overlap."""
    (example,) = read_questions(tmp_path, asked("a", "1999"))
    for max_length, stride in ((24, 0), (24, 8), (30, 13), (64, 8), (300, 8)):
        windows, _ = squad_windows([example], tokenizer, max_length=max_length, doc_stride=stride)
        theirs = tokenizer(
            example.question,
            example.context,
            truncation="only_second",
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=True,
            return_tensors="np",
        )
        ours = squad_batch(windows, tokenizer)
        for name in ("input_ids", "token_type_ids", "attention_mask"):
            assert np.array_equal(ours[name], theirs[name])
        for i, window in enumerate(windows):
            spans = theirs["offset_mapping"][i][window.offset : window.offset + window.last - window.first]
            assert np.array_equal(spans, window.context.spans[window.first : window.last])
    assert squad_batch(windows, tokenizer, max_length=310)["input_ids"].shape == (1, 310)
    assert "longer than max_length 20" in refusal(squad_batch, windows, tokenizer, max_length=20)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_answer_is_found_where_it_stands(tokenizer, data):
    context = data.draw(
        st.lists(
            st.sampled_from(["the", "cat", "sat", "1999,", "(on)", "caf\u00e9", "\u201c", "\ufb01", " ", "\u6f22"]),
            min_size=1,
            max_size=30,
        ).map(" ".join)
    )
    visible = [i for i, character in enumerate(context) if not character.isspace()]
    if not visible:
        return
    first = data.draw(st.sampled_from(visible))
    last = data.draw(st.sampled_from([i for i in visible if i >= first]))
    example = SquadExample("a", "Who?", context, ((context[first : last + 1], first),))
    windows, counts = squad_windows([example], tokenizer, max_length=200, doc_stride=8)
    assert counts["unlocated_answers"] == 0
    ((found_first, found_last),) = [
        (w.context.spans[w.start - w.offset, 0], w.context.spans[w.end - w.offset, 1]) for w in windows if w.start
    ]
    assert found_first <= first
    assert last < found_last
    # and no further beyond it than the pieces at its two ends reach
    spans = windows[0].context.spans
    assert found_first == min(a for a, b in spans if a <= first < b)
    assert found_last == max(b for a, b in spans if a <= last < b)


def test_answers_that_are_not_there_are_counted_and_left_out_of_training(tmp_path, tokenizer):
    questions = [
        asked("a", "Spain", 5),
        asked("b", "1999", 0),
        asked("c", "1999", -3),
        asked("d", "1999"),
        asked("e", " ", CONTEXT.index(" ")),
    ]
    examples = read_questions(tmp_path, *questions)
    windows, counts = squad_windows(examples, tokenizer, max_length=200)
    assert (counts["unlocated_answers"], [window.example for window in windows]) == (4, [3])
    windows, counts = squad_windows(examples, tokenizer, max_length=200, training=False)
    assert (counts["unlocated_answers"], [window.example for window in windows]) == (4, [0, 1, 2, 3, 4])
    assert [bool(window.start) for window in windows] == [False, False, False, True, False]


def test_long_questions_are_cut_and_too_small_windows_refused(tmp_path, tokenizer):
    (example,) = read_questions(tmp_path, asked("a", "1999"))
    long = example._replace(question="why " * 300)
    windows, counts = squad_windows([long], tokenizer, max_length=100, doc_stride=8, max_query_length=20)
    assert (counts["cut_questions"], len(windows[0].question)) == (1, 20)
    assert "leaves 4 tokens for the context beside a question of 20" in refusal(
        squad_windows, [long], tokenizer, max_length=27, max_query_length=20, doc_stride=4
    )
    assert "doc_stride must be" in refusal(squad_windows, [example], tokenizer, doc_stride=-1)
    (empty,) = squad_windows([example._replace(context="", answers=())], tokenizer)[0]
    assert (empty.first, empty.last, empty.start) == (0, 0, 0)


SQUAD = {
    "s.json line 1 is not JSON": json.dumps(squad())[:-2],
    "s.json line 3 is not JSON": '{"data":\n[\n}',
    "s.json is no SQuAD file": "[]",
    "s.json has no questions": '{"data": []}',
    "s.json data must be a list": '{"data": {}}',
    "s.json data[0] has no 'paragraphs'": '{"data": [{}]}',
    "s.json data[0].paragraphs[0] has no 'context'; it has qas": '{"data": [{"paragraphs": [{"qas": []}]}]}',
    "s.json data[0].paragraphs[0].qas[0] has no 'id'": json.dumps(squad({"question": "x"})),
    "s.json data[0].paragraphs[0].qas[0] must be an object": json.dumps(squad(5)),
    "qas[1] has the id 'a', which is another question's": json.dumps(squad(asked("a"), asked("a"))),
    "qas[0]: answer_start must be a whole number; got '5x'": json.dumps(squad(asked("a", "1999", "5x"))),
    "qas[0]: answer_start must be a whole number; got 5.5": json.dumps(squad(asked("a", "1999", 5.5))),
    "qas[0]: answer_start must be a whole number; got True": json.dumps(squad(asked("a", "1999", True))),
    "qas[0]: is_impossible must be true or false; got 'no'": json.dumps(squad(asked("a", is_impossible="no"))),
    "qas[0]: question must be text; got 1": json.dumps(squad(asked("a", question=1))),
    "qas[0].answers must be a list": json.dumps(squad(asked("a", answers={}))),
    "s.json is empty": "",
}


@pytest.mark.parametrize("message", SQUAD)
def test_squad_files_are_refused_with_the_place(message, tmp_path):
    assert message in refusal(read_squad, write(tmp_path, "s.json", SQUAD[message]))


# ------------------------------------------------------------------------------------------------------------- batches


def as_ids(examples):
    return {"x": np.array(examples)}


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 20), size=st.integers(1, 7), stop=st.integers(0, 12), shuffle=st.booleans(), seed=st.integers(0, 3)
)
def test_batches_continue_where_they_stopped(n, size, stop, shuffle, seed):
    def make():
        return Batches(range(n), as_ids, batch_size=size, seed=seed, epochs=3, shuffle=shuffle)

    unbroken, resumed = make(), make()
    whole = [batch["x"].tolist() for batch in make()]
    assert len(whole) == 3 * unbroken.batches_per_epoch
    for epoch in range(3):
        seen = [x for batch in whole[epoch * len(whole) // 3 : (epoch + 1) * len(whole) // 3] for x in batch]
        assert sorted(seen) == list(range(n))
        assert shuffle or seen == list(range(n))
    for _ in range(stop):
        next(unbroken, None)
    resumed.restore(json.loads(json.dumps(unbroken.state())))
    rest = [batch["x"].tolist() for batch in resumed]
    assert rest == [batch["x"].tolist() for batch in unbroken] == whole[stop:]
    assert list(resumed) == []
    resumed.rewind()
    assert [batch["x"].tolist() for batch in resumed] == whole


def test_batches_check_what_they_are_given():
    assert "no examples" in refusal(Batches, [], as_ids, batch_size=1)
    assert "batch_size must be" in refusal(Batches, [1], as_ids, batch_size=0)
    assert "epochs must be" in refusal(Batches, [1], as_ids, batch_size=1, epochs=0)
    batches = Batches([1, 2], as_ids, batch_size=1)
    state = batches.state()
    assert "examples was 2 and is 1" in refusal(Batches([1], as_ids, batch_size=1).restore, state)
    assert "seed was 0 and is 1" in refusal(Batches([1, 2], as_ids, batch_size=1, seed=1).restore, state)
    for wrong in ({}, None, state | {"next": 2}, state | {"epoch": -1}, state | {"next": 0.0}):
        assert "state" in refusal(batches.restore, wrong)
