"""spiece.model: what is read from it, and every reason to refuse one, each with a message that names it."""

import base64
import struct

import numpy as np
import pytest
from support.damaged_vocabularies import field, piece

from albert_np.tokenization.charsmap import charsmap_problem, split_charsmap
from albert_np.tokenization.spiece import load_spiece, parse_spiece

UNK = piece("<unk>", 0.0, 2)
SMALL = UNK + piece("\u2581a", -1.5) + piece("b", -2.5)


def double(kind, value):
    return struct.pack(kind, value)


def test_a_small_file_is_read_as_it_was_written():
    settings = field(3, field(3, 0) + field(1, b"mine")) + field(2, field(44, b" ? "))
    spiece = parse_spiece(SMALL + settings)
    assert spiece.pieces == ("<unk>", "\u2581a", "b")
    assert spiece.scores == (0.0, -1.5, -2.5)
    assert spiece.types == (2, 1, 1)
    assert spiece.unk_id == 0
    assert spiece.unk_surface == " ? "
    assert (spiece.normalizer.name, spiece.normalizer.add_dummy_prefix) == ("mine", False)
    assert spiece.normalizer.remove_extra_whitespaces  # what protobuf says of a field that is not there
    assert spiece.data == SMALL + settings


def test_of_a_setting_given_twice_the_last_counts_as_in_protobuf():
    spiece = parse_spiece(SMALL + field(3, field(3, 1)) + field(3, field(3, 0)))
    assert not spiece.normalizer.add_dummy_prefix


def test_sentencepiece_sees_a_copy_that_means_the_same(tiny_dir):
    import sentencepiece

    spiece = load_spiece(tiny_dir / "spiece.model")
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tiny_dir / "spiece.model"))
    copy = sentencepiece.SentencePieceProcessor(model_proto=spiece.proto)
    for processor in (theirs, copy):
        n = processor.get_piece_size()
        assert tuple(map(processor.id_to_piece, range(n))) == spiece.pieces
        assert tuple(map(processor.get_score, range(n))) == spiece.scores
        assert [i for i in range(n) if processor.is_control(i)] == [i for i, t in enumerate(spiece.types) if t == 3]
    text = "\u2460 \ufdfa e\u0301\u200b Light (a) \u6f22"
    assert copy.encode(text, out_type=str) == theirs.encode(text, out_type=str)
    assert copy.decode(copy.encode(text)) == theirs.decode(theirs.encode(text))


CASES = {
    "is empty": b"",
    "Git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:fefb02b6\nsize 760289\n",
    "web page": b"\n<!DOCTYPE html>\n<html><head></head></html>",
    "is JSON": b'{"version": "1.0"}',
    "no pieces": field(7, 1),
    "truncated": SMALL[:-3],
    "impossible number 0": SMALL + b"\x00\x00",
    "wire type 3": SMALL + b"\x0b",
    "more than 10 bytes": SMALL + b"\x08" + b"\xff" * 11,
    "more than 64 bits": SMALL + b"\x38" + b"\xff" * 9 + b"\x7f",
    "piece 3 is empty": SMALL + piece(""),
    "piece 3 has 1001 bytes": SMALL + piece("x" * 1001),
    "piece 3 has 200000 bytes": SMALL + piece("x" * 200_000),
    "piece 3 is not UTF-8": SMALL + piece(b"\xff\xfe"),
    "piece 3 holds a NUL": SMALL + piece("a\0b"),
    "piece 3 repeats piece 2, 'b'": SMALL + piece("b"),
    "a piece of type byte, '<0x41>', and byte_fallback is off": SMALL + piece("<0x41>", 0.0, 6),
    "which needs the 256 pieces <0x00> to <0xFF>": SMALL + piece("<0x41>", 0.0, 6) + field(2, field(35, 1)),
    "piece 3 has type 9": SMALL + piece("z", 0.0, 9),
    "piece 3 has the score nan": SMALL + piece("z", float("nan")),
    "piece 3 has the score -inf": SMALL + piece("z", -float("inf")),
    "2 pieces of type unknown": SMALL + piece("<unk2>", 0.0, 2),
    "0 pieces of type unknown": piece("a"),
    "no piece of type normal": UNK + piece("[CLS]", 0.0, 3),
    "its unknown piece is '<unk>', but trainer_spec calls it '[UNK]'": SMALL + field(2, field(45, b"[UNK]")),
    "its model type is number 77": SMALL + field(2, field(3, 77)),
    "byte_fallback is on": SMALL + field(2, field(35, 1)),
    "is a flag with the value 7": SMALL + field(3, field(3, 7)),
    "wire type 2, not 0": SMALL + field(2, field(3, b"x")),
    "the charsmap of normalizer_spec has only 3 bytes": SMALL + field(3, field(2, b"abc")),
    "the charsmap of denormalizer_spec has only 3 bytes": SMALL + field(5, field(2, b"abc")),
}


@pytest.mark.parametrize("message", CASES)
def test_refusals_say_what_is_wrong_in_one_line(message):
    with pytest.raises(ValueError, match=r"^the vocabulary ") as caught:
        parse_spiece(CASES[message])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_spiece_lfs_pointer_or_web_page_is_named_from_a_file_too(tmp_path):
    path = tmp_path / "spiece.model"
    path.write_bytes(CASES["Git-LFS pointer"])
    with pytest.raises(ValueError, match="git lfs pull"):
        load_spiece(path)


def test_files_that_cannot_be_read_are_os_errors(tmp_path):
    with pytest.raises(OSError, match="there is no vocabulary file"):
        load_spiece(tmp_path / "spiece.model")
    with pytest.raises(OSError, match="from_pretrained takes folders"):
        load_spiece(tmp_path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "spiece.model"
    with path.open("wb") as out:
        out.truncate(33 << 20)
    with pytest.raises(ValueError, match="at most 33,554,432"):
        load_spiece(path)


# ------------------------------------------------------------------------------------------------------------- charsmap


def charsmap(units, replacements=b"abc\0"):
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + replacements


SAFE = [0] * 256


def with_unit(index, value):
    return [*SAFE[:index], value, *SAFE[index + 1 :]]


def test_a_trie_that_stays_inside_is_accepted(tiny_dir):
    assert charsmap_problem(charsmap(SAFE)) is None
    assert charsmap_problem(load_spiece(tiny_dir / "spiece.model").normalizer.charsmap) is None


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (charsmap(with_unit(0, 1 << 10 << 8)), "unit 0 leads outside its 256 units"),
        (charsmap(with_unit(97, 300 << 10 | 97)), "unit 97 leads outside"),
        (charsmap(with_unit(97, 1 << 10 | 1 << 9 | 97)), "unit 97 leads outside"),  # bit 9: an offset in steps of 256
        (charsmap(SAFE[:255]), "leads outside its 255 units"),
        (charsmap(with_unit(97, 97 | 1 << 8)), "has a value 353 outside its 4 bytes"),  # a leaf that is its own value
        (charsmap(SAFE, b"abc"), "does not end in NUL"),
        (charsmap(SAFE, b"\xff\0"), "not UTF-8"),
        (charsmap(SAFE, b"x" * 300 + b"\0"), "replaces one match by 300 bytes"),
        (b"\x03\0\0\0" + bytes(20), "claims a trie of 3 bytes"),
        (b"\xff\xff\xff\xff" + bytes(20), "claims a trie of 4294967295 bytes"),
        (b"\x10\0\0\0" + bytes(16), "claims a trie of 16 bytes in a blob of 20"),
    ],
)
def test_a_charsmap_is_refused_where_a_walk_could_leave_it(blob, message):
    assert message in charsmap_problem(blob)


def test_values_must_point_at_the_start_of_a_replacement():
    # unit 97 ("a") has a leaf; its base is 97 ^ (1 << 0) = 96, whose unit holds the value
    def made(value, replacements):
        units = with_unit(97, 1 << 10 | 1 << 8 | 97)
        units[96] = 1 << 31 | value
        return charsmap_problem(charsmap(units, replacements))

    assert made(0, b"abc\0") is None
    assert "value 4 outside its 4 bytes" in made(4, b"abc\0")
    assert "middle of a character" in made(1, "\u00e9\0".encode())


def test_no_walk_over_a_real_charsmap_leaves_it(tiny_dir):
    """The argument of charsmap_problem, tried out: walks over random bytes, with Darts' own arithmetic."""
    units, replacements = split_charsmap(load_spiece(tiny_dir / "spiece.model").normalizer.charsmap)
    units = units.tolist()
    rng = np.random.default_rng(0)
    matches = 0
    for key in rng.integers(1, 256, (3000, 8)).tolist() + [list(c.encode()) for c in map(chr, range(0xA0, 0xFFF))]:
        node = units[0] >> 10 << ((units[0] & 512) >> 6)
        for byte in key:
            node ^= byte
            unit = units[node]  # an index outside would raise
            if unit & 0x800000FF != byte:
                break
            node ^= unit >> 10 << ((unit & 512) >> 6)
            if unit >> 8 & 1:
                assert replacements[units[node] & 0x7FFFFFFF :].split(b"\0")[0].decode() is not None
                matches += 1
    assert matches > 100


def test_real_vocabulary(fixtures_dir):
    """Facts of ALBERT v2's file that the project relies on."""
    spiece = load_spiece(fixtures_dir / "tokenizer" / "spiece.model")
    assert len(spiece.pieces) == 30_000
    assert spiece.pieces[:13] == (
        "<pad>",
        "<unk>",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "(",
        ")",
        '"',
        "-",
        ".",
        "\u2013",
        "\u00a3",
        "\u20ac",
    )
    assert spiece.types[:13] == (3, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4)
    assert set(spiece.types[13:]) == {1}
    commas = [p for p in spiece.pieces if len(p) > 1 and p[-1] == "," and p[-2].isdigit()]
    assert len(commas) == 141
    assert all(p.startswith("\u2581") for p in commas)
    assert base64.b64encode(spiece.normalizer.charsmap[:3]) == b"ALQC"
