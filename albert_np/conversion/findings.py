"""What is odd about a checkpoint: findings with a level, what each means, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from albert_np.files import shown

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
MAX_TEXT = 1000  # characters
WHOLE, WRONG, UNREADABLE = 0, 1, 2  # exit codes of `albert-np verify`


@dataclass(frozen=True)
class Finding:
    """One oddity."""

    level: Level  # error: answers are wrong or none; warning: they may be; note: good to know
    about: str  # a fixed word for the kind of oddity, such as "tied-weights"
    what: str  # what was found, with names and numbers
    means: str  # what that means for whoever uses the checkpoint
    do: str = ""  # what to do about it; "" if nothing


class Findings(list[Finding]):
    """A list that findings are added to by their level."""

    def _add(self, level: Level, about: str, *texts: str) -> None:
        """Names from files may hold anything: each text becomes one line."""
        self.append(Finding(level, about, *(shown(text, MAX_TEXT) for text in texts)))

    def error(self, about: str, what: str, means: str, do: str = "") -> None:
        """Answers are wrong, or there are none."""
        self._add("error", about, what, means, do)

    def warning(self, about: str, what: str, means: str, do: str = "") -> None:
        """Answers may be wrong."""
        self._add("warning", about, what, means, do)

    def unsafe(self, error: Exception) -> None:
        """A file that does harm where another program loads it."""
        self.error(
            "unsafe",
            one_line(str(error)),
            "Here nothing of it is run. Another program that loads the file may run what is in it.",
            "Remove the file, and load it nowhere else.",
        )

    def note(self, about: str, what: str, means: str, do: str = "") -> None:
        """Good to know."""
        self._add("note", about, what, means, do)


@dataclass
class Verification:
    """What `verify` found. `str(verification)` is text for people, and `to_dict()` plain values for JSON."""

    folder: str
    readable: bool = True
    format: str = ""
    files: dict[str, int] = field(default_factory=dict)  # the weight files: name -> bytes
    other_formats: list[str] = field(default_factory=list)  # which lie beside and are not read
    architecture: str = ""
    tensors: int = 0
    parameters: int = 0
    dtypes: dict[str, int] = field(default_factory=dict)  # dtype -> how many tensors
    tokenizer: str = ""  # its class and the number of its tokens; "" if there is none
    findings: Findings = field(default_factory=Findings)

    def of(self, level: Level) -> list[Finding]:
        """The findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    @property
    def whole(self) -> bool:
        """Whether it can be read, and there is no error."""
        return self.readable and not self.of("error")

    @property
    def exit_code(self) -> int:
        """0 whole, 1 something is wrong, 2 not readable."""
        if not self.readable:
            return UNREADABLE
        return WHOLE if self.whole else WRONG

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self) | {
            "findings": [asdict(one) for one in self.findings],
            "whole": self.whole,
            "exit_code": self.exit_code,
        }

    def __str__(self) -> str:
        return as_text(self)


def as_text(found: Verification) -> str:
    """The findings as text for people, the errors first."""
    lines = [f"{found.folder}: {_verdict(found)}", ""]
    if found.format:
        dtypes = ", ".join(f"{count} × {name}" for name, count in found.dtypes.items())
        lines += [
            f"  class      {found.architecture or 'not known'}",
            f"  weights    {found.format}: {found.tensors} tensors ({dtypes}), {found.parameters:,} numbers",
            *(f"             {shown(name)}, {size:,} bytes" for name, size in found.files.items()),
        ]
        if found.other_formats:
            lines.append(f"  beside     {', '.join(found.other_formats)}")
        lines += [f"  tokenizer  {found.tokenizer or 'none'}", ""]
    for level in LEVELS:
        for finding in found.of(level):
            lines.append(f"  {level}: {finding.what} [{finding.about}]")
            lines += [f"      {text}" for text in (finding.means, finding.do) if text]
    return "\n".join(lines).rstrip()


def _verdict(found: Verification) -> str:
    if not found.readable:
        return "cannot be read"
    counts = [
        f"{len(found.of(level))} {level}{'s' * (len(found.of(level)) != 1)}" for level in LEVELS if found.of(level)
    ]
    text = "whole" if found.whole else "something is wrong"
    return f"{text} ({', '.join(counts)})" if counts else f"{text}, and nothing about it is odd"


def one_line(text: str) -> str:
    """An exception's message in one line that fits on a page."""
    return shown(" ".join(text.split()), 600)
