"""Text files to documents and sentences: three forms, one rule for sentences, and everything a file can have wrong."""

import re
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.refusals import refusal

from albert_np import text_files
from albert_np.text_files import read_lines
from albert_np.training.documents import TextCounts, TextForm, read_documents
from albert_np.training.sentences import split_sentences

SENTENCES = TextForm(lines="sentences")


def write(folder, content, name="text.txt"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def read(folder, content, form=SENTENCES, counts=None):
    return list(read_documents(write(folder, content), form, counts))


# -------------------------------------------------------------------------------------------------------------- forms


def test_a_sentence_a_line_is_read_as_google_research_albert_reads_it(tmp_path):
    text = "One. Still one.\nTwo.\n\n\nThree\n Four \n\t\nFive\nSix\n"
    assert read(tmp_path, text) == [["One. Still one.", "Two."], ["Three", "Four"], ["Five", "Six"]]


def test_paragraphs_are_split_and_blank_lines_end_documents(tmp_path):
    text = 'He ran. "Stop!" he cried.\nShe came.\n\nIt was late. So they went.'
    assert read(tmp_path, text, TextForm()) == [
        ["He ran.", '"Stop!" he cried.', "She came."],
        ["It was late.", "So they went."],
    ]


def test_wrapped_lines_make_paragraphs_and_two_blank_lines_end_documents(tmp_path):
    text = "It was\na dark night. Rain\nfell.\n\nNobody came.\n\n\nChapter two\nbegan. It ended."
    form = TextForm(lines="wrapped")
    assert read(tmp_path, text, form) == [
        ["It was a dark night.", "Rain fell.", "Nobody came."],
        ["Chapter two began.", "It ended."],
    ]


@pytest.mark.parametrize("lines", ["sentences", "paragraphs", "wrapped"])
def test_a_marker_ends_documents_and_blank_lines_then_do_not(tmp_path, lines):
    text = "A one.\n\nB two.\n\n\n\nC three.\n ***  \nD four.\n\nE five.\n"
    assert read(tmp_path, text, TextForm(lines=lines, marker="***")) == [
        ["A one.", "B two.", "C three."],
        ["D four.", "E five."],
    ]
    both = TextForm(lines=lines, marker="***", blank_lines=3)
    assert [len(document) for document in read(tmp_path, text, both)] == [2, 2]


def test_the_end_of_a_file_ends_a_document(tmp_path):
    paths = [write(tmp_path, "a\nb", "1"), write(tmp_path, "c\nd\n", "2")]
    counts = TextCounts()
    assert list(read_documents(paths, SENTENCES, counts)) == [["a", "b"], ["c", "d"]]
    assert (counts.files, counts.lines, counts.documents, counts.sentences, counts.characters) == (2, 4, 2, 4, 4)


LINES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    documents=st.lists(st.lists(LINES, min_size=2, max_size=4), min_size=1, max_size=4),
    blanks=st.integers(1, 3),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
)
def test_what_is_written_is_read(tmp_path, documents, blanks, end, mark):
    text = (end * (blanks + 1)).join(end.join(document) for document in documents)
    assert read(tmp_path, ("\ufeff" if mark else "") + text) == documents


# ---------------------------------------------------------------------------------------------- left out, and counted


def test_short_documents_are_left_out_and_counted(tmp_path):
    counts = TextCounts()
    assert read(tmp_path, "alone\n\na\nb\n\nalone too\n", counts=counts) == [["a", "b"]]
    assert counts.short_documents == 2
    assert counts.as_dict()["short_documents"] == 2
    assert len(read(tmp_path, "alone\n\na\nb\n", TextForm(lines="sentences", min_sentences=1))) == 2


def test_a_line_that_is_too_long_is_left_out_and_what_surrounds_it_does_not_follow(tmp_path):
    counts = TextCounts()
    form = TextForm(lines="sentences", max_line_bytes=100)
    text = "a\nb\n" + "x" * 101 + "\nc\nd\n" + "y" * 100 + "\n" + "z" * 100_000
    assert read(tmp_path, text, form, counts) == [["a", "b"], ["c", "d", "y" * 100]]
    assert (counts.long_lines, counts.lines) == (2, 7)
    exact = read(tmp_path, "x" * 99 + "\n" + "y" * 100, form)
    assert [len(line) for line in exact[0]] == [99, 100]


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_a_line_of_megabytes_costs_no_more_memory_than_the_limit(end, tmp_path):
    import tracemalloc

    path = write(tmp_path, end.join([b"a", b"b", b"x" * 30_000_000, b""]))
    tracemalloc.start()
    try:
        assert list(read_documents(path, TextForm(lines="sentences", max_line_bytes=1 << 16))) == [["a", "b"]]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_document_without_an_end_is_cut_and_counted(tmp_path):
    counts = TextCounts()
    form = TextForm(lines="sentences", max_document_chars=10)
    assert read(tmp_path, "aaaa\nbbbb\ncccc\ndddd\n" + "e" * 50 + "\nf\ng", form, counts) == [
        ["aaaa", "bbbb"],
        ["cccc", "dddd"],
        ["f", "g"],
    ]
    assert (counts.cut_documents, counts.short_documents) == (3, 1)


@pytest.mark.parametrize("bad", [b"caf\xe9\n", b"a\0b\n", b"\xed\xa0\x80\n", b"\xf8\x88\x80\x80\n", b"\xc3\n"])
def test_a_line_that_is_not_text_is_an_error_with_its_number_or_left_out(tmp_path, bad):
    path = write(tmp_path, b"a\nb\n" + bad + b"c\nd\n")
    assert refusal(lambda: list(read_documents(path, SENTENCES))).startswith(f"{path} line 3 ")
    counts = TextCounts()
    form = TextForm(lines="sentences", bad_lines="skip")
    assert list(read_documents(path, form, counts)) == [["a", "b"], ["c", "d"]]
    assert counts.bad_lines == 1


# ------------------------------------------------------------------------------------------------------------ refusals

FILES = {
    "is empty": b"",
    "has no text: 3 blank lines and nothing else": b"\n \t\r\n\xe2\x80\x83\n",
    "has no text: 1 blank lines": b"\xef\xbb\xbf",
    "is UTF-16 or UTF-32, not UTF-8 text": "a\nb".encode("utf-16"),
    "line 1 holds a NUL at byte 1: not text (a binary file, or UTF-16)": "a\nb".encode("utf-16-le"),
    "is compressed (gzip), not UTF-8 text": b"\x1f\x8b\x08\0\0\0\0\0",
    "line 2 is not UTF-8 (invalid continuation byte at byte 3 of the line); convert the file first": b"a\ncaf\xe9s\n",
    "no document of at least 2 sentences (1 documents too short; lines were read as sentences)": b"Only this. And this.",
    "no document of at least 2 sentences (1 lines too long; lines": b"a" * ((1 << 20) + 1),
}


@pytest.mark.parametrize("message", FILES)
def test_files_are_refused_in_words(tmp_path, message):
    path = write(tmp_path, FILES[message])
    said = refusal(lambda: list(read_documents(path, SENTENCES)))
    assert said.startswith(str(path))
    assert message in said


def test_files_that_cannot_be_read_are_os_errors(tmp_path):
    with pytest.raises(OSError, match="there is no file"):
        list(read_documents(tmp_path / "none", SENTENCES))
    with pytest.raises(OSError, match="is a folder"):
        list(read_documents(tmp_path, SENTENCES))
    assert "no text file was named" in refusal(lambda: list(read_documents([])))
    assert "named by its path" in refusal(lambda: list(read_documents("a\0b")))
    assert "named by its path" in refusal(lambda: list(read_documents([b"x"])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lines": "words"}, "lines must be one of sentences, paragraphs, wrapped"),
        ({"blank_lines": 0}, "blank_lines must be a whole number of at least 1"),
        ({"min_sentences": 1.0}, "min_sentences must be"),
        ({"max_line_bytes": True}, "max_line_bytes must be"),
        ({"bad_lines": "ignore"}, "bad_lines must be 'error' or 'skip'"),
        ({"marker": " "}, "marker must be the text of a line"),
    ],
)
def test_forms_are_checked(options, message):
    assert message in refusal(lambda: TextForm(**options))


def test_lines_are_numbered_and_only_cr_and_lf_end_them(tmp_path):
    path = write(tmp_path, "\ufeffa\r\n\u2028b\x0b\x0c\u0085c\rd\n\n\ufeffe")
    expected = ["a", "\u2028b\x0b\x0c\u0085c", "d", "", "\ufeffe"]
    assert list(read_lines(path)) == list(enumerate(expected, 1))
    said = refusal(lambda: list(read_lines(path, max_bytes=6, long_lines="error")))
    assert said == f"{path} line 2 is longer than 6 bytes: break it into shorter lines"


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.text("ab\u2028\x0c", max_size=9), st.sampled_from(["\n", "\r\n", "\r", "\r\r\n"])), min_size=1
    ),
    st.integers(1, 12),
    st.integers(1, 30),
)
def test_lines_are_the_same_however_the_file_is_read(pairs, chunk, max_bytes):
    """Against re.split of the whole text; a chunk may end inside a line end, and a line may be longer than allowed."""
    text = "x" + "".join(line + end for line, end in pairs)
    expected = re.split("\r\r\n|\r\n|\n|\r", text)
    expected = expected if expected[-1] else expected[:-1]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(text_files, "_CHUNK", chunk)
        path = write(Path(folder), text)
        found = [line for _, line in read_lines(path, max_bytes=max_bytes)]
    assert found == [line if len(line.encode()) <= max_bytes else None for line in expected]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\r\r\n"])
def test_line_ends_of_other_systems_make_the_same_documents(end, tmp_path):
    text = "One.\nTwo.\n\n\nThree.\nFour.\n \nFive.\nSix.\n"
    assert read(tmp_path, text.replace("\n", end)) == read(tmp_path, text)
    assert len(read(tmp_path, text)) == 3


# ----------------------------------------------------------------------------------------------------------- sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["He ran.", "She sat."],
        ['"No!" said he.', '"Yes!"', "He left."],
        ["Mr. and Mrs. Brown of St. Paul's met Dr. Grey.", "They spoke."],
        ["J. R. R. Tolkien wrote to C. S. Lewis.", "So he said."],
        ["It was I.", "Nobody else came."],
        ["The U.S. Army, e.g. The Guard, came.", "(It was late.)", "Then it went."],
        ["No. 5 is alive.", "No.", "He is not.", "See vol. IV of it.", "And p. 12 too."],
        ["It rained at 5 p.m.", "He came."],
        ["Then...", "So it is.", "And... so on."],
        ["What?!", '"Never."', "\u201cIt\u2019s late.\u201d", "\u00c9mile came.", "3.5 is a number.", "7 more."],
        ["no capitals. none at all? none!"],
        ["One sentence without an end"],
        [],
    ],
)
def test_sentences_end_where_a_reader_would_end_them(sentences):
    assert split_sentences(" ".join(sentences)) == sentences
    assert split_sentences("  \t".join(sentences) + " \r") == sentences


# fmt: off
CHUNKS = [
    "Mr", "He", "I", "A", "no", "No", "vol", "e.g", "U.S", "5", "IV", ".", "!", "?", "...", "\u2026", '"', "'", "(", ")", "-",
    " ", " ", " ", "\n", "\u3000", "\u6f22", "\u00e9", "\u201c", "\u201d", "\ud55c",
]
# fmt: on
PROSE = st.lists(st.sampled_from(CHUNKS), max_size=40).map("".join)


@settings(deadline=None)
@given(PROSE)
def test_sentences_joined_are_the_text(text):
    sentences = split_sentences(text)
    assert " ".join(sentences) == " ".join(text.split())
    assert all(sentence == sentence.strip() and sentence for sentence in sentences)
    # and to split a sentence again changes nothing, but where what stood before it made it one
    assert all(split_sentences(sentence)[0] in sentence for sentence in sentences)


@pytest.mark.parametrize("text", [".", ". ", ".'", '" ', "A. ", '."', "x", "A.", '. "', "Mr. "])
def test_no_text_takes_long(text):
    start = time.process_time()
    split_sentences(text * (400_000 // len(text)) + ". B")
    assert time.process_time() - start < 3


def test_the_corpus_reads_well(fixtures_dir, tmp_path):
    with (fixtures_dir / "corpus" / "standard_ebooks.txt").open(encoding="utf-8") as file:
        path = write(tmp_path, file.read(1_500_000))
    counts = TextCounts()
    documents = list(read_documents(path, TextForm(), counts))
    assert documents[1][-1] == "Much wants more and loses all."
    assert len(documents[1]) == 5
    assert counts.short_documents + counts.documents == path.read_text("utf-8").strip().count("\n\n") + 1
    assert counts.short_documents < counts.documents / 50
    # sentences of prose: 5 to 30 words for most, hardly any monster, hardly any that is an abbreviation and nothing else
    lengths = sorted(len(sentence.split()) for document in documents for sentence in document)
    assert 10 < sum(lengths) / len(lengths) < 25
    assert lengths[len(lengths) * 99 // 100] < 90
    ends = [sentence.rsplit(" ", 1)[-1] for document in documents for sentence in document]
    assert not {"Mr.", "Mrs.", "Dr.", "St."} & set(ends)
