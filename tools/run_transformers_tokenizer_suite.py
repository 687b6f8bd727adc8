"""Runs transformers' own tests of ALBERT's slow tokenizer on albert_np.AlbertTokenizer.

    python tools/run_transformers_tokenizer_suite.py FOLDER [pytest's arguments]

FOLDER holds the suite, which is not kept here: the folder tests/ of transformers 4.57, of which this program needs
__init__.py, test_tokenization_common.py, models/__init__.py, models/albert/ and fixtures/. A public copy is
github.com/feisenyu/transformers_4573 at 59eba49. To obtain it:

    git clone https://github.com/feisenyu/transformers_4573 copy
    git -C copy archive 59eba49 tests/__init__.py tests/test_tokenization_common.py tests/models/__init__.py \
        tests/models/albert tests/fixtures | tar x -C FOLDER

It needs the packages of the extra `parity` (transformers 4.57.6 and torch), and pytest, parameterized, jinja2, protobuf.
The option `--transformers` runs the same tests on transformers' own class. The exit status is 0 if no test fails but those
that REASONS names.

Our class stands where the suite expects transformers' AlbertTokenizer, and does its own work. All that is added here is
the conversion of tensors: return_tensors="pt" becomes "np", and the arrays of the answer become tensors.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import albert_np

TESTS = "tests/models/albert/test_tokenization_albert.py"


def _with_tensors(method: str) -> Any:
    """The method of AlbertTokenizer, which also answers in tensors."""

    def call(self: Any, *args: Any, return_tensors: Any = None, **options: Any) -> Any:
        as_tensors = str(getattr(return_tensors, "value", return_tensors)) == "pt"
        options["return_tensors"] = "np" if as_tensors else return_tensors
        answer = getattr(albert_np.AlbertTokenizer, method)(self, *args, **options)
        if not as_tensors:
            return answer
        if not isinstance(answer, albert_np.BatchEncoding):
            return torch.from_numpy(answer)
        for name, array in answer.items():
            answer[name] = torch.from_numpy(array)
        return answer

    return call


# tests about chat templates, which ALBERT has no use for: they are refused by name
CHAT = ("chat_template", "continue_final_message", "jinja")
LOGGED = "it wants transformers' logger and its words, and one list of cut-off tokens where windows are made here"
SAMPLING = "sampling of pieces is refused: the ids of a text must repeat"
REASONS = {
    "test_maximum_encoding_length_pair_input": LOGGED,
    "test_maximum_encoding_length_single_input": LOGGED,
    "test_pickle_subword_regularization_tokenizer": SAMPLING,
    "test_separate_tokenizers": "it gives from_pretrained a keyword that nobody knows, which is refused by name",
    "test_subword_regularization_tokenizer": SAMPLING,
}


class AlbertTokenizer(albert_np.AlbertTokenizer):
    """Ours, with tensors. It has the name of the original: files and messages say it."""

    __call__ = _with_tensors("__call__")
    encode = _with_tensors("encode")
    encode_plus = _with_tensors("encode_plus")
    batch_encode_plus = _with_tensors("batch_encode_plus")
    prepare_for_model = _with_tensors("prepare_for_model")
    prepare_seq2seq_batch = _with_tensors("prepare_seq2seq_batch")
    pad = _with_tensors("pad")


class Suite:
    """A plugin of pytest: it runs the tests of the slow tokenizer, and says at the end which of them failed, and why."""

    def __init__(self, reasons: dict[str, str]) -> None:
        self.reasons = reasons
        self.failed: set[str] = set()
        self.run: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        for item in items:  # the suite compares with a fast tokenizer too, unless it is told that there is none
            item.cls.test_rust_tokenizer = False

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test fails if a subtest of it does. One that the suite itself skips counts as run, unless it is a slow one."""
        name = report.nodeid.rpartition("::")[2].partition(" ")[0]
        if (report.when == "call" or report.skipped) and "test is slow" not in str(report.longrepr):
            self.run.add(name)
        if report.failed:
            self.failed.add(name)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        about_chat = {name for name in self.run if any(word in name for word in CHAT)}
        others, failed = self.run - about_chat, self.failed - about_chat
        write = terminalreporter.write_line
        write(f"about chat templates: {len(about_chat)} tests, of which {len(self.failed & about_chat)} fail")
        write(f"all others: {len(others)} tests, of which {len(failed)} fail")
        for name in sorted(failed):
            write(f"  {name}: {self.reasons.get(name, 'no reason is known')}")

    @property
    def surprises(self) -> set[str]:
        """Tests that fail without a reason that is known."""
        return {name for name in self.failed - set(self.reasons) if not any(word in name for word in CHAT)}


def main(arguments: list[str]) -> int:
    theirs = "--transformers" in arguments
    folder, *options = [argument for argument in arguments if argument != "--transformers"]
    if not (Path(folder) / TESTS).is_file():
        raise SystemExit(f"{folder} does not hold {TESTS}; the first lines of this program say how to obtain it")
    os.chdir(folder)
    sys.path.insert(0, os.getcwd())
    if not theirs:
        transformers.AlbertTokenizer = AlbertTokenizer
    suite = Suite({} if theirs else REASONS)
    pytest.main([TESTS, "-q", "-p", "no:cacheprovider", "--tb=short", *options], plugins=[suite])
    return int(not suite.run or bool(suite.surprises))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main(sys.argv[1:]))
