"""What a figure means nothing without: the CPU, the versions and the commit it was measured on."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

# what decides which kernels anybody's library chooses; x86 names first, then Arm's
FLAGS = (
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "asimdhp",
    "bf16",
    "i8mm",
    "sve",
    "sve2",
)
ALWAYS = ("numpy", "sentencepiece")
WHERE_INSTALLED = ("numba", "llvmlite", "torch", "transformers", "onnx", "onnxruntime", "openvino")


def cpuinfo(*keys: str) -> list[str]:
    """The values of a field of /proc/cpuinfo, one a core; several keys for a field that has a name per architecture."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(keys)]


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def l3_bytes() -> int:
    """Size of the last cache, or 32 MiB where the machine does not say."""
    path = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    text = path.read_text().strip() if path.exists() else "32M"
    return int(text[:-1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[text[-1]]


def machine() -> dict[str, str]:
    names = cpuinfo("model name")
    flags = set((cpuinfo("flags", "Features") or [""])[0].split())
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": f"{len(names)} × {names[0]}" if names else platform.processor(),
        "cpu_flags": " ".join(flag for flag in FLAGS if flag in flags),
        "python": platform.python_version(),
        **{package: version(package) for package in ALWAYS},
        **{package: found for package in WHERE_INSTALLED if (found := installed(package))},
        "commit": head.stdout.strip() or "unknown",
    }


def write(name: str, result: dict[str, Any], folder: Path = RESULTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine()} | result, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n")
