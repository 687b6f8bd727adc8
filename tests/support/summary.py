"""The end of a run: what did not run, why, and how to run it; one line a reason."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

# tests that no run includes unless it asks for them (`-m` in pyproject.toml), by marker
LEFT_OUT = {
    "slow": "they take minutes (pytest -m slow)",
    "gpu": "they need an NVIDIA GPU (pytest -m gpu)",
    "parity": "they compare with torch and transformers (pip install -e '.[parity]' && pytest -m 'parity and not slow')",
}


class Summary:
    """A plugin of pytest. With pytest-xdist every worker collects all tests, and the controller prints."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Counts each test under the first of its markers."""
        for item in items:
            marker = next((name for name in LEFT_OUT if item.get_closest_marker(name)), None)
            if marker:
                self.left_out[marker] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a worker: hands the counts to the controller."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["left_out"] = dict(self.left_out)

    def pytest_testnodedown(self, node: Any) -> None:
        """In the controller. A worker that died has left nothing."""
        self.left_out = Counter(getattr(node, "workeroutput", {}).get("left_out", {})) | self.left_out

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """One line a reason, the most frequent first; and what tests have to show."""
        reports = terminalreporter.stats
        skipped = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports.get("skipped", ()))
        if skipped or self.left_out:
            terminalreporter.section("not run here")
        for reason, count in skipped.most_common():
            terminalreporter.line(f"{count:5} skipped: {reason}")
        for marker, count in self.left_out.most_common():
            terminalreporter.line(f"{count:5} left out, marker {marker}: {LEFT_OUT[marker]}")
        for report in reports.get("passed", ()):
            for name, table in report.user_properties:
                terminalreporter.section(name)
                terminalreporter.line(table)
