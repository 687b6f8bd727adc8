"""Damaged copies of the checkpoints that other frameworks wrote, from a seed, and the program that loads each of them.

`python -m support.damaged_formats FOLDER CASES SEED [FIRST]` prints one JSON line a case: [case, folder, file, damage, outcome,
detail, seconds]. FOLDER holds sound checkpoint folders and their manifest.json. The process may take 1 GB more than after
its imports, and it ends with a traceback when one case takes over 10 seconds. Case number n is the same in every run.
"""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

SECONDS, EXTRA_BYTES = 10, 1024**3
PASSIVE = ("expected.npz", "expected_tokens.json", "tokenizer_config.json", "vocab.txt", "saved_model.pb")
# lengths and counts that lie: near the ends of what 1, 2, 4 and 8 bytes hold
NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


def flipped_bits(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flipped_bits_near_an_end(rng: random.Random, data: bytearray) -> None:
    """Where headers and indexes stand."""
    reach = min(len(data), 600)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(reach)
        data[at if rng.random() < 0.5 else -1 - at] ^= 1 << rng.randrange(8)


def cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def beginning_lost(rng: random.Random, data: bytearray) -> None:
    del data[: rng.randrange(len(data)) + 1]


def stretch_changed(rng: random.Random, data: bytearray) -> None:
    a = rng.randrange(len(data))
    b = min(len(data), a + rng.choice((1, 3, 40, 2000)))
    data[a:b] = rng.choice((b"", data[a:b] * 2, rng.randbytes(b - a), bytes(b - a), b"\xff" * (b - a)))


def stretch_from_elsewhere(rng: random.Random, data: bytearray) -> None:
    size = rng.choice((4, 16, 200, 1500))
    a, b = rng.randrange(len(data)), rng.randrange(len(data))
    data[a : a + size] = data[b : b + size]


def number_that_lies(rng: random.Random, data: bytearray) -> None:
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(NUMBERS) & ((1 << 8 * size) - 1)
    at = rng.randrange(max(1, len(data) - size))
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def number_off_by_a_little(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(max(1, len(data) - 4))
    (value,) = struct.unpack_from("<I", data.ljust(at + 4, b"\0"), at)
    data[at : at + 4] = ((value + rng.choice((-8, -1, 1, 4, 256))) % (1 << 32)).to_bytes(4, "little")


def text_changed(rng: random.Random, data: bytearray) -> None:
    """A letter of a name, a digit of a number."""
    places = [i for i, byte in enumerate(data) if 0x20 <= byte < 0x7F]
    if places:
        data[rng.choice(places)] = rng.choice(b"0129azAZ_./:-{}[]\"'\n\0\\")


def more_behind(rng: random.Random, data: bytearray) -> None:
    data += rng.choice((b"\0", rng.randbytes(20), bytes(data[: rng.randrange(len(data)) + 1])))


def emptied(rng: random.Random, data: bytearray) -> None:
    data[:] = rng.choice((b"", b"\0", b"<html>", b"version https://git-lfs.github.com/spec/v1\n", rng.randbytes(300)))


DAMAGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    flipped_bits,
    flipped_bits_near_an_end,
    cut,
    beginning_lost,
    stretch_changed,
    stretch_from_elsewhere,
    number_that_lies,
    number_off_by_a_little,
    text_changed,
    more_behind,
    emptied,
)


def damaged(case: int, seed: str, sound: list[Path], into: Path) -> tuple[str, str, str]:
    """Copies a folder with one file damaged. Returns the names of the folder, the file and the damage."""
    rng = random.Random(f"{seed}:{case}")
    folder = sound[case % len(sound)]
    shutil.copytree(folder, into)
    files = sorted(path for path in into.rglob("*") if path.is_file() and path.name not in PASSIVE)
    weights = [path for path in files if path.suffix != ".json" or "index" in path.name]
    path = rng.choice(weights if weights and rng.random() < 0.9 else files)
    damage = rng.choices(DAMAGES, (6, 6, 2, 1, 3, 3, 6, 4, 4, 1, 1))[0]
    data = bytearray(path.read_bytes()) or bytearray(b"\0")
    damage(rng, data)
    path.write_bytes(data)
    return folder.name, path.relative_to(into).as_posix(), damage.__name__


def outcome(kind: str, folder: Path) -> tuple[str, str]:
    """("loaded" or "refused", the message)"""
    import albert_np

    try:
        getattr(albert_np, kind).from_pretrained(folder, backend="numpy")
    except (ValueError, OSError) as error:
        message = str(error).replace(str(folder), "…")
        fine = 0 < len(message) < 900 and "\n" not in message and message.isprintable()
        return ("refused", message) if fine else ("bad message", f"{message[:300]!r}")
    except BaseException as error:
        return "raised", f"{type(error).__module__}.{type(error).__name__}: {error}"[:300]
    return "loaded", ""


def main(folder: Path, cases: int, seed: str, first: int = 0) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    sound = [folder / name for name, about in sorted(manifest.items()) if about.get("expect", "outputs") == "outputs"]
    warnings.simplefilter("ignore")
    for path in sound:  # whatever is imported when it is first used
        assert outcome(manifest[path.name]["class"], path) == ("loaded", ""), path
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + EXTRA_BYTES, held + EXTRA_BYTES))
    with tempfile.TemporaryDirectory() as work:
        for case in range(first, first + cases):
            into = Path(work) / str(case)
            said = damaged(case, seed, sound, into)
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            start = time.perf_counter()
            answer = outcome(manifest[said[0]]["class"], into)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps([case, *said, *answer, round(time.perf_counter() - start, 3)]), flush=True)
            shutil.rmtree(into)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
