"""From names to files: a local folder, an embedded model such as "demo", or a hub id through huggingface_hub.

Nothing here reads the files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from albert_np import imports
from albert_np.files import listed, shown

# the keywords of `resolve` that say where a file comes from, by transformers' names
OPTIONS = ("revision", "cache_dir", "local_files_only", "token", "subfolder", "force_download")
# transformers' keywords for it that no longer change anything
WITHOUT_EFFECT = ("resume_download", "mirror", "code_revision", "_from_auto", "_from_pipeline", "_commit_hash")
DEMO = "demo"  # a local folder of that name is "./demo"
DEMO_FOLDER = Path(__file__).parent.parent / "demo"
# the models that the package has with it; those for tasks have the vocabulary of "demo", and no files of their own for it
EMBEDDED = {
    DEMO: DEMO_FOLDER,
    "demo-names": DEMO_FOLDER / "names",
    "demo-speech": DEMO_FOLDER / "speech",
}
ASSETS = "assets"  # where a SavedModel has its small files
SHARED = ("spiece.model", "tokenizer_config.json")


def take_options(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the keywords that say where files come from out of `options`, and gives those that `resolve` knows.

    Of transformers' other keywords for it, those are taken that change nothing. Raises ValueError for those that would.
    """
    where = {name: options.pop(name) for name in OPTIONS if name in options}
    token = options.pop("use_auth_token", None)  # the older name
    if token is not None:
        if where.get("token") is not None:
            raise ValueError("token and use_auth_token are two names of one argument: give one")
        where["token"] = token
    for name in WITHOUT_EFFECT:
        options.pop(name, None)
    if options.pop("proxies", None):
        raise ValueError("proxies are not passed on: set the environment variables HTTP_PROXY and HTTPS_PROXY")
    if options.pop("trust_remote_code", None):
        raise ValueError(
            "trust_remote_code=True runs code of a model's folder, which albert_np never does: leave it out"
        )
    return where


def local_folder(name_or_path: str | os.PathLike) -> Path | None:
    """The folder that a name means on this machine, or None if it is a hub id. Never touches the network.

    Raises OSError if the name can only be a path and there is no such folder.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise ValueError(f"a model name is a str or a path; got {type(name_or_path).__name__}")
    name = os.fspath(name_or_path)
    if isinstance(name, bytes):
        raise ValueError("a model name is a str or a path; got bytes")
    if name in EMBEDDED:
        return EMBEDDED[name]
    if not name or "\0" in name:
        raise ValueError(f"a model name is a folder or a hub id such as 'albert/albert-base-v2'; got {name!r}")
    path = Path(os.path.expanduser(name))  # Path.expanduser raises RuntimeError for an unknown ~user
    if path.is_dir():
        return path
    if path.exists():
        raise OSError(f"{name} is a file; give the folder that holds it")
    if Path(f"{path}.index").is_file():  # as TensorFlow's programs name a checkpoint
        raise OSError(f"{name} is what the names of a checkpoint's files begin with; give the folder that holds them")
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
    """The path of one file of a model. If the name is a hub id, the file is downloaded into Hugging Face's cache.

    None if the model has no such file and required is False. Raises OSError (no such file, folder or repository, no
    network, no access) or ValueError (a name that no hub would take), each in one line.
    """
    if filename in ("", "..") or Path(filename).name != filename:
        raise ValueError(f"a model's file is a plain name in its folder; got {filename!r}")
    subfolder = subfolder or ""
    if not isinstance(subfolder, str) or Path(subfolder).is_absolute() or ".." in Path(subfolder).parts:
        raise ValueError(f"subfolder must stay inside the model's folder; got {subfolder!r}")
    folder = local_folder(name_or_path)
    if folder is not None:
        if filename in SHARED and os.fspath(name_or_path) in EMBEDDED:
            folder = DEMO_FOLDER
        path = folder / subfolder / filename
        if path.is_file():
            return path
        if os.path.lexists(path):
            raise OSError(f"{path} is not a file that can be read: a folder, a pipe or a broken link")
        if not required:
            return None
        found = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        raise OSError(f"there is no file {shown(filename)} in {path.parent}; it holds {listed(found) or 'nothing'}")
    if force_download and local_files_only:
        raise ValueError("force_download=True and local_files_only=True exclude each other")
    return _download(
        str(name_or_path),
        filename,
        required,
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        token=token,
        subfolder=subfolder or None,
        force_download=force_download,
    )


def google_file(name_or_path: str | os.PathLike, filename: str, *, subfolder: str = "", **_: Any) -> Path | None:
    """A file as google-research/albert names it: in a folder of this machine, or in its assets, as in TF-Hub's modules."""
    if local_folder(name_or_path) is None:
        return None
    inside = [subfolder or "", f"{subfolder}/{ASSETS}" if subfolder else ASSETS]
    found = (resolve(name_or_path, filename, subfolder=folder, required=False) for folder in inside)
    return next(filter(None, found), None)


def _download(repo: str, filename: str, required: bool, *, revision: str | None, **options: Any) -> Path | None:
    with imports.lock:
        from huggingface_hub import _CACHED_NO_EXIST, constants, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

    where = f"{repo} at revision {revision}" if revision else repo
    try:
        return Path(hf_hub_download(repo, filename, revision=revision, **options))
    except LocalEntryNotFoundError as error:
        # Offline on purpose, what was never downloaded counts as absent. A network that fails proves nothing, unless an
        # earlier answer of the hub is on record: a tokenizer without its settings would differ in silence.
        cached = try_to_load_from_cache(repo, filename, cache_dir=options["cache_dir"], revision=revision)
        offline = options["local_files_only"] or constants.HF_HUB_OFFLINE
        if not required and (offline or cached is _CACHED_NO_EXIST):
            return None
        reason = "local_files_only=True" if options["local_files_only"] else _reason(error)
        raise OSError(
            f"there is no folder {repo} here, and {filename} of the hub model {where} is not in the local cache and cannot "
            f"be fetched: {reason}"
        ) from error
    except EntryNotFoundError as error:
        if not required:
            return None
        raise OSError(f"{where} has no file {filename}") from error
    except HFValidationError as error:
        raise ValueError(f"{repo!r} is neither a folder here nor a hub id: {_reason(error)}") from error
    except GatedRepoError as error:
        raise OSError(f"{repo} is gated: accept its terms on the hub and pass token=…") from error
    except RevisionNotFoundError as error:
        raise OSError(f"{repo} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        message = f"there is no folder {repo} here and no such public model on the hub; private ones need token=…"
        raise OSError(message) from error
    except Exception as error:  # the client's transports (requests, httpx, Xet) share no other class of errors
        raise OSError(f"cannot fetch {filename} of {where}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The first cause, in one line: the client hides "500 Server Error" behind "check your connection"."""
    while error.__cause__ is not None:
        error = error.__cause__
    return shown(" ".join(str(error).split()) or type(error).__name__, 300)
