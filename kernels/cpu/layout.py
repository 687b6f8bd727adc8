"""Numbers that the compiled side and the Python side agree on. Importing this imports nothing."""

# --- a step of a program (program.py, walk.py) ----------------------------------------------------------------------------
ARGUMENTS = 2  # where a step's arguments begin, behind the kernel's address and the number of tiles
STEP = 40  # int64 numbers a step
COUNTERS = 16  # int64 numbers a step has for counting: claimed and done, each in a cache line of its own

# --- the GEMM (gemm.py) ---------------------------------------------------------------------------------------------------
# k is summed in chunks, each in a register, and the chunks are added in order: a chain of 128 roundings and one of K/128 lose
# half as much as one of K. This alone decides the bits.
CHUNK = 128
MC = 128  # rows of A a tile: MC × CHUNK numbers are 64 KB, a part of the second cache
TURNED_ROW = CHUNK + 16  # from row to row of a block of A that was turned over: not a power of two, so that rows spread
TILE_COLUMNS = 48  # columns of C a tile, or a multiple of it: whole panels at every level, and whole vectors of 16
WIDE_TILE = 192  # columns of C a tile at most: MC × 192 numbers are 96 KB, and A is read again for each tile
WIDE_TILE_TURNED = 768  # the same where A is turned for each tile: 384 KB of the second cache

# --- other tiles ----------------------------------------------------------------------------------------------------------
ROWS_A_TILE = 8  # rows that LayerNorm, the embedding, an activation and a copy take at a time
SUMMED = 32  # rows that are summed down a column before their sum is added to that of others
COLUMNS_A_TILE = 64  # columns that such a sum takes at a time
QUERIES = 48  # queries whose scores are held at once: with 512 keys 96 KB

MASK_MODES = {"uniform": 0, "zeros": 1, "nan": 2}


def padded(n: int) -> int:
    """n columns rounded up to whole vectors."""
    return -(-n // 16) * 16


def row_stride(n: int) -> int:
    """Elements from row to row of a buffer: whole vectors, and never a multiple of 4 KB, at which rows evict each other."""
    return padded(n) + 16 if padded(n) % 1024 == 0 else padded(n)
