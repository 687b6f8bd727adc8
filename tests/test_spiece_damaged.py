"""Damaged vocabularies, hundreds of them: each is refused with one readable line, or loads and tokenizes text.

They run in a child process, because what is being tested is that none of them takes the process down with it:
SentencePiece itself dies of some (google/sentencepiece issues 1263 and 1269).
"""

import subprocess
import sys

from support import with_helpers
from support.damaged_vocabularies import SECONDS_EACH

CASES = 480


def test_damaged_vocabularies_are_refused_or_work_and_never_crash(tiny_dir):
    arguments = [sys.executable, "-m", "support.damaged_vocabularies", str(tiny_dir / "spiece.model"), str(CASES), "1"]
    done = subprocess.run(
        arguments, env=with_helpers(), capture_output=True, text=True, timeout=CASES * SECONDS_EACH, check=False
    )
    last = done.stdout.splitlines()[-1] if done.stdout else "nothing"
    assert done.returncode == 0, f"ended with {done.returncode} at {last}: {done.stderr[-2000:]}"
    refused, loaded = map(int, last.removeprefix("outcomes ").split())
    assert refused + loaded == CASES
    # both kinds must occur, or the test would say little
    assert refused > CASES // 3
    assert loaded > 20
