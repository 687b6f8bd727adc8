"""Nothing is changed in silence: random files in the dialects that people have give back their content, or are refused.

What no reader changes: texts, words, contexts and answers, every character of them, spaces around them included. What readers
do: they drop the byte order mark; they take the end of a line for one, however it is written; they give a label that is a whole
number its shortest spelling, and take the spaces from around labels. The first part holds the random files, the second one an
example of each thing that a file may have.
"""

import csv
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY_MODEL
from support.refusals import refusal

from albert_np import AlbertTokenizer
from albert_np.tasks.multiple_choice import read_multiple_choice
from albert_np.tasks.question_answering import SquadExample, read_squad, squad_windows
from albert_np.tasks.text_classification import MULTI, read_classification
from albert_np.tasks.token_classification import read_token_classification

# letters, what separates fields and lines in some dialect, and characters that str.split and str.splitlines take for an end
CHARACTERS = "ab1.# \"',;|[]\\=-\u00a0\u3000\u2028\u0085\x0b\x0c\u00e9\u6f22\ufeff"
TEXTS = st.text(CHARACTERS + "\t\r\n", min_size=1, max_size=9).filter(str.strip)
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\r\r\n"])
MARK = st.sampled_from(["", "\ufeff"])
FEW = settings(deadline=None, max_examples=100)


def read(reader, content, name, **options):
    """What a reader says of a file with this content, or None if it refuses it in one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content.encode("utf-8"))
        try:
            return reader(path, **options)
        except ValueError as error:
            return None if "\n" not in str(error) else pytest.fail(f"a message of several lines: {error}")


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


# -------------------------------------------------------------------------------------------------------- random files

WORDS = {
    "\t": st.text(CHARACTERS, min_size=1, max_size=5).filter(lambda word: word.strip(" ")),
    " ": st.text(CHARACTERS.replace(" ", ""), min_size=1, max_size=5),
}
TAGS = st.sampled_from(["O", "B-PER", "I-PER", "NN", "7", "_"])
COMMENTS = st.sampled_from(
    [
        "# text = John runs",
        "# id 1f\tdomain=train",
        "# newdoc",
        "#begin document (a/b); part 000",
        "# sent_id = 1",
        "#",
        "# a",
    ]
)


@st.composite
def conll_files(draw):
    """(content, where the words are, sentences of (word, label), number of comments, whether a reader may refuse it)."""
    separator, ends = draw(st.sampled_from(sorted(WORDS))), draw(ENDS.map(lambda x: [x]) | st.just(["\n", "\r\n"]))
    between = draw(st.integers(0, 2))
    sentences = draw(
        st.lists(st.lists(st.tuples(WORDS[separator], TAGS), min_size=1, max_size=4), min_size=1, max_size=4)
    )
    lines, comments = [], 0
    ids = separator == "\t" and draw(st.booleans())  # as in CoNLL-U
    for sentence in sentences:
        if draw(st.booleans()):
            lines.append(draw(st.sampled_from(["-DOCSTART- -X- -X- O", "-DOCSTART-", "-DOCSTART-\tO"])))
            lines += [""] * draw(st.integers(0, 1))
            comments += 1
        here = draw(st.lists(COMMENTS, max_size=2)) if draw(st.integers(0, 3)) == 0 else []
        lines += here
        comments += len(here)
        for number, (word, label) in enumerate(sentence, 1):
            gap = separator * (draw(st.integers(1, 3)) if separator == " " else 1)
            fields = [word, *["x"] * between, label]
            if ids and number < len(sentence) and draw(st.booleans()):
                lines.append("\t".join([f"{number}-{number + 1}", *"_" * len(fields)]))
            lines.append(gap.join([str(number)] * ids + fields) + " " * (separator == " " and draw(st.integers(0, 1))))
            if ids and draw(st.integers(0, 5)) == 0:
                lines.append("\t".join([f"{number}.1", *fields]))
        lines += draw(st.lists(st.sampled_from(["", " ", "\t "]), min_size=1, max_size=2))
    content = (
        lines[0] + "".join(draw(st.sampled_from(ends)) + line for line in lines[1:]) + ends[0] * draw(st.integers(0, 1))
    )
    content = "\ufeff" + content if content.startswith("\ufeff") else draw(MARK) + content
    if between and not ids and all(word == "1" for sentence in sentences for word, _ in sentence):
        return content, int(ids), sentences, comments, True  # ids, to all appearance
    edges = [word for sentence in sentences for word, _ in (sentence[0], sentence[-1])]
    clear = not any(line.startswith("#") for line in lines) and not any(
        word.startswith(("#", "\ufeff")) for word in edges
    )
    return content, int(ids), sentences, comments, not clear


@FEW
@given(conll_files())
def test_columns_give_back_their_words_and_labels_or_are_refused(file):
    content, word_column, sentences, comments, unclear = file
    data = read(read_token_classification, content, "a.conll", word_column=word_column)
    if data is None:
        assert unclear
        return
    found = [[(w, data.label_names[i]) for w, i in zip(x.words, x.labels, strict=True)] for x in data.examples]
    assert found == sentences
    assert data.counts.get("comments", 0) == comments


LABELS = st.one_of(
    st.lists(st.sampled_from(["pos", "neg", "a b", "\u6f22", "#"]), min_size=1, max_size=5),
    st.lists(st.integers(0, 12), min_size=1, max_size=5),
)


def spelled(draw, label, json_too):
    """One of the ways in which people have a label, as text or also as a JSON value."""
    if isinstance(label, str):
        return draw(st.sampled_from([label, f" {label} "]))
    ways = [str(label), f"{label}.0", f" {label}"]
    if json_too:
        ways += [label, float(label)] + ([bool(label)] if label < 2 else [])
    return draw(st.sampled_from(ways))


@st.composite
def tables(draw):
    """(name, content, texts, labels as text)."""
    kind, end, labels = draw(st.sampled_from(["csv", "tsv", "jsonl", "json"])), draw(ENDS), draw(LABELS)
    text = WORDS["\t"].filter(str.strip) if kind == "tsv" else TEXTS
    rows = [(draw(text), spelled(draw, label, json_too=kind.startswith("json"))) for label in labels]
    if kind == "csv":
        need = draw(st.sampled_from([',"\r\n', CHARACTERS]))  # quotes where RFC 4180 needs them, or nearly everywhere
        quoted = [
            [f'"{x.replace(chr(34), chr(34) * 2)}"' if set(x) & set(need) else x for x in row]
            for row in [("text", "label"), *rows]
        ]
        content = end.join(map(",".join, quoted)) + end
    elif kind == "tsv":
        content = end.join("\t".join(row) for row in [("text", "label"), *rows]) + end
    else:
        objects = [{"label": label, "text": text} for text, label in rows]
        ascii_only = draw(st.booleans())
        each = [json.dumps(x, ensure_ascii=ascii_only) for x in objects]
        content = end.join(each) + end if kind == "jsonl" else f"[{(',' + end).join(each)}]"
    if kind != "json" and draw(st.booleans()):
        content += end + "  " + end
    return f"a.{kind}", draw(MARK) + content, [row[0] for row in rows], [str(label) for label in labels]


@FEW
@given(tables())
def test_tables_give_back_their_texts_and_labels(file):
    name, content, texts, labels = file
    data = read(read_classification, content, name)
    assert data is not None
    assert [example.text for example in data.examples] == texts
    assert [data.label_names[example.label] for example in data.examples] == labels


NAMES = st.lists(st.sampled_from(["x", "y", "z w", "\u6f22"]), max_size=3, unique=True)


@FEW
@given(st.lists(NAMES, min_size=1, max_size=4).filter(any), st.data())
def test_several_labels_are_read_in_each_spelling_or_refused(several, data):
    """A list in JSON; in a table JSON's and Python's lists, tuples and sets, names with a mark between, and NumPy's arrays."""
    spell = data.draw(
        st.sampled_from(
            [
                list,
                json.dumps,
                str,
                lambda x: str(tuple(x)),
                lambda x: str(set(x)),
                "|".join,
                " | ".join,
                ";".join,
                ", ".join,
                lambda x: f"[{' '.join(map(repr, x))}]",
                lambda x: f"[{' '.join(x)}]",
            ]
        )
    )
    rows = [{"text": "a", "label": spell(names)} for names in several]
    if isinstance(rows[0]["label"], list) or data.draw(st.booleans()):
        found = read(read_classification, "\n".join(map(json.dumps, rows)), "a.jsonl", problem_type=MULTI)
    else:
        out = io.StringIO(newline="")
        csv.writer(out).writerows([("text", "label"), *(row.values() for row in rows)])
        found = read(read_classification, out.getvalue(), "a.csv", problem_type=MULTI)
    if found is None:
        assert any(mark in str(row["label"]) for row in rows for mark in ";,[")
        return
    back = [sorted(n for n, x in zip(found.label_names, row.label, strict=True) if x) for row in found.examples]
    assert back == list(map(sorted, several))


@st.composite
def squad_files(draw):
    """(name, content, the examples in it)."""
    examples, entries = [], []
    form = draw(st.sampled_from(["articles", "data", "list", "lines"]))
    for number in range(draw(st.integers(1, 4))):
        context = draw(TEXTS)
        first = draw(st.integers(0, len(context) - 1))
        answers = [(context[first : first + 3], first)] * draw(st.integers(0, 2))
        question = {"id": draw(st.sampled_from([number, str(number), float(number)])), "question": draw(TEXTS)}
        examples.append(SquadExample(str(number), question["question"], context, tuple(answers)))
        truth = draw(st.sampled_from([bool, int, float, str, lambda x: str(x).lower(), lambda x: None]))
        if draw(st.booleans()):
            question["is_impossible"] = truth(not answers)
        number_form = draw(st.sampled_from([int, float, str]))
        pairs = [(text, number_form(start)) for text, start in answers]
        if draw(st.booleans()):
            question["answers"] = {"text": [t for t, _ in pairs], "answer_start": [s for _, s in pairs]}
        else:
            question["answers"] = [{"answer_start": start, "text": text} for text, start in pairs]
        entries.append(
            {"context": context, "qas": [question]} if form == "articles" else question | {"context": context}
        )
    if form == "lines":
        return "a.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries), examples
    whole = {"articles": {"data": [{"paragraphs": entries}]}, "data": {"data": entries}, "list": entries}[form]
    return "a.json", draw(MARK) + json.dumps(whole, ensure_ascii=draw(st.booleans())), examples


@FEW
@given(squad_files())
def test_squad_files_give_back_their_questions_contexts_and_answers(file):
    name, content, examples = file
    data = read(read_squad, content, name)
    assert data is not None
    assert data.examples == examples


# -------------------------------------------------------------------------------------------------------------- columns


def sentences(folder, content, **options):
    """([[(word, label), …], …], what was left out) of a CoNLL file."""
    data = read_token_classification(write(folder, "a.conll", content), **options)
    found = [[(w, data.label_names[i]) for w, i in zip(x.words, x.labels, strict=True)] for x in data.examples]
    return found, {name: n for name, n in data.counts.items() if name not in ("examples", "empty_texts")}


JOHN, RUNS = ("John", "B-PER"), ("runs", "O")
COLUMNS = {
    "a comment of MultiCoNER, with a tab": ("# id 1f\tdomain=train\nJohn _ _ B-PER\nruns _ _ O\n", [[JOHN, RUNS]], 1),
    "a comment of CoNLL-U": ("# text = John runs\nJohn\tB-PER\nruns\tO\n", [[JOHN, RUNS]], 1),
    "a comment as long as the columns are many, by spaces": ("# newdoc\nJohn\tB-PER\nruns\tO\n", [[JOHN, RUNS]], 1),
    "marks of CoNLL-2012": ("#begin document (a); part 000\nJohn x B-PER\n\n#end document\n", [[JOHN]], 2),
    "an end right after the words": ("John x B-PER\n#end document\n", [[JOHN]], 1),
    "an address of GermEval": ("#\thttp://x.org [2009]\n1\tJohn\tB-PER\tO\n2\truns\tO\tO\n", [[JOHN, RUNS]], 1),
    "the word #": ("#\tO\nJohn\tB-PER\n\nJohn\tB-PER\n#\tO\n", [[("#", "O"), JOHN], [JOHN, ("#", "O")]], 0),
    "the word # by spaces": ("# O\nJohn B-PER\n", [[("#", "O"), JOHN]], 0),
    "a hashtag": ("#ff\tO\n@John\tB-PER\n", [[("#ff", "O"), ("@John", "B-PER")]], 0),
    "a hashtag alone": ("#ff\tO\n\n#a\tB-X\n", [[("#ff", "O")], [("#a", "B-X")]], 0),
    "a word # with a label that other words have": (
        "a SYM\n\n# SYM\nb SYM\n",
        [[("a", "SYM")], [("#", "SYM"), ("b", "SYM")]],
        0,
    ),
    "a word # inside": ("a\tNN\n#\tHASH\nb\tNN\n", [[("a", "NN"), ("#", "HASH"), ("b", "NN")]], 0),
    "-DOCSTART-": ("-DOCSTART- -X- -X- O\n\nJohn x y B-PER\n", [[JOHN]], 1),
    "-DOCSTART- alone, with tabs, and right before words": (
        "-DOCSTART-\nJohn\tB-PER\n-DOCSTART-\tO\nruns\tO\n",
        [[JOHN], [RUNS]],
        2,
    ),
    "a word like -DOCSTART-": ("-DOCSTART-s\tO\nJohn\tB-PER\n", [[("-DOCSTART-s", "O"), JOHN]], 0),
    "spaces in words": ("New York\tB-LOC\nis\tO\n", [[("New York", "B-LOC"), ("is", "O")]], 0),
    "other spaces in words": (
        "1\u00a0000\tO\n\u3000\tO\na\u2028b\tO\nc\u0085d\tO\ne\x0b\x0cf\tO\n",
        [[(word, "O") for word in ("1\u00a0000", "\u3000", "a\u2028b", "c\u0085d", "e\x0b\x0cf")]],
        0,
    ),
    "U+00A0 in a word by spaces": ("1\u00a0000 O\nJohn   B-PER \n", [[("1\u00a0000", "O"), JOHN]], 0),
    "CR alone": ("John\tB-PER\rruns\tO\r\rruns\tO\r", [[JOHN, RUNS], [RUNS]], 0),
    "CR alone, and LF at the end": ("John\tB-PER\rruns\tO\r\n", [[JOHN, RUNS]], 0),
    "CRLF and LF": ("John\tB-PER\r\nruns\tO\n\r\nruns\tO", [[JOHN, RUNS], [RUNS]], 0),
    "CR CR LF": ("John\tB-PER\r\r\nruns\tO\r\r\n\r\r\nruns\tO\r\r\n", [[JOHN, RUNS], [RUNS]], 0),
    "a mark of bytes, and blank lines of spaces": ("\ufeffJohn\tB-PER\n \t\nruns\tO\n\t\n  \n", [[JOHN], [RUNS]], 0),
    "an empty column": ("John\t\tB-PER\nruns\tx\tO\n", [[JOHN, RUNS]], 0),
    "a tab at the end, by spaces": ("John B-PER\t\nruns O \n", [[JOHN, RUNS]], 0),
    "quotes and marks": ('"\tO\n,\tO\n%\tO\n', [[('"', "O"), (",", "O"), ("%", "O")]], 0),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_are_read_as_their_writer_meant_them(case, tmp_path):
    content, expected, comments = COLUMNS[case]
    columns = {"word_column": 1, "label_column": 2} if "GermEval" in case else {}
    assert sentences(tmp_path, content, **columns) == (expected, {"comments": comments} if comments else {})


REFUSED_COLUMNS = {
    "a.conll line 1 begins with # and has the 2 columns of a word: it may be a word or a comment": "# newdoc\nJohn B-PER\n",
    "a.conll line 3 begins with # and has the 2 columns": "John\tB-PER\n\n# id 1f\tdomain=train\nJohn\tB-PER\n",
    "a.conll line 1 begins with # and has the 5 columns": "# text = the O\nJohn a b c O\n",
    "a.conll line 2 begins with #, stands between words": "John\tB-PER\n# text = runs\nruns\tO\n",
    "a.conll line 1 begins with # and has the 2 columns of a word: it may": "#\t\nJohn\tB-PER\n",
    "a.conll line 1 has 3 columns, and line 2 has 2": "#\tO\t\nJohn\tB-PER\n",
    "a.conll line 2 has no tab, but line 1 separates columns by tabs": "John\tB-PER\nruns O\n",
    "a.conll line 3 has a tab, but line 1 separates columns by spaces": "John B-PER\n\nruns\tO\n",
    "a.conll line 2 has 2 columns, and line 1 has 3": "John NNP B-PER\nruns VBZ\n",
    "a.conll line 3 has 4 columns, and line 1 has 3": "John NNP B-PER\n\nNew York NNP B-LOC\n",
    "a.conll line 1 has 1 columns: no word in 0 and label in -1": "John\n",
    "a.conll line 2 has an empty column 0, where the word stands": "John\tB-PER\n\tO\n",
    "a.conll line 2 has an empty label": "John\tB-PER\nruns\t\n",
    "a.conll: CR alone ends line 1 and LF ends line 2": "John\tB-PER\rruns\tO\n\nruns\tO\n",
    "a.conll line 1: column 0 counts the words of each sentence": "1\tJohn\tB-PER\n2\truns\tO\n\n1\tJohn\tB-PER\n",
    "a.conll line 1: column 0 holds labels": "O\twho\nO\tplayed\nB-X\tZorro\nI-X\ttoo\n\nO\twho\n",
    "a.conll line 1: column 0 says the same of every word": "d a b c d e B-X\n" * 5,
    "a.conll line 1: column 0 counts the words": "1\tHi\tx\n\n1\tHo\tx\n",
    "a.conll line 1 is a mark, <doc id=5>": "<doc id=5>\nJohn B-PER\n",
    "a.conll line 1 names the columns": "word\tner_tags\nJohn\tB-PER\n",
    "a.conll has no examples (1 comments)": "-DOCSTART- -X- O\n",
}


@pytest.mark.parametrize("message", REFUSED_COLUMNS)
def test_unclear_columns_are_refused_with_their_line(message, tmp_path):
    assert message in refusal(sentences, tmp_path, REFUSED_COLUMNS[message])


def test_the_caller_says_what_a_line_with_a_hash_is(tmp_path):
    content = "# newdoc\nJohn B-PER\nruns O\n"
    assert sentences(tmp_path, content, comments="skip") == ([[JOHN, RUNS]], {"comments": 1})
    assert sentences(tmp_path, content, comments="word") == ([[("#", "newdoc"), JOHN, RUNS]], {})
    assert sentences(tmp_path, content, label_names=["newdoc", "O", "B-PER"]) == ([[("#", "newdoc"), JOHN, RUNS]], {})
    between = "John B-PER\n# a b\nruns O\n"
    assert sentences(tmp_path, between, comments="skip") == ([[JOHN, RUNS]], {"comments": 1})
    assert "comments must be 'error', 'skip' or 'word'" in refusal(sentences, tmp_path, content, comments="no")


CONLL_U = """# sent_id = 1
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
2.1\tnada\tnada\tX\t_\t_\t_\t_\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\tSpaceAfter=No

"""


def test_words_of_conll_u_come_once_each(tmp_path):
    found, left_out = sentences(tmp_path, CONLL_U, word_column=1, label_column=3)
    tags = [("Vamos", "VERB"), ("nos", "PRON"), ("a", "ADP"), ("el", "DET"), ("mar", "NOUN")]
    assert found == [tags]
    assert left_out == {"comments": 2, "multiword_tokens": 2, "empty_nodes": 1}
    by_text = sentences(tmp_path, CONLL_U, word_column="1", label_column="3")  # as the command line gives them
    assert by_text == (found, left_out)
    assert "counts the words" in refusal(sentences, tmp_path, CONLL_U)
    times = "0.5\tJohn\tB-PER\n0.7\truns\tO\n"
    assert sentences(tmp_path, times, word_column=1) == ([[JOHN, RUNS]], {})
    wrong = "1-2\tdu\tX\n4\tde\tX\n9\tle\tX\n"
    assert "the ids of this sentence do not count its words" in refusal(sentences, tmp_path, wrong, word_column=1)


def test_columns_may_differ_between_sentences_if_they_are_counted_from_the_left(tmp_path):
    content = "d 0 John B-PER -\n\nd 0 runs O - (A0\nd 1 John B-PER - *\n"
    assert sentences(tmp_path, content, word_column=2, label_column=3) == ([[JOHN], [RUNS, JOHN]], {})
    assert "line 3 has 6 columns, and line 1 has 5" in refusal(sentences, tmp_path, content, word_column=2)
    for wrong in ("word", True, 1.0, None):
        assert "word_column is the number of a column" in refusal(sentences, tmp_path, content, word_column=wrong)
    assert "has 5 columns: no word in 7" in refusal(sentences, tmp_path, content, word_column=7, label_column=3)


def test_words_without_labels(tmp_path):
    path = write(tmp_path, "a.conll", "John\nruns\n\n# text = He\nHe\n")
    assert [x.words for x in read_token_classification(path, labels=None).examples] == [("John", "runs"), ("He",)]
    spaces = write(tmp_path, "c.conll", "New York\n\nJohn\n")
    assert "line 3 has 1 columns, and line 1 has 2" in refusal(read_token_classification, spaces, labels=None)
    unclear = write(tmp_path, "b.conll", "#ff\nJohn\n")
    assert "line 1 begins with #" in refusal(read_token_classification, unclear, labels=None)
    assert read_token_classification(unclear, labels=None, comments="word").examples[0].words == ("#ff", "John")


def test_a_table_of_words_is_refused(tmp_path):
    path = write(tmp_path, "a.csv", "Sentence: 1,Thousands,NNS,O\n,of,IN,O\n")
    assert "file_format='conll'" in refusal(read_token_classification, path)


# --------------------------------------------------------------------------------------------------------------- labels


def labels_of(folder, *values, **options):
    """The names of the labels of a JSONL file."""
    rows = [{"text": "a", "label": value} for value in values]
    data = read_classification(write(folder, "a.jsonl", "\n".join(map(json.dumps, rows))), **options)
    if data.problem_type == MULTI:
        return [[n for n, x in zip(data.label_names, row.label, strict=True) if x] for row in data.examples]
    return [data.label_names[row.label] for row in data.examples]


def test_a_whole_number_is_one_label_however_it_is_written(tmp_path):
    assert labels_of(tmp_path, 1.0, 1, True, "1", " 1 ", "1.0", "1.", 0.0, False, "0") == ["1"] * 7 + ["0"] * 3
    assert labels_of(tmp_path, 1.0, "0.0", label_names=["no", "yes"]) == ["yes", "no"]
    # a name is a name before it is a place
    assert labels_of(tmp_path, 1.0, 2, "2.0", label_names=["1.0", "2.0"]) == ["1.0", "2.0", "2.0"]
    assert labels_of(tmp_path, True, False, label_names=["True", "False"]) == ["True", "False"]
    assert labels_of(tmp_path, "[NONE]", label_names=["[NONE]"]) == ["[NONE]"]
    assert "label 1e+30 is no class number" in refusal(labels_of, tmp_path, 0, 1e30)
    assert "label 12345678901234 is no class number" in refusal(labels_of, tmp_path, 0, 12345678901234)
    assert labels_of(tmp_path, "007", "0.5", label_names=["0.5", "007"]) == ["007", "0.5"]
    assert "label 0 is none of 3: 1, 2, 3" in refusal(labels_of, tmp_path, 0, label_names=["1", "2", "3"])


@pytest.mark.parametrize("label", ["007", "+1", "1e0", "0.5", ".5", "-0.5", "1E3"])
def test_another_number_is_no_name_of_a_class(label, tmp_path):
    assert f"line 2: label {label!r} is a number, but no class number" in refusal(labels_of, tmp_path, "1", label)


@pytest.mark.parametrize(
    "label",
    [
        "['x', 'y']",
        '["x"]',
        "[]",
        "[x y]",
        "[1 0]",
        "('x',)",
        "{'x'}",
        "array(['x'])",
        "(1, 2)",
        "{1, 2}",
        "frozenset({'x'})",
    ],
)
def test_a_list_is_no_name_of_a_class(label, tmp_path):
    assert "is a list written as text" in refusal(labels_of, tmp_path, "x", label)
    assert "problem_type 'multi_label_classification'" in refusal(labels_of, tmp_path, label)


LISTS = {
    "['x', 'y']": ["x", "y"],
    '["x", "y"]': ["x", "y"],
    " [ 'x' , \"y\", ] ": ["x", "y"],
    "('x', 'y')": ["x", "y"],
    "('x',)": ["x"],
    "{'y', 'x'}": ["x", "y"],
    "['x, y', 'it\\'s']": ["it's", "x, y"],
    "[]": [],
    "()": [],
    "set()": [],
    "": [],
    "x|y": ["x", "y"],
    " x | y |": ["x", "y"],
    "x": ["x"],
    "(x)": ["(x)"],
    "(1, 2.0)": ["1", "2"],
}


@pytest.mark.parametrize("cell", LISTS)
def test_several_labels_in_a_cell_are_understood(cell, tmp_path):
    expected = [LISTS[cell], ["other"]]
    assert labels_of(tmp_path, cell, ["other"], problem_type=MULTI) == expected
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("text", "label"), ("a", cell), ("b", "other")])
    data = read_classification(write(tmp_path, "a.csv", out.getvalue()), problem_type=MULTI)
    assert [[n for n, x in zip(data.label_names, row.label, strict=True) if x] for row in data.examples] == expected


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("['x' 'y']", "neither JSON's nor Python's"),
        ("[x y]", "neither JSON's nor Python's"),
        ("[x, y]", "neither JSON's nor Python's"),
        ("[0. 1.]", "neither JSON's nor Python's"),
        ("array(['x'])", "neither JSON's nor Python's"),
        ("frozenset({'x'})", "neither JSON's nor Python's"),
        ("{'x': 1}", "neither JSON's nor Python's"),
        ("['x', ['y']]", "neither JSON's nor Python's"),
        ('["x", ["y"]]', "a label must be text"),
        ('["x", null]', "a label must be text"),
        ("x;y", "may be one label or several"),
        ("x\ty", "may be one label or several"),
        ("x, y", "may be one label or several"),
        ("x|y;z", "may be one label or several"),
        ("3 17", "may be one label or several"),
        (["['x']"], "is a list written as text"),
    ],
)
def test_several_labels_that_are_unclear_are_refused(cell, message, tmp_path):
    assert message in refusal(labels_of, tmp_path, ["other"], cell, problem_type=MULTI)


def test_the_caller_says_what_stands_between_labels(tmp_path):
    assert labels_of(tmp_path, "x;y", "y", problem_type=MULTI, separator=";") == [["x", "y"], ["y"]]
    assert labels_of(tmp_path, "x;y", "y", problem_type=MULTI, separator="|") == [["x;y"], ["y"]]
    names = ["x;y", "y", "[z]"]
    assert labels_of(tmp_path, "[z]", "y", problem_type=MULTI, label_names=names) == [["[z]"], ["y"]]
    assert labels_of(tmp_path, "x;y", "y", problem_type=MULTI, label_names=names) == [["x;y"], ["y"]]
    assert labels_of(tmp_path, "2,7", "7", problem_type=MULTI, separator=",") == [["2", "7"], ["7"]]


def test_a_zero_or_one_for_each_class(tmp_path):
    assert labels_of(tmp_path, [0, 1, 0], [1, 0, 1], problem_type=MULTI) == [["1"], ["0", "2"]]
    assert labels_of(tmp_path, [0.0, 1.0], [1.0, 1.0], problem_type=MULTI, label_names=["x", "y"]) == [
        ["y"],
        ["x", "y"],
    ]
    assert labels_of(tmp_path, "[0, 1, 0]", [1, 1, 1], problem_type=MULTI) == [["1"], ["0", "1", "2"]]
    assert labels_of(tmp_path, [0, 1], [1], [], problem_type=MULTI) == [["0", "1"], ["1"], []]
    assert "may be class numbers, or a 0 or 1" in refusal(labels_of, tmp_path, [0, 1], [1, 0], problem_type=MULTI)
    assert "line 1 holds a class number twice" in refusal(labels_of, tmp_path, [0, 0, 1], [1], problem_type=MULTI)


def test_a_name_that_an_object_gives_twice_is_refused(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a", "label": 0}\n{"text": "a", "label": 0, "label": 1}\n')
    assert "line 2 is not JSON: an object names 'label' twice" in refusal(read_classification, path)


# --------------------------------------------------------------------------------------------------------------- tables


def texts_of(folder, content, name="a.csv", **options):
    return [row.text for row in read_classification(write(folder, name, content), label=None, **options).examples]


def test_a_table_keeps_every_character(tmp_path):
    text = ' a\r\nb\rc\nd "e", \u2028\u00a0'
    quoted = text.replace('"', '""')
    for end in ("\n", "\r\n", "\r", "\r\r\n"):
        assert texts_of(tmp_path, f'text,x{end}"{quoted}",1{end}') == [text]
    assert texts_of(tmp_path, "text\tx\n a\u2028b\x0c \t1\n", "a.tsv") == [" a\u2028b\x0c "]


def test_unclear_tables_are_refused(tmp_path):
    mixed = "text{0}x\ra{0}1\nb{0}2\n"
    assert "CR alone ends line 1 and LF ends line 2" in refusal(texts_of, tmp_path, mixed.format(","))
    assert "CR alone ends line 1 and LF ends line 2" in refusal(texts_of, tmp_path, mixed.format("\t"), "a.tsv")
    assert "line 2: a quote after a space" in refusal(texts_of, tmp_path, 'text,x\n1, "b"\n')
    assert texts_of(tmp_path, 'text,x\n"a, ""b""",1\n') == ['a, "b"']
    assert "has 1 fields where there are 2 columns" in refusal(texts_of, tmp_path, 'text,x\n""\n')


def test_other_delimiters(tmp_path):
    assert texts_of(tmp_path, 'text;x\n"a;b";1\n', delimiter=";") == ["a;b"]
    assert texts_of(tmp_path, 'text\tx\n"a\tb"\t1\n', delimiter="\t") == ["a\tb"]
    assert "it has text;x" in refusal(texts_of, tmp_path, "text;x\na;1\n")
    assert "delimiter is one character" in refusal(texts_of, tmp_path, "text\n", delimiter=";;")
    assert "for a CSV file" in refusal(texts_of, tmp_path, "text\n", "a.tsv", delimiter=";")


# ------------------------------------------------------------------------------------------------------------- bad rows

BAD_TABLES = {
    "a.csv": b'text,label\na,x\nb\nb,x,y\nc\xff,x\n"d"e,x\nf,\ng,y\n',
    "a.tsv": b"text\tlabel\na\tx\nb\nb\tx\ty\nc\xff\tx\nd\0\tx\nf\t\ng\ty\n",
    "a.jsonl": b'{"text": "a", "label": "x"}\n{"text": "b"}\n[1]\n{"text"\n\xff\n{"text": 5, "label": "x"}\n'
    b'{"text": "g", "label": "y"}\n',
    "a.json": b'[{"text": "a", "label": "x"}, 1, {"text": "b"}, {"text": 5, "label": "x"}, {"label": "x"}, [],'
    b'{"text": "g", "label": "y"}]',
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_rows_are_left_out_and_counted(name, tmp_path):
    path = write(tmp_path, name, BAD_TABLES[name])
    data = read_classification(path, on_bad_row="skip")
    assert [(row.text, data.label_names[row.label]) for row in data.examples] == [("a", "x"), ("g", "y")]
    assert data.counts == {"examples": 2, "empty_texts": 0, "unlabelled": 0, "bad_rows": 5}
    assert name in refusal(read_classification, path)
    assert "on_bad_row must be 'error' or 'skip'" in refusal(read_classification, path, on_bad_row="drop")


def test_rows_with_unknown_labels_are_bad_rows(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\na,x\nb,z\nc,['x']\nd,y\n")
    data = read_classification(path, label_names=["x", "y"], on_bad_row="skip")
    assert ([row.text for row in data.examples], data.counts["bad_rows"]) == (["a", "d"], 2)
    assert "line 3: label 'z' is none of 2" in refusal(read_classification, path, label_names=["x", "y"])
    path = write(tmp_path, "b.csv", "text,label\na,-1\nb,0\nc,1\nd,99999\n")
    assert read_classification(path, on_bad_row="skip").counts["bad_rows"] == 2
    path = write(tmp_path, "c.csv", "text,label\na,x|z\nb,x\nc,['x' 'y']\n")
    several = read_classification(path, label_names=["x", "y"], problem_type=MULTI, on_bad_row="skip")
    assert ([row.text for row in several.examples], several.counts["bad_rows"]) == (["b"], 2)


def test_a_file_of_nothing_but_bad_rows_is_refused(tmp_path):
    for name, content in {"a.csv": "text,label\na\nb\n", "a.jsonl": "[]\n{}\n", "a.json": "[1, 2]"}.items():
        said = refusal(read_classification, write(tmp_path, name, content), on_bad_row="skip")
        assert f"{name} has no examples (2 bad rows); the first bad row: " in said
    path = write(tmp_path, "b.csv", "text,label\na,z\nb,z\n")
    said = refusal(read_classification, path, label_names=["x"], on_bad_row="skip")
    assert "2 bad rows); the first bad row" in said
    assert "line 2: label 'z' is none of 1" in said
    path = write(tmp_path, "a.conll", "John\tz\n")
    assert "none of its labels is known" in refusal(
        read_token_classification, path, label_names=["x"], on_bad_row="skip"
    )
    path = write(
        tmp_path, "s.json", json.dumps({"data": [{"paragraphs": [{"context": "a", "qas": [{"id": "1"}, 5]}]}]})
    )
    assert "no examples (2 bad rows)" in refusal(read_squad, path, on_bad_row="skip")


def test_what_is_no_matter_of_one_row_is_refused_all_the_same(tmp_path):
    """A quote that swallows the rest of the file, a header that cannot be read, JSON that is broken as a whole."""
    for name, content, message in (
        ("a.csv", 'text,label\na,x\n"b,x\nc,x\n', "line 3 is not CSV: unexpected end of data"),
        ("a.csv", b"text\xff,label\na,x\n", "line 1 is not UTF-8"),
        ("a.csv", "text,text\na,x\n", "names text twice"),
        ("a.json", '[{"text": "a", "label": 1},', "is not JSON"),
        ("a.json", '{"text": "a", "label": 1}\n{"text": "b", "label": 1}\n', "say file_format='jsonl'"),
    ):
        assert message.replace("names text", "names 'text'") in refusal(
            read_classification, write(tmp_path, name, content), on_bad_row="skip"
        )
    path = write(tmp_path, "b.csv", 'text,label\na,x\n"b\nb"b,x\nc,x\n')
    assert read_classification(path, on_bad_row="skip").counts["bad_rows"] == 2  # lines, of one record


def test_sentences_and_words_that_are_bad_are_counted(tmp_path):
    content = b"John\tB-PER\nruns\tO\n\nJohn B-PER\n\nJo\xff\tO\n\n# id\tx=1\nHe\tO\n\nHe\tO\nruns\tZ\n"
    path = write(tmp_path, "a.conll", content)
    data = read_token_classification(path, label_names=["O", "B-PER"], on_bad_row="skip")
    assert [(x.words, x.labels) for x in data.examples] == [(("John", "runs"), (1, 0)), (("He", "runs"), (0, -100))]
    assert data.counts == {"examples": 2, "empty_texts": 0, "bad_rows": 3, "unknown_labels": 1}
    rows = [
        {"tokens": ["a", "b"], "labels": ["O", "Z"]},
        {"tokens": ["a"], "labels": ["O", "O"]},
        {"tokens": ["a", None], "labels": ["O", "O"]},
        {"tokens": ["a", "b"], "labels": [None, -100.0]},
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    data = read_token_classification(path, label_names=["O"], on_bad_row="skip")
    assert [x.labels for x in data.examples] == [(0, -100), (-100, -100)]
    assert data.counts == {"examples": 2, "empty_texts": 0, "bad_rows": 2, "unknown_labels": 2}


def test_bad_choices_are_counted(tmp_path):
    good = {"context": "c", "choices": ["a", "b"], "label": 1.0}
    rows = [good, good | {"choices": ["a"]}, good | {"label": 2}, good | {"choices": "['x', 'y']", "label": "A"}, {}]
    data = read_multiple_choice(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))), on_bad_row="skip")
    assert [(x.choices, x.label) for x in data.examples] == [(("a", "b"), 1), (("x", "y"), 0)]
    assert data.counts == {"examples": 2, "empty_texts": 0, "bad_rows": 3}


# ---------------------------------------------------------------------------------------------------------------- SQuAD

CONTEXT = "The old cafe in Kathmandu opened in 1999, said the  Old man."


def questions(folder, *changes, context=CONTEXT, **options):
    base = {"question": "When?", "answers": [{"text": "1999", "answer_start": CONTEXT.index("1999")}]}
    qas = [{"id": f"q{i}"} | base | change for i, change in enumerate(changes)]
    content = json.dumps({"data": [{"paragraphs": [{"context": context, "qas": qas}]}]})
    return read_squad(write(folder, "s.json", content), **options)


def test_numbers_of_squad_files_in_other_spellings(tmp_path):
    at = CONTEXT.index("1999")
    for start in (at, float(at), str(at)):
        data = questions(tmp_path, {"id": 7, "answers": [{"text": "1999", "answer_start": start}]})
        assert data.examples == [SquadExample("7", "When?", CONTEXT, (("1999", at),))]
    for value, impossible in zip([0, 1, "true", "False", 1.0, None, True], [0, 1, 1, 0, 1, 0, 1], strict=True):
        assert questions(tmp_path, {"is_impossible": value}).counts["impossible"] == impossible
    said = questions(tmp_path, {"is_impossible": 1})
    assert said.counts == {"examples": 1, "impossible": 1, "unused_answers": 1}
    assert "has the id '7', which is another question's" in refusal(questions, tmp_path, {"id": 7}, {"id": "7"})
    for change, message in (
        ({"id": True}, "id must be text"),
        ({"id": 1.5}, "id must be text"),
        ({"is_impossible": 2}, "is_impossible must be true or false; got 2"),
        ({"is_impossible": "maybe"}, "is_impossible must be true or false"),
        ({"answers": {"text": ["a", "b"], "answer_start": [1]}}, "must have an answer_start for each text"),
        ({"answers": {"text": "a", "answer_start": [1]}}, "must have an answer_start for each text"),
        ({"answers": {"text": ["a"]}}, "has no 'answer_start'"),
        ({"answers": None}, "must be a list"),
    ):
        assert message in refusal(questions, tmp_path, change)


def test_bad_questions_are_left_out_and_counted(tmp_path):
    changes = [{}, {"question": None}, {"id": "q0"}, {"answers": [{"text": "1999"}]}]
    data = questions(tmp_path, *changes, on_bad_row="skip")
    assert data.counts == {"examples": 1, "impossible": 0, "bad_rows": 3}
    qas = [{"id": "a", "question": "b", "answers": []}]
    paragraphs = [{"context": "c", "qas": qas}, {"qas": qas}, {"context": "c"}, {"context": "c", "qas": [5]}]
    content = json.dumps({"data": [{"paragraphs": paragraphs}, {"title": "t"}]})
    data = read_squad(write(tmp_path, "s.json", content), on_bad_row="skip")
    assert data.counts == {"examples": 1, "impossible": 1, "bad_rows": 4}


AT = CONTEXT.index("1999")
PLACES = {
    "as it says": ([("1999", AT)], "1999", {}),
    "the second": ([("1998", AT), ("Kathmandu", CONTEXT.index("Kath"))], "Kathmandu", {"other_answers": 1}),
    "the second, before moving the first": (
        [("1999", AT + 1), ("opened", CONTEXT.index("opened"))],
        "opened",
        {"other_answers": 1},
    ),
    "off by a few": ([("1999", AT + 4)], "1999", {"relocated": 1}),
    "off by a few, below 0": ([("The", -2)], "The", {"relocated": 1}),
    "in other capitals": ([("kathmandu", CONTEXT.index("Kath"))], "Kathmandu", {"relocated": 1}),
    "with other spaces": ([("the old\nman", CONTEXT.index("the  Old") + 1)], "the  Old man", {"relocated": 1}),
    "too far": ([("1999", AT + 9)], None, {}),
    "not there": ([("1998", AT)], None, {}),
    "inside a word": ([("o", CONTEXT.index("opened") - 2)], None, {}),
    "of spaces": ([(" ", 3)], None, {}),
    "far out": ([("1999", 10**30)], None, {}),
}


@pytest.mark.parametrize("case", PLACES)
def test_an_answer_is_found_near_where_the_file_says_or_another_is_taken(case, tmp_path):
    answers, expected, counts = PLACES[case]
    given = [{"text": text, "answer_start": start} for text, start in answers]
    tokenizer = AlbertTokenizer.from_pretrained(TINY_MODEL)
    examples = questions(tmp_path, {"answers": given}).examples
    (window,), found = squad_windows(examples, tokenizer, max_length=100, doc_stride=8, training=False)
    assert window.answer(window.start, window.end) == expected
    usual = {"windows": 1, "unanswered_windows": int(expected is None), "unlocated_answers": int(expected is None)}
    assert found == usual | {"cut_questions": 0} | counts
