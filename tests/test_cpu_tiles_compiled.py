"""Products on AMX's tiles compiled for Sapphire Rapids, on CPUs that have none: the instructions, and where they stand."""

import json
import re

import pytest
from support import needs
from support.same_bits import printed, python

needs.module("numba", "numba")

from llvmlite import binding  # noqa: E402

from albert_np.kernels.cpu import native, simd, tile_blocks  # noqa: E402

NEEDED = simd.EXTENSIONS["amx"][1]
ALONE = {"ALBERT_NP_SIMD": "", "ALBERT_NP_TILES": "", "NUMBA_BOUNDSCHECK": ""}
SAPPHIRE_RAPIDS = """
import json
from llvmlite import binding
from albert_np.kernels.cpu import simd, tiles
level = "avx512f avx512bw avx512dq avx512vl avx512cd avx2 fma bmi2 sse4.2 ssse3 popcnt"
simd.host = lambda: ("sapphirerapids", frozenset([*level.split(), *simd.EXTENSIONS["amx"][1]]))
tiles._answer = ""
from albert_np.kernels.cpu import build, native, tile_blocks, units
assert units.bfloat16() == ("tiles", "amx")
binding.initialize_all_targets(); binding.initialize_all_asmprinters()
cpu, features = simd.target()
machine = binding.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(cpu=cpu, features=features, opt=3)
"""


@pytest.mark.parametrize("kind", list(tile_blocks.INSTRUCTIONS))
def test_the_inner_loop_is_one_load_of_a_and_a_load_and_a_product_for_each_strip(kind):
    code = f"""{SAPPHIRE_RAPIDS}
print(json.dumps(machine.emit_assembly(binding.parse_assembly(str(tile_blocks.blocks("name", {kind!r}))))))
"""
    lines = json.loads(python(code, **ALONE)[0]).splitlines()
    instruction, _ = tile_blocks.INSTRUCTIONS[kind]
    block = body(lines, "name")
    inner = []
    for strips in (1, 2):
        loop = next(x for x in sorted(loops(block), key=len, reverse=True) if count(x, instruction) == strips)
        names = [line.split()[0] for line in loop if line.startswith("\tt") and not line.startswith("\ttest")]
        assert names == ["tileloadd", *["tileloadd", instruction] * strips]
        assert not [line for line in loop if "%rsp" in line]
        inner += loop
    outside = [line for line in block if line not in inner]
    for of_sums in ("tileloadd", "tilezero", "tilestored"):
        assert count(outside, of_sums) == 1 + 2
    assert count(outside, instruction) == 0
    assert [line.split()[0] for line in lines if "tilecfg" in line] == ["ldtilecfg"]
    assert any("ldtilecfg" in line for line in body(lines, "name_shape"))
    assert [line.split()[0] for line in body(lines, "name_release")[1:] if line.startswith("\ttile")] == ["tilerelease"]


def count(lines, word):
    return sum(word in line for line in lines)


def body(lines, name):
    """The lines of a function."""
    lines = lines[lines.index(f"{name}:") :]
    return lines[: next(i for i, line in enumerate(lines) if line.startswith(".Lfunc_end"))]


def loops(lines):
    """What lies between a label and each jump back to it."""
    labels, found = {}, []
    for i, line in enumerate(lines):
        if label := re.match(r"(\.\w+):", line):
            labels[label[1]] = i
        jump = re.match(r"\s+j\w+\s+(\.\w+)", line)
        if jump and labels.get(jump[1], i) < i:
            found.append(lines[labels[jump[1]] : i + 1])
    return found


@pytest.fixture(scope="module")
def compiled_for_tiles():
    """The LLVM text of each kernel, and whether the object file of all is loaded here."""
    code = f"""{SAPPHIRE_RAPIDS}
texts, llvm = {{}}, build._llvm
def kept(function):
    answer = llvm(function)
    texts[function.__name__] = answer[0]
    return answer
build._llvm = kept
machine_code, arguments = build.compile_kernels(kind="bfloat16")
library = native._load(machine_code, arguments, "bfloat16")
print(json.dumps([texts, sorted(library.kernels)]))
"""
    return json.loads(python(code, **ALONE)[0])


def test_an_object_file_for_tiles_is_loaded_where_there_are_none(compiled_for_tiles):
    assert compiled_for_tiles[1] == sorted(native.KERNELS["bfloat16"])


def test_numba_compiles_no_tile_instruction(compiled_for_tiles):
    texts, _ = compiled_for_tiles
    for name, text in texts.items():
        assert "llvm.x86.tile" not in text, name
        assert "llvm.x86.tdp" not in text
        assert "tilecfg" not in text


@pytest.mark.parametrize("kernel", ["gemm16", "attention16"])
def test_kernels_use_tiles_between_begin_and_end_and_give_them_back_on_every_way(compiled_for_tiles, kernel):
    functions = functions_of(compiled_for_tiles[0][kernel])
    inside = inside_functions(functions)
    outer = [name for name, text in functions.items() if "_release(" in text]
    assert outer
    for name in outer:
        check_tiles(functions[name], inside, "off")
    for name in inside:
        check_tiles(functions[name], inside, "on")
    # and this is seen where a call is missing
    for call in ("albert_np_block16_release", "albert_np_block16_shape"):
        with pytest.raises(AssertionError):
            check_tiles(functions[outer[0]].replace(f"@{call}(", "@nothing("), inside, "off")


def functions_of(text):
    """Name -> LLVM's text, without the ways that would be taken if one of them raised an exception that it never raises."""
    module = binding.parse_assembly(text.replace("linkonce_odr", "internal"))
    machine = binding.Target.from_default_triple().create_target_machine()
    passes = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(module, passes)
    text = str(module)
    return {match[1]: match[0] for match in re.finditer(r'^define [^\n]*@("?[-\w$.]+"?)\(.*?^}', text, re.M | re.S)}


def inside_functions(functions):
    """Those that are called between begin and end: they use blocks, or others that do, and release nothing."""
    found = ["albert_np_block16"]
    while more := [
        name
        for name, text in functions.items()
        if name not in found
        and "_release(" not in text
        and any(f"@{used}(" in text.partition("\n")[2] for used in found)
    ]:
        found += more
    return found[1:]


def check_tiles(text, inside, at_first):
    """Walks all ways through a function: blocks are called while tiles are on, and it returns as it was entered."""
    before, *pieces = re.split(r"^([-\w$.\"]+):.*$", text.partition("\n")[2], flags=re.M)
    assert not before.strip()
    blocks = dict(zip(pieces[0::2], pieces[1::2], strict=True))
    to_do, seen = [(pieces[0], at_first)], set()
    while to_do:
        place, state = to_do.pop()
        if (place, state) in seen:
            continue
        seen.add((place, state))
        for line in blocks[place].splitlines():
            called = re.search(r'call [^@]*@("?[-\w$.]+"?)\(', line)
            if called and called[1] == "albert_np_block16_shape":
                state = "on"
            elif called and called[1] == "albert_np_block16_release":
                assert state == "on"
                state = "off"
            elif called and called[1] in ("albert_np_block16", *inside):
                assert state == "on", line
            elif line.startswith("  ret "):
                assert state == at_first, "tiles are not given back"
            to_do += [(label, state) for label in re.findall(r'label %("[^"]+"|[-\w$.]+)', line)]


# --- what must not be emitted ---------------------------------------------------------------------------------------------


def test_nothing_is_emitted_for_a_cpu_without_tiles(monkeypatch):
    monkeypatch.delenv("ALBERT_NP_TILES", raising=False)
    for kind, (_, feature) in tile_blocks.INSTRUCTIONS.items():
        for missing in ("amx-tile", feature):
            features = ",".join(f"+{need}" for need in NEEDED if need != missing)
            monkeypatch.setattr(simd, "target", lambda features=features: ("sapphirerapids", features))
            with pytest.raises(ValueError, match=f"blocks of tiles need a CPU with {missing}"):
                tile_blocks.blocks("name", kind)


def test_emulated_tiles_are_chosen_by_nobody_who_does_not_ask(monkeypatch):
    monkeypatch.delenv("ALBERT_NP_TILES", raising=False)
    assert not simd.are_tiles_emulated()
    assert not set(native.EMULATED) & set(native.names("bfloat16"))
    asked = "from albert_np.kernels.cpu import units\nprint(*units.bfloat16(), units.why_no_tiles() == '')"
    unit, _, granted = printed(asked, ALBERT_NP_TILES="no")
    assert (unit == "tiles") == (granted == "True")
