"""The folders of a conversion: the weight files of one, a new one that appears whole or not at all, the tokenizer's files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from albert_np.checkpoints import hub
from albert_np.checkpoints.formats import FORMATS
from albert_np.checkpoints.formats.protocol import Format
from albert_np.checkpoints.stored import shards_of
from albert_np.config_google import GOOGLE_CONFIG_NAME
from albert_np.files import explain_impostor, folder_to_write, shown

# the files of a tokenizer, by all of their names: what is found under a name -> the name that it is written under
TOKENIZER_FILES = {
    "spiece.model": "spiece.model",
    "30k-clean.model": "spiece.model",  # as Google's archives call it
    "tokenizer.json": "tokenizer.json",
    "vocab.txt": "vocab.txt",
    "vocab_chinese.txt": "vocab.txt",  # likewise
    "tokenizer_config.json": "tokenizer_config.json",
    "special_tokens_map.json": "special_tokens_map.json",
    "added_tokens.json": "added_tokens.json",
}
SETTINGS = "tokenizer_config.json"
MAX_TOKENIZER_BYTES = 64 << 20
BLOBS = "blobs"  # the folder that the links of Hugging Face's cache lead to
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def weight_files(folder: Path, kind: Format) -> list[Path]:
    """The weight files of one format in a folder, with their index. They are named, not read.

    Raises ValueError or OSError where a format without a fixed name has several checkpoints there, or a part of one.
    """
    if not folder.is_dir():
        return []
    found = [folder / name for name in (kind.file, kind.index) if name and (folder / name).is_file()]
    found += shards_of(folder, kind)
    if kind.find is not None and not found:
        path = kind.find(folder)
        if path is not None and path.suffix == ".index":  # TensorFlow's: an index, and data files of the same stem
            found += sorted(path.parent.glob(f"{_literal(path.stem)}.*"), key=lambda other: (other != path, other))
        elif path is not None:
            found.append(path)
    return found


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)


def target_folder(target: str | os.PathLike, force: bool) -> Path:
    """The folder to write. Raises OSError if it has weights and `force` does not allow to replace them, or cannot be one.

    Weights of which nobody knows what belongs together are not replaced at all.
    """
    folder = folder_to_write(target)
    try:
        held = [path.name for kind in FORMATS for path in weight_files(folder, kind)]
    except (ValueError, OSError) as error:
        raise OSError(f"{folder} already holds weights, and not such as could be replaced: {error}") from error
    if held and not force:
        raise OSError(f"{folder} already holds {held[0]}: name another folder, or replace its weights with --force")
    return folder


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A new folder on the file system of `folder`, which vanishes when the block ends. What is wanted is moved out before.

    It lies in `folder` if that exists, since that may be a mounted volume, and else beside it. Raises OSError if it cannot be
    made or filled: a folder without permission, a full disk.
    """
    name, folder = folder, folder.absolute()
    place = folder if folder.exists() else folder.parent
    missing = [parent for parent in (place, *place.parents) if not parent.exists()]
    temporary = place / f".{folder.name}.{secrets.token_hex(6)}.tmp"
    made = False
    try:
        place.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        made = True
        yield temporary
    except OSError as error:
        if made and error.errno not in NO_ROOM:
            raise
        raise OSError(f"{name} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in missing:  # nothing is left of them, unless there is something in them
            with contextlib.suppress(OSError):
                parent.rmdir()


def move_into_place(made: Path, folder: Path) -> None:
    """Moves all that lies in `made` to `folder`, in place of the weights and files there; or nothing, if one move fails."""
    if not folder.exists():
        os.rename(made, folder)
        return
    kept = made.with_name(made.name.removesuffix(".tmp") + ".old.tmp")
    kept.mkdir()
    names = [path.name for path in made.iterdir()]
    stale = {path for kind in FORMATS for path in weight_files(folder, kind)}
    replaced = names + [GOOGLE_CONFIG_NAME] * bool(stale)
    if set(names) & set(TOKENIZER_FILES):  # the files of two tokenizers would be mixed
        replaced += TOKENIZER_FILES
    stale |= {folder / name for name in replaced if (folder / name).is_file()}
    # each from where to where; config.json comes first, so that no reader finds new weights beside an old one
    moves = [(path, kept / f"{i}-{path.name}") for i, path in enumerate(sorted(stale))]
    moves += [(made / name, folder / name) for name in sorted(names, key=lambda name: name != "config.json")]
    done: list[tuple[Path, Path]] = []
    try:
        for one, other in moves:
            done.append((one, other))
            os.rename(one, other)
    except BaseException:
        for one, other in reversed(done):
            if other.exists() and not one.exists():
                os.rename(other, one)
        raise
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def copy_tokenizer(source: str | os.PathLike, folder: Path, where: dict[str, Any]) -> list[str]:
    """Copies the files of a tokenizer, by their fixed list of names. Returns the names that were written."""
    written: list[str] = []
    for name, target in TOKENIZER_FILES.items():
        path = hub.resolve(source, name, required=False, **where) or hub.google_file(source, name, **where)
        if path is None or target in written:
            continue
        _check_link(path)
        size = path.stat().st_size
        if size > MAX_TOKENIZER_BYTES:
            raise ValueError(f"{path} is {size:,} bytes; a tokenizer's file has at most {MAX_TOKENIZER_BYTES:,}")
        data = path.read_bytes()
        explain_impostor(str(path), data[:512])
        (folder / target).write_bytes(data)
        written.append(target)
    return written


def write_settings(folder: Path, tokenizer_files: list[str], max_length: int) -> bool:
    """Writes the settings of a tokenizer that has a vocabulary alone, as in Google's archives. Returns whether it did.

    Without them transformers takes a vocab.txt for no tokenizer of ALBERT, and truncates no text.
    """
    kinds = {"spiece.model": "AlbertTokenizer", "vocab.txt": "BertTokenizer"}
    kind = next((kind for name, kind in kinds.items() if name in tokenizer_files), None)
    if kind is None or {SETTINGS, "tokenizer.json"} & set(tokenizer_files):
        return False
    settings = {"model_max_length": max_length, "tokenizer_class": kind}
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    return True


def _check_link(path: Path) -> None:
    """Refuses a link to a file that is called otherwise: what is copied might be a secret of whoever converts.

    Hugging Face's cache has such links, to files in `blobs` whose names are hashes.
    """
    real = path.resolve()
    if real.name not in TOKENIZER_FILES and real.parent.name != BLOBS:
        raise ValueError(
            f"{path} is a link to {shown(real, 200)}, which is no tokenizer's file: put the file itself there"
        )
