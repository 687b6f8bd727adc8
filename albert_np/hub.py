"""Names to files: a local folder, the embedded "demo", or a hub id through huggingface_hub. Nothing here reads content."""

from __future__ import annotations

import os
from pathlib import Path

# the keywords of `resolve` that say where a file comes from, by transformers' names
OPTIONS = ("revision", "cache_dir", "local_files_only", "token", "subfolder", "force_download")
DEMO = "demo"  # a local folder of that name is "./demo"
DEMO_FOLDER = Path(__file__).parent / "demo"


def local_folder(name_or_path: str | os.PathLike) -> Path | None:
    """The folder a name stands for on this machine, or None where it is a hub id. Never touches the network.

    Raises OSError where the name can only be a path and there is no such folder.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise ValueError(f"a model name is a str or a path; got {type(name_or_path).__name__}")
    name = os.fspath(name_or_path)
    if isinstance(name, bytes):
        raise ValueError("a model name is a str or a path; got bytes")
    if name == DEMO:
        return DEMO_FOLDER
    if not name or "\0" in name:
        raise ValueError(f"a model name is a folder or a hub id such as 'albert/albert-base-v2'; got {name!r}")
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise OSError(f"{name} is a file; give the folder that holds it")
    # a hub id is `name` or `owner/name`: everything else was meant as a path
    looks_like_path = isinstance(name_or_path, os.PathLike) or name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_path or "\\" in name:
        raise OSError(f"there is no folder {name}; give an existing folder or a hub id such as 'albert/albert-base-v2'")
    return None


def resolve(
    name_or_path: str | os.PathLike,
    filename: str,
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    subfolder: str = "",
    force_download: bool = False,
    required: bool = True,
) -> Path | None:
    """Path of one file of a model, downloading it into Hugging Face's cache where the name is a hub id.

    None where the model has no such file and required is False. Raises OSError (no such file, folder or repository, no
    network, no access) or ValueError (a name no hub would take), each in one line.
    """
    if Path(filename).name != filename:
        raise ValueError(f"a model's file is a plain name in its folder; got {filename!r}")
    parts = Path(subfolder).parts if subfolder else ()
    if Path(subfolder).is_absolute() or ".." in parts:
        raise ValueError(f"subfolder must stay inside the model's folder; got {subfolder!r}")
    folder = local_folder(name_or_path)
    if folder is not None:
        path = folder / subfolder / filename
        if path.is_file():
            return path
        if not required:
            return None
        found = sorted(p.name for p in path.parent.iterdir())[:12] if path.parent.is_dir() else []
        raise OSError(f"there is no {filename} in {path.parent}; it holds {', '.join(found) or 'nothing'}")
    return _download(
        str(name_or_path), filename, required,
        revision=revision, cache_dir=cache_dir, local_files_only=local_files_only, token=token,
        subfolder=subfolder or None, force_download=force_download,
    )  # fmt: skip


def _download(repo: str, filename: str, required: bool, *, revision, **options) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{repo} at revision {revision}" if revision else repo
    try:
        return Path(hf_hub_download(repo, filename, revision=revision, **options))
    except LocalEntryNotFoundError as error:
        # also what an unreachable hub looks like; a file that another one of the same model proves absent is handled above
        if not required:
            return None
        reason = "offline, or the hub cannot be reached" if not options["local_files_only"] else "local_files_only=True"
        raise OSError(f"{filename} of {where} is not in the local cache ({reason}): {_one_line(error)}") from error
    except EntryNotFoundError as error:
        if not required:
            return None
        raise OSError(f"{where} has no file {filename}") from error
    except HFValidationError as error:
        raise ValueError(f"{repo!r} is neither a folder here nor a hub id: {_one_line(error)}") from error
    except GatedRepoError as error:
        raise OSError(f"{repo} is gated: accept its terms on the hub and pass token=…") from error
    except RevisionNotFoundError as error:
        raise OSError(f"{repo} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise OSError(f"there is no folder {repo} here and no such public model on the hub; private ones need token=…") from error
    except (HfHubHTTPError, OSError) as error:
        raise OSError(f"cannot fetch {filename} of {where}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
