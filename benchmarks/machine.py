"""What a figure means nothing without: the CPU, the versions and the commit it was measured on."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def machine() -> dict[str, str]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": f"{len(names)} × {names[0]}" if names else platform.processor(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "sentencepiece": version("sentencepiece"),
        "commit": head.stdout.strip() or "unknown",
    }


def write(name: str, result: dict[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine()} | result, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n")
