"""Kernels compiled to machine code without a GPU, and what there is to be seen in it: registers, stack, instructions.

    from albert_np.kernels.cuda import compiled, layer_norm

    compiled.without_a_gpu()
    found = compiled.compile_kernel(layer_norm.layer_norm(768), (90, 80))[90]  # compute capability 9.0
    found.registers, found.stack, found.warps, found.opcodes.most_common(5)

numba-cuda asks the driver which GPU there is, even where it is told what to compile for; `without_a_gpu` answers in its place.
The cubin is what a GPU would run: NVVM, then nvJitLink. nvdisasm reads it (pip install nvidia-cuda-nvdisasm). The backend
imports none of this.
"""

from __future__ import annotations

import collections
import importlib.util
import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.target import cuda, types_of

# what an SM of that compute capability has: 32-bit registers, bytes of shared memory, threads, blocks
SMS = {90: (65536, 228 * 1024, 2048, 32), 80: (65536, 164 * 1024, 2048, 32), 75: (65536, 64 * 1024, 1024, 16)}
FRAME_SIZE, REGISTERS = 0x11, 0x2F  # attributes of .nv.info


@dataclass(frozen=True)
class Compiled:
    """What one compute capability makes of a kernel."""

    name: str
    threads: int
    registers: int
    stack: int
    shared: int
    instructions: tuple[str, ...]  # opcode and operands, in order
    labels: dict[str, int]  # and the instruction each stands before
    per_sm: tuple[int, int, int, int]

    @property
    def opcodes(self) -> collections.Counter[str]:
        return collections.Counter(opcode(line) for line in self.instructions)

    def count(self, pattern: str) -> int:
        return sum(n for name, n in self.opcodes.items() if re.match(pattern, name))

    @property
    def warps(self) -> int:
        """That an SM holds at once."""
        registers, shared, threads, blocks = self.per_sm
        of_a_warp = -(-self.registers // 8) * 8 * 32
        limits = [registers // (of_a_warp * self.threads // 32), threads // self.threads, blocks]
        if self.shared:
            limits.append(shared // self.shared)
        return min(limits) * self.threads // 32

    def loops(self) -> list[tuple[str, ...]]:
        """The instructions of each loop: from where a branch goes back to, up to it."""
        found = []
        for i, line in enumerate(self.instructions):
            back = re.search(r"BRA.*?(\.L_x_\w+)", line)
            if back and self.labels.get(back[1], i + 1) <= i:
                found.append(self.instructions[self.labels[back[1]] : i + 1])
        return found

    def share(self, pattern: str) -> float:
        """Of such instructions in the loop that has most of them for its length."""
        bodies = [loop for loop in self.loops() if len(loop) > 8]
        return max((sum(bool(re.match(pattern, opcode(x))) for x in body) / len(body) for body in bodies), default=0.0)


def opcode(line: str) -> str:
    """Of "@!P0 LDG.E.128 R4, …" it is LDG.E.128."""
    return re.sub(r"^@!?U?P\w+\s+", "", line).split()[0]


def without_a_gpu() -> None:
    """numba-cuda compiles for compute capability 9.0 and binds to no context."""
    import numba.cuda.compiler
    import numba.cuda.cudadrv.devices
    import numba.cuda.dispatcher

    device = SimpleNamespace(compute_capability=(9, 0), id=0, name=b"none")
    for module in (numba.cuda.dispatcher, numba.cuda.compiler, cuda):
        module.get_current_device = lambda: device
    for module in (numba.cuda.dispatcher, numba.cuda.cudadrv.devices):
        module.get_context = lambda number=None: SimpleNamespace(device=device)
    numba.cuda.dispatcher._Kernel.bind = lambda self: None


def compile_kernel(kernel: Kernel, capabilities: tuple[int, ...] = (90,)) -> dict[int, Compiled]:
    """By compute capability (90 is 9.0; one of SMS). On a machine without a GPU, `without_a_gpu` comes before.

    Raises RuntimeError without nvdisasm, and the compiler's errors as they are.
    """
    threads = kernel.threads if isinstance(kernel.threads, int) else kernel.threads[0] * kernel.threads[1]
    dispatcher = cuda.jit(kernel.function, launch_bounds=(threads, kernel.blocks))
    library = dispatcher.compile(types_of(kernel.parameters))._codelibrary
    found = {}
    for capability in capabilities:
        cubin = library.get_cubin(cc=divmod(capability, 10))
        code = bytes(getattr(cubin, "code", cubin))
        found[capability] = _read(kernel, threads, code, SMS[capability])
    return found


def _read(kernel: Kernel, threads: int, code: bytes, per_sm: tuple[int, int, int, int]) -> Compiled:
    sections = _sections(code)
    attributes = _attributes(sections[".nv.info"])
    shared = sum(len(data) for name, data in sections.items() if name.startswith(".nv.shared."))
    lines: list[str] = []
    labels: dict[str, int] = {}
    for line in disassembled(code).splitlines():
        if label := re.match(r"(\.L_x_\w+):", line.strip()):
            labels[label[1]] = len(lines)
        elif found := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line):
            lines.append(found[1])
    assert lines, "nvdisasm shows no instruction"
    return Compiled(
        kernel.name,
        threads,
        max(attributes[REGISTERS]),
        max(attributes[FRAME_SIZE], default=0),
        shared + kernel.shared,
        tuple(lines),
        labels,
        per_sm,
    )


def _sections(elf: bytes) -> dict[str, bytes]:
    """By name. One without contents, as shared memory is, is as many zeros."""
    assert elf[:5] == b"\x7fELF\x02", "not an ELF file of 64 bits"
    start = struct.unpack_from("<Q", elf, 40)[0]
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", elf, start + i * size) for i in range(count)]
    table = headers[names]
    text = elf[table[4] : table[4] + table[5]]
    return {
        text[h[0] : text.index(b"\0", h[0])].decode(): bytes(h[5]) if h[1] == 8 else elf[h[4] : h[4] + h[5]]
        for h in headers
    }


def _attributes(info: bytes) -> dict[int, list[int]]:
    """The second word of each attribute of .nv.info that has two: symbol, value."""
    found: dict[int, list[int]] = collections.defaultdict(list)
    at = 0
    while at < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, at)
        at += 4
        if form == 4:  # so many bytes follow; in the other forms the size is the value
            if size == 8:
                found[attribute].append(struct.unpack_from("<II", info, at)[1])
            at += size
    return found


def nvdisasm() -> Path | None:
    """The disassembler of the wheel nvidia-cuda-nvdisasm, or None where it is not installed."""
    found = importlib.util.find_spec("nvidia")
    folders = found.submodule_search_locations or () if found else ()
    return next((path for folder in folders for path in sorted(Path(folder).glob("**/bin/nvdisasm"))), None)


def disassembled(code: bytes) -> str:
    """The text of a cubin. Raises RuntimeError without nvdisasm."""
    tool = nvdisasm()
    if tool is None:
        raise RuntimeError("nvdisasm, which reads a cubin, is not installed: pip install nvidia-cuda-nvdisasm")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(code)
        return subprocess.run([str(tool), "-c", "-ndf", str(path)], capture_output=True, text=True, check=True).stdout
