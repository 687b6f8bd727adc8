"""What a figure means nothing without: albert_np.machine's facts, and the commit it was measured on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from albert_np.machine import facts

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def l3_bytes() -> int:
    """Size of the last cache, or 32 MiB where the machine does not say."""
    path = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    text = path.read_text().strip() if path.exists() else "32M"
    return int(text[:-1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[text[-1]]


def machine() -> dict[str, str]:
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return facts() | {"commit": head.stdout.strip() or "unknown"}


def write(name: str, result: dict[str, Any], folder: Path = RESULTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine()} | result, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n")
