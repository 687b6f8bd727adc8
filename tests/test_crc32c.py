"""CRC-32C by NumPy and by google-crc32c: the published values, each other, and the algebra that makes it fast."""

import numpy as np
import pytest
from support import needs, tensor_bundles

from albert_np.checkpoints.formats import crc32c as crc32c_module
from albert_np.checkpoints.formats.crc32c import by_numpy, crc32c, unmasked

RNG = np.random.default_rng(11)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),  # the check value of the catalogue of CRCs
        (bytes(32), 0x8A9136AA),  # the rest: RFC 3720, appendix B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (
            bytes.fromhex(
                "01c00000" + "00000000" * 3 + "14000000000004000000001400000018280000000000000002000000" + "00" * 4
            ),
            0xD9963A56,
        ),
    ],
    ids=["nothing", "digits", "zeros", "ones", "up", "down", "iSCSI read"],
)
def test_checksums_are_the_published_ones(data, expected):
    array = np.frombuffer(data, np.uint8)
    assert by_numpy(array) == crc32c(array) == tensor_bundles.crc(data) == expected


def test_numpys_checksum_is_exact_at_every_length_where_it_changes_its_way():
    longest = 8 * crc32c_module.LONGEST
    data = RNG.integers(0, 256, 60_000, np.uint8)
    for size in (1, 2, 3, 4, 5, 7, 8, 9, *range(longest - 9, longest + 18), 20_001, 45_480, 59_999):
        expected = tensor_bundles.crc(data[:size])
        assert by_numpy(data[:size]) == expected, size
        for cut in (1, size // 2, size - 3):  # in two parts
            if cut > 0:
                assert (
                    by_numpy(data[cut:size], by_numpy(data[:cut]))
                    == crc32c(data[cut:size], crc32c(data[:cut]))
                    == expected
                )


def test_numpys_checksum_is_that_of_google_for_megabytes():
    library = needs.module("test", "google_crc32c")
    data = RNG.integers(0, 256, 6_000_001, np.uint8)
    for begin, end in ((0, 6_000_001), (3, 80_075), (1, 5_999_998), (8, 363_848 * 4)):
        part = data[begin:end].copy()
        assert by_numpy(part) == library.value(part.tobytes())


@pytest.mark.parametrize("distances", [crc32c_module.FOUR_TERMS, crc32c_module.SIX_TERMS])
def test_words_may_be_moved_by_these_distances(distances):
    """y^far + … + 1 is a multiple of the polynomial: by squaring and multiplying whole polynomials, in another bit order."""

    def product(a, b):
        out = 0
        for bit in range(32):
            out ^= (a << bit) * (b >> bit & 1)
        for bit in range(63, 31, -1):
            out ^= (0x11EDC6F41 << bit - 32) * (out >> bit & 1)
        return out

    def power(n):  # x^(64n)
        out, square = 1, 2
        for bit in range((64 * n).bit_length()):
            out = product(out, square) if 64 * n >> bit & 1 else out
            square = product(square, square)
        return out

    terms = [power(distances[-1] - distance) for distance in (0, *distances)]
    assert np.bitwise_xor.reduce(np.array(terms, np.uint32)) == 0
    assert 2 * distances[0] > distances[-1] - distances[0]  # so that a block is long


def test_masks_of_checksums_come_off():
    for value in (0, 1, 0xA282EAD8, 0xFFFFFFFF, 0x12345678):
        assert unmasked(tensor_bundles.masked(value)) == value
