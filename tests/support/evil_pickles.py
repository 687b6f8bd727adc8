"""Hostile pickle programs for pytorch_model.bin: name -> (the code of a value, what the refusal must say).

Obeying any of them would make the file PWNED. `python -m support.evil_pickles FOLDER` reads every file of a folder and prints
the largest memory and time that refusing one took.
"""

import builtins
import json
import os
import pickle
import resource
import struct
import sys
import time
from pathlib import Path

from support.torch_files import (
    BINPERSID,
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_TUPLE,
    FALSE,
    MARK,
    NONE,
    REDUCE,
    TRUE,
    call,
    named,
    number,
    numbers,
    parameter,
    sequence,
    storage,
    table,
    text,
    view,
)

PWNED = "/tmp/pwned_albert_np"
COMMAND = f"touch {PWNED}"
SOURCE = f"open({PWNED!r}, 'w')"
LENGTH = 6  # of the sound tensor's storage
ORDERED = call(named("collections", "OrderedDict"))
STORED = storage("0", LENGTH)
SOUND = view(STORED, (2, 3))
DEEP = 50_000
NOT_NEEDED = "which no weights need"

WELL_KNOWN = """
os.system posix.system nt.system os.popen os.execv subprocess.Popen subprocess.run pty.spawn commands.getoutput
builtins.eval builtins.exec builtins.__import__ builtins.getattr builtins.open builtins.compile builtins.breakpoint
__builtin__.eval __builtin__.apply importlib.import_module runpy.run_path pickle.loads _pickle.load marshal.loads
operator.attrgetter operator.methodcaller functools.partial functools.reduce types.FunctionType types.CodeType
codecs.encode _codecs.encode copyreg._reconstructor copyreg.__newobj__ copy_reg._reconstructor shutil.rmtree pathlib.Path
socket.create_connection ctypes.CDLL pip.main webbrowser.open asyncio.run timeit.timeit pdb.run bdb.Bdb.run
idlelib.pyshell.ModifiedInterpreter multiprocessing.util.log_to_stderr logging.config.dictConfig site.addsitedir
torch.load torch.hub.load torch.jit.load torch.serialization.load torch.serialization.os torch.storage._load_from_bytes
torch.Tensor torch.device torch._utils._rebuild_tensor torch._tensor._rebuild_from_type_v2 torch.nn.Parameter
torch.fx.graph_module.reduce_graph_module torch.utils._config_module.load_config torch.nn.modules.linear.Linear
numpy.load numpy.dtype numpy.core.multiarray._reconstruct numpy._core.multiarray.scalar joblib.load
numpy.testing._private.utils.runstring albert_np.AlbertModel __main__.x
torch.UntypedStorage torch.storage.FloatStorage torch.cuda.FloatStorage torch._utils torch.FloatStorage.from_file
torch.ComplexFloatStorage torch.QInt8Storage torch.Float8_e4m3fnStorage torch.floatstorage TORCH.FloatStorage
torch._utils._rebuild_tensor_v2.__globals__ torch._utils.__builtins__ collections.abc collections.OrderedDict.fromkeys
"""
GLOBALS = [tuple(name.rsplit(".", 1)) for name in WELL_KNOWN.split()] + [
    ("torch", "_utils._rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    ("collections", "OrderedDict.fromkeys"),
    ("collections.OrderedDict", ""),
    ("", "OrderedDict"),
    ("torch", "FloatStorage\r"),
    ("torch ", "FloatStorage"),
    ("t\u043erch", "FloatStorage"),  # a Cyrillic o
]


class Evil:
    """What Python's pickler makes a call of."""

    def __init__(self, function, *values):
        self.how = function, values

    def __reduce__(self):
        return self.how


def short(value):
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def remembered(code, index):
    return code + b"r" + struct.pack("<L", index)


def recalled(index):
    return b"j" + struct.pack("<L", index)


def in_python(function, *values):
    """What Python's pickler writes for a call, without its protocol and its end."""
    return pickle.dumps(Evil(function, *values), 2)[2:-1]


def calls():
    yield "os.system by __reduce__", in_python(os.system, COMMAND), "system"
    yield "eval by __reduce__", in_python(builtins.eval, SOURCE), "eval"
    yield "exec in a call in a call", in_python(print, Evil(exec, SOURCE), Evil(os.system, COMMAND)), NOT_NEEDED
    for module, name in GLOBALS:
        yield f"global {module!r} {name!r}", call(named(module, name), text(COMMAND)), NOT_NEEDED
        yield (
            f"STACK_GLOBAL {module!r} {name!r}",
            call(short(module) + short(name) + b"\x93", text(COMMAND)),
            NOT_NEEDED,
        )
    yield "global without an end", b"c" + b"os" * 1000, "without an end"
    yield "STACK_GLOBAL of recalled texts", remembered(text("os"), 1) + text("system") + b"\x93", NOT_NEEDED
    yield "STACK_GLOBAL of numbers", number(1) + number(2) + b"\x93", NOT_NEEDED
    yield "STACK_GLOBAL of tuples", sequence(text("torch")) + sequence(text("FloatStorage")) + b"\x93", NOT_NEEDED
    yield "STACK_GLOBAL of a tensor and a list", SOUND + EMPTY_LIST + b"\x93", NOT_NEEDED
    yield "INST", MARK + text(COMMAND) + b"ios\nsystem\n", "INST"
    yield "OBJ", MARK + named("os", "system") + text(COMMAND) + b"o", NOT_NEEDED
    yield "OBJ of what is allowed", MARK + named("collections", "OrderedDict") + b"o", "OBJ"
    yield "NEWOBJ", named("collections", "OrderedDict") + EMPTY_TUPLE + b"\x81", "NEWOBJ"
    yield "NEWOBJ_EX", named("collections", "OrderedDict") + EMPTY_TUPLE + EMPTY_DICT + b"\x92", "NEWOBJ_EX"
    yield "EXT1", b"\x82\x01", "EXT1"
    yield "EXT2", b"\x83\x01\x00", "EXT2"
    yield "EXT4", b"\x84\x01\x00\x00\x00", "EXT4"
    yield "NEXT_BUFFER", b"\x97", "NEXT_BUFFER"
    yield "calling a text", call(text("os.system"), text(COMMAND)), "cannot be called"
    yield "calling a tensor", call(SOUND, text(COMMAND)), "cannot be called"
    yield "calling a storage's class", call(named("torch", "FloatStorage"), number(2**40)), "cannot be called"
    yield "calling with a list", named("collections", "OrderedDict") + EMPTY_LIST + REDUCE, "cannot be called"
    yield "calling with a tensor", named("torch._utils", "_rebuild_tensor_v2") + SOUND + REDUCE, "cannot be called"
    yield "an OrderedDict of pairs", call(named("collections", "OrderedDict"), EMPTY_LIST), "from other values"


def tensors():
    rebuild = named("torch._utils", "_rebuild_tensor_v2")
    whole = numbers((2, 3)), numbers((3, 1))
    hooks = table({"0": call(named("os", "system"), text(COMMAND))}, ordered=True)
    yield "a hook that calls", call(rebuild, STORED, number(0), *whole, FALSE, hooks), NOT_NEEDED
    yield "a hook", call(rebuild, STORED, number(0), *whole, FALSE, table({"0": NONE}, ordered=True)), "hooks"
    yield "no hooks", call(rebuild, STORED, number(0), *whole, FALSE, NONE), "hooks"
    yield "the attribute neg", view(STORED, (2, 3), more=[table({"neg": TRUE})]), "attributes"
    yield "5 values", call(rebuild, STORED, number(0), *whole, FALSE), "another way"
    yield "8 values", view(STORED, (2, 3), more=[EMPTY_DICT, EMPTY_DICT]), "another way"
    other = "something else than a storage"
    yield "a text for a storage", view(text("0"), (2, 3)), other
    yield "a class for a storage", view(named("torch", "FloatStorage"), (2, 3)), other
    yield "a tensor for a storage", view(SOUND, (2, 3)), other
    yield "an offset of True", call(rebuild, STORED, TRUE, *whole, FALSE, ORDERED), other
    yield "sizes in a list", call(rebuild, STORED, number(0), EMPTY_LIST, whole[1], FALSE, ORDERED), other
    yield "a size of True", call(rebuild, STORED, number(0), sequence(TRUE, TRUE), whole[1], FALSE, ORDERED), other
    yield "strides in a list", call(rebuild, STORED, number(0), whole[0], EMPTY_LIST, FALSE, ORDERED), other
    yield "9 sizes", view(STORED, (1,) * 9), other
    yield "a parameter of a text", parameter(text("x")), "a parameter"
    yield "a parameter of a parameter's values", call(named("torch._utils", "_rebuild_parameter"), SOUND), "a parameter"
    hooked = call(named("torch._utils", "_rebuild_parameter"), SOUND, TRUE, table({"0": NONE}, ordered=True))
    yield "a parameter with a hook", hooked, "a parameter"
    unordered = call(named("torch._utils", "_rebuild_parameter"), SOUND, TRUE, EMPTY_DICT)
    yield "a parameter with a plain dict", unordered, "a parameter"
    yield "more sizes than strides", view(STORED, (2, 3), (1,)), "as many strides"
    yield "a negative size", view(STORED, (-2, -3)), "0 or more"
    yield "a negative stride", view(STORED, (2, 3), (-3, -1), 5), "0 or more"
    yield "a negative offset", view(STORED, (2, 3), offset=-1), "0 or more"
    yield "an offset of -2**63", view(STORED, (2, 3), offset=-(2**63)), "0 or more"
    yield "one entry too far", view(STORED, (2, 3), offset=1), "ends behind entry"
    yield "an offset of 2**64", view(STORED, (1,), offset=2**64), "ends behind entry"
    yield "strides of 2**62", view(STORED, (2, 2), (2**62, 2**62)), "ends behind entry"
    yield "a giant of strides of 0", view(STORED, (10**6, 10**6), (0, 0)), "entries, its storage"
    yield "sizes whose product is 2**64", view(STORED, (2**32, 2**32), (0, 0)), "entries, its storage"
    yield "sizes of 2**127", view(STORED, (2**126,) * 8, (0,) * 8), "entries, its storage"
    yield "nothing times 2**62", view(STORED, (0, 2**62)), "entries, its storage"
    yield "nothing, behind the end", view(STORED, (0,), offset=7), "ends behind entry"


def storages():
    float_ = named("torch", "FloatStorage")
    no_storage, lacking = "no storage", "without a known class"
    yield "a persistent text", text("0") + BINPERSID, no_storage
    yield "a persistent number", number(0) + BINPERSID, no_storage
    yield (
        "a persistent list",
        EMPTY_LIST + MARK + text("storage") + float_ + text("0") + text("cpu") + b"e" + BINPERSID,
        no_storage,
    )
    yield "a persistent True", TRUE + BINPERSID, no_storage
    yield "a persistent empty tuple", EMPTY_TUPLE + BINPERSID, no_storage
    yield (
        "a persistent call",
        sequence(text("storage"), call(named("os", "system"), text(COMMAND))) + BINPERSID,
        NOT_NEEDED,
    )
    yield "a persistent tensor", SOUND + BINPERSID, no_storage
    yield "a module", sequence(text("module"), float_, text("a.py"), text(SOURCE)) + BINPERSID, "a whole module"
    yield "PERSID", b"P0\n", "PERSID"
    yield "4 values", sequence(text("storage"), float_, text("0"), text("cpu")) + BINPERSID, lacking
    yield (
        "7 values",
        sequence(text("storage"), float_, text("0"), text("cpu"), number(6), NONE, NONE) + BINPERSID,
        lacking,
    )
    for label, values in {
        "a class that is none": (named("collections", "OrderedDict"), text("0"), text("cpu"), number(6)),
        "a class that is a text": (text("FloatStorage"), text("0"), text("cpu"), number(6)),
        "a key that is a number": (float_, number(0), text("cpu"), number(6)),
        "a place that is None": (float_, text("0"), NONE, number(6)),
        "a length that is True": (float_, text("0"), text("cpu"), TRUE),
        "a length that is a text": (float_, text("0"), text("cpu"), text("6")),
    }.items():
        yield label, sequence(text("storage"), *values) + BINPERSID, lacking
    yield "a negative length", view(storage("0", -6), (2, 3)), "negative length"
    yield "a key of 65 letters", view(storage("0" * 65, 6), (2, 3)), "no number"
    part = sequence(
        text("storage"), float_, text("0"), text("cpu"), number(6), sequence(text("0"), number(0), number(6))
    )
    yield "a part of a storage", view(part + BINPERSID, (2, 3)), "a part of a storage"


def tables():
    yield "a number for a key", EMPTY_DICT + number(1) + NONE + b"s", "no text"
    yield "a list for a key", EMPTY_DICT + EMPTY_LIST + NONE + b"s", "no text"
    yield "a deep tuple for a key", EMPTY_DICT + EMPTY_TUPLE + b"\x85" * DEEP + NONE + b"s", "no text"
    yield "a key without a value", EMPTY_DICT + MARK + text("a") + b"u", "in pairs"
    yield "a key twice", EMPTY_DICT + MARK + (text("a") + NONE) * 2 + b"u", "twice"
    yield "entries of a list", EMPTY_LIST + text("a") + NONE + b"s", "no dict"
    yield "entries of a tensor", SOUND + text("a") + NONE + b"s", "no dict"
    yield "items of a dict", EMPTY_DICT + NONE + b"a", "no list"
    build = "gives a state"
    yield "a state for a dict", EMPTY_DICT + table({"_metadata": NONE}) + BUILD, build
    yield "a state for a tensor", SOUND + table({"_metadata": NONE}) + BUILD, build
    yield "a state for a class", named("collections", "OrderedDict") + table({"fromkeys": NONE}) + BUILD, build
    yield "a state for a storage", STORED + table({"__class__": NONE}) + BUILD, build
    for name in ("__setstate__", "__class__", "__dict__", "__reduce__", "items"):
        yield f"the state {name}", ORDERED + table({"_metadata": NONE, name: NONE}) + BUILD, build
    yield "a state of slots", ORDERED + sequence(NONE, table({"_metadata": NONE})) + BUILD, build
    yield "an ordered state", ORDERED + ORDERED + BUILD, build


def bombs():
    no_tensor = "is no tensor"
    yield "a list in itself", remembered(EMPTY_LIST, 1) + recalled(1) + b"a", no_tensor
    yield "a dict in itself", remembered(EMPTY_DICT, 1) + text("a") + recalled(1) + b"s", "is a table"
    yield "tuples in tuples", EMPTY_TUPLE + b"\x85" * DEEP, no_tensor
    yield "lists in lists", EMPTY_LIST * DEEP + b"a" * (DEEP - 1), no_tensor
    yield "tables in tables", EMPTY_DICT + (text("a") + EMPTY_DICT) * 20_000 + b"s" * 20_000, "is a table"
    yield "marks", MARK * DEEP, "stack"
    double = b"".join(remembered(recalled(i) * 2 + b"\x86", i + 1) for i in range(60))
    yield "2**60 tuples", MARK + remembered(EMPTY_TUPLE, 0) + double + b"t", no_tensor
    laughs = remembered(text("ha" * 1000), 0) + b"".join(
        remembered(MARK + recalled(i) * 10 + b"t", i + 1) for i in range(20)
    )
    yield "a billion laughs", MARK + laughs + b"t", no_tensor
    yield "laughs for a global", MARK + laughs + b"\x93", NOT_NEEDED
    yield (
        "laughs for a size",
        view(STORED, (1,))[:-1].replace(numbers((1,)), MARK + laughs + b"t", 1) + REDUCE,
        "something else",
    )
    yield "laughs for a persistent id", MARK + laughs + b"t" + BINPERSID, "no storage"
    yield "DUP", EMPTY_TUPLE + b"2\x86" * 60, "DUP"
    yield "POP", NONE + b"0", "POP"
    yield "POP_MARK", MARK + b"1", "POP_MARK"
    many = remembered(MARK + b"K\1" * 60_000 + b"t", 0)
    rebuilt = call(named("torch._utils", "_rebuild_tensor_v2"), STORED, number(0), many, recalled(0), FALSE, ORDERED)
    yield "a tensor of 60,000 sizes", rebuilt, "something else"
    yield "too many steps", EMPTY_LIST + MARK + NONE * 250_000 + b"e", "takes over"
    yield "too many tables", EMPTY_LIST + MARK + EMPTY_DICT * 250_000 + b"e", "takes over"
    yield "a program of 3 MB", text("x" * 3 * 2**20), "are read"
    yield "a text of 4 GB", b"X\xff\xff\xff\xff" + b"x" * 99, "cut off"
    yield "BINUNICODE8 of 2**63", b"\x8d" + b"\xff" * 8, "BINUNICODE8"
    yield "BINBYTES8 of 2**63", b"\x8e" + b"\xff" * 8, "opcode"
    yield "BYTEARRAY8 of 2**63", b"\x96" + b"\xff" * 8, "BYTEARRAY8"
    yield "LONG4 of 2 GB", b"\x8b\xff\xff\xff\x7f" + b"x" * 99, "LONG4"
    yield "LONG4 of -1", b"\x8b\xff\xff\xff\xff" + b"x" * 99, "LONG4"
    yield "LONG1 of 255 bytes", b"\x8a\xff" + b"\xff" * 255, "255 bytes"
    yield "LONG in letters", b"L" + b"9" * 10**6 + b"L\n", "opcode"
    yield "INT in letters", b"I" + b"9" * 10**6 + b"\n", "opcode"
    yield "a frame of 2**63", b"\x95" + b"\xff" * 8, "frame"
    yield "memo 2**32 - 1, and one that is not there", remembered(NONE, 2**32 - 1) + recalled(5), "has not kept"
    yield "a memo in letters", NONE + b"p1\n", "opcode"
    yield "half a character", text(b"\xff\xfe"), "UTF-8"
    yield "a surrogate", text(b"\xed\xa0\x80"), "UTF-8"
    yield "a second PROTO", b"\x80\x02" + NONE, "PROTO"
    yield "an opcode that is none", b"\xff", "opcode"
    yield "a value that is not there", b"t", "stack"


def values():
    """Everything above: (name, the code of one value, a part of the message)."""
    for kind in (calls, tensors, storages, tables, bombs):
        for name, code, message in kind():
            yield f"{kind.__name__}: {name}", code, message


def main():
    from albert_np.checkpoints.formats import bin

    slowest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(Path(sys.argv[1]).iterdir()):
        start = time.process_time()
        try:
            for tensor in bin.read(path):
                tensor.load()
        except ValueError:
            slowest = max(slowest, time.process_time() - start)
        else:
            raise SystemExit(f"{path} was read")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": slowest, "bytes": grown * 1024}))


if __name__ == "__main__":
    main()
