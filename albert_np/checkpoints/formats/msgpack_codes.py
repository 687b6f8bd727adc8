"""Codes of the MessagePack format, and what flax.serialization makes of them, for the reader and the writer of such files."""

NDARRAY, SCALAR = 1, 3  # flax's types of extensions
CHUNKED = "__msgpack_chunked_array__"  # marks a dict that stands for one array of over 1 GB, in several pieces
DTYPE_NAMES = {  # NumPy's names, which flax writes -> safetensors' words
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}

# kind -> (its first byte for small numbers, the first number that is not small)
SMALL = {"number": (0x00, 128), "dict": (0x80, 16), "list": (0x90, 16), "text": (0xA0, 32)}
# first byte -> (kind, how many bytes of length or value follow), for larger ones
LENGTHS = {
    0xC4: ("bytes", 1),
    0xC5: ("bytes", 2),
    0xC6: ("bytes", 4),
    0xC7: ("extension", 1),
    0xC8: ("extension", 2),
    0xC9: ("extension", 4),
    0xCC: ("number", 1),
    0xCD: ("number", 2),
    0xCE: ("number", 4),
    0xCF: ("number", 8),
    0xD9: ("text", 1),
    0xDA: ("text", 2),
    0xDB: ("text", 4),
    0xDC: ("list", 2),
    0xDD: ("list", 4),
    0xDE: ("dict", 2),
    0xDF: ("dict", 4),
}
FIXED = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}  # first byte -> the length of an extension
OTHERS = {0xC0: "nothing", 0xC2: "false", 0xC3: "true", 0xCA: "a float", 0xCB: "a float"}
OTHERS |= dict.fromkeys((*range(0xD0, 0xD4), *range(0xE0, 0x100)), "a negative number")
