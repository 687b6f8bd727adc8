"""Damaged vocabularies, from a seed, and the program that loads each of them.

`python -m support.damaged_vocabularies VOCABULARY CASES SEED` prints a line for each case before it tries it, and in the end
"outcomes", how many were refused, and how many loaded.
"""

import os
import random
import resource
import signal
import struct
import sys
import tempfile
from pathlib import Path

SECONDS_EACH = 10
MAX_RSS_BYTES = 1 << 30
TEXTS = (
    "Hello world, in 1999, it's [MASK] ``fine'' \u00e9\u00df\ufb01 \u1112\u1161\u11ab \u0130\u03a3 9,9, \uff21\u3000\u2460x",
    " \t\n ",
    "".join(map(chr, range(1, 0x250))) + "\u2460\ufdfa\u0301\U0001f600" * 20,
)


def number(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(tag, data):
    if isinstance(data, int):
        return number(tag << 3) + number(data)
    return number(tag << 3 | 2) + number(len(data)) + data


def piece(text, score=-1.0, kind=1):
    raw = text if isinstance(text, bytes) else text.encode()
    return field(1, field(1, raw) + b"\x15" + struct.pack("<f", score) + field(3, kind))


def top_level(data):
    """(tag, start, stop) of the fields of a healthy file."""

    def read(at):
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, at

    found, at = [], 0
    while at < len(data):
        tag, at = read(at)
        length, at = read(at)
        found.append((tag >> 3, at, at + length))
        at += length
    return found


def damage(rng, healthy, charsmap_at):
    """One damaged copy of a healthy file; the kinds take turns at random."""
    data = bytearray(healthy)
    low, high = charsmap_at
    trie = struct.unpack_from("<I", data, low)[0]
    anywhere = [(0, len(data)), (0, low), (high, len(data)), (low, low + 4 + trie), (low + 4 + trie, high), (0, 64)]
    kind = rng.randrange(14)
    if kind <= 3:  # bits
        a, b = rng.choice([span for span in anywhere if span[0] < span[1]])
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            data[rng.randrange(a, b)] ^= 1 << rng.randrange(8)
    elif kind == 4:  # truncation
        del data[rng.randrange(len(data)) :]
    elif kind == 5:  # a stretch gone, doubled or replaced
        a = rng.randrange(len(data))
        b = min(len(data), a + rng.choice((1, 3, 40, 5000)))
        data[a:b] = rng.choice((b"", data[a:b] * 2, rng.randbytes(b - a)))
    elif kind == 6:  # a length that lies
        _, start, _ = rng.choice(top_level(healthy))
        data[start - 1 : start] = number(
            rng.choice((0, 1, 127, 128, 1 << 14, 1 << 31, 1 << 40, (1 << 64) - 1, 1 << 69))
        )
    elif kind == 7:  # a trie that points elsewhere
        for _ in range(rng.choice((1, 4, 200))):
            value = rng.choice(
                (rng.getrandbits(32), 0xFFFFFFFF, 0, 0x7FFFFDFF, rng.getrandbits(18) << 10 | rng.getrandbits(9))
            )
            struct.pack_into("<I", data, low + 4 * rng.randrange(1, trie // 4), value)
    elif kind == 8:  # a trie of another size
        struct.pack_into("<I", data, low, rng.choice((0, 3, 4, trie - 4, trie + 4, high - low, 1 << 31, 0xFFFFFFFF)))
    elif kind == 9:  # a charsmap of noise, with a plausible frame
        units = rng.choice((1, 256, 512))
        noise = [rng.getrandbits(32) & rng.choice((0xFFFFFFFF, 0x0003FFFF)) for _ in range(units)]
        blob = struct.pack(f"<I{units}I", 4 * units, *noise) + b"abc\0" * rng.choice((1, 64))
        data += field(3, field(2, blob))
    elif kind == 10:  # pieces no vocabulary has
        text = rng.choice((b"x" * 200_000, b"x" * 999, b"", b"a\0b", b"\xff\xfe", "\u2581".encode() * 300, b"<unk>"))
        data += piece(text, rng.choice((0.0, -1.0, 1e30)), rng.choice((1, 1, 4, 5)))
    elif kind == 11:  # types and scores no vocabulary has
        score = rng.choice((float("nan"), float("inf"), -float("inf"), 3e38, -5.0))
        data += piece(f"new{rng.random()}", score, rng.choice((0, 1, 2, 3, 5, 6, 7, 1 << 40)))
    elif kind == 12:  # a small file from nothing
        size = rng.choice((1, 5, 300))
        made = b"".join(piece(f"\u2581{i}" if i % 2 else chr(97 + i % 26) * (i + 1), -float(i)) for i in range(size))
        data = bytearray(made + rng.choice((b"", piece("<unk>", 0.0, 2), piece("<unk>", 0.0, 2) * 2)))
    else:  # settings
        tag, value = rng.choice(
            ((3, 2), (3, 3), (3, 4), (3, 9), (35, 1), (24, 1), (24, 7), (44, b"\xff"), (45, b"?"), (3, b"no"))
        )
        data += field(2, field(tag, value)) + field(3, field(rng.choice((3, 4, 5)), rng.choice((0, 1, 2))))
    return bytes(data)


def child(vocabulary, cases, seed):
    from albert_np.tokenization.tokenizer import AlbertTokenizer

    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a hang, in C as in Python, ends the process
    healthy = Path(vocabulary).read_bytes()
    low, stop = next((a, b) for tag, a, b in top_level(healthy) if tag == 3)
    inside = next((a + low, b + low) for tag, a, b in top_level(healthy[low:stop][:-6]) if tag == 2)
    outcomes = {"refused": 0, "loaded": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spiece.model"
        for case in range(cases):
            path.write_bytes(damage(random.Random(f"{seed}:{case}"), healthy, inside))
            print("case", case, flush=True)
            signal.alarm(SECONDS_EACH)
            message = "fine"
            try:
                tokenizer = AlbertTokenizer(path)
                for text in TEXTS:
                    ids = tokenizer(text)["input_ids"]
                    assert tokenizer(text, return_offsets_mapping=True)["input_ids"] == ids
                    tokenizer.decode(ids)
                outcomes["loaded"] += 1
            except (ValueError, OSError) as error:
                message = str(error)
                outcomes["refused"] += 1
            assert 0 < len(message) < 600, message
            assert "\n" not in message, message
            signal.alarm(0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert peak < MAX_RSS_BYTES, f"{peak:,} bytes"
    print("outcomes", outcomes["refused"], outcomes["loaded"], flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    child(sys.argv[1], int(sys.argv[2]), sys.argv[3])
