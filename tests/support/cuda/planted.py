"""A launch with a fault that compute-sanitizer must find: planted.py "nothing", or what stands in test_cuda.py."""

import sys

import numpy as np

from albert_np.kernels.cuda import layer_norm, matmul
from albert_np.kernels.cuda.run import put, run, unwritten
from support.cuda.mistakes import mutant

H, N, K = 768, 64, 256
KEEP = "keep(a_tile, b_tile, half, thread, next_a, next_b)\n"
BARRIER = 16 * " " + "cuda.syncthreads()"


def main(what):
    module = mutant(matmul, KEEP + BARRIER, KEEP) if what == "a barrier is missing" else matmul
    a, b, zeros = put(np.ones((N, K), np.float32)), put(np.ones((K, N), np.float32)), put(np.zeros(N, np.float32))
    run(module.matmul(matmul.MEDIUM), (1, 1), a, K, b, N, zeros, None, 0, unwritten(N, N), N, N, N, K)
    rows = 16000 if what == "more rows than there are" else 4
    x, weight = put(np.ones((4, H), np.float32)), put(np.ones(H, np.float32))
    run(layer_norm.layer_norm(H), (rows // 4,), x, weight, weight, unwritten(4, H), rows, 1e-12)


if __name__ == "__main__":
    main(sys.argv[1])
