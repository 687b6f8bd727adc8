"""The CPU and the versions that a figure was measured with: without them it means nothing."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from albert_np.version import __version__

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
PACKAGES = ("numpy", "sentencepiece", "numba", "llvmlite", "torch", "transformers", "onnx", "onnxruntime", "openvino")


def cpuinfo(*keys: str) -> list[str]:
    """The values of a field of /proc/cpuinfo, one for each core. Give several keys if its name depends on the architecture."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(keys)]


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def facts() -> dict[str, str]:
    """The CPU and its features, Python, and the packages that are installed, as plain values for JSON."""
    names = cpuinfo("model name")
    flags = set((cpuinfo("flags", "Features") or [""])[0].split())
    return {
        "cpu": f"{len(names)} × {names[0]}" if names else platform.processor(),
        "cpu_flags": " ".join(flag for flag in FLAGS if flag in flags),
        "python": platform.python_version(),
        "albert_np": __version__,
        **{package: found for package in PACKAGES if (found := installed(package))},
    }
