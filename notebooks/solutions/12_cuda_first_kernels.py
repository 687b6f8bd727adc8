"""Solutions of the exercises in 12_cuda_first_kernels.ipynb: each is its whole cell, filled in."""


# Exercise 12.1
def add(x, y, out, n):  # (n,), (n,) -> (n,); a thread a number, in blocks of 256
    i = cuda.grid(1)
    if i < n:
        out[i] = x[i] + y[i]


check_add(add)


# Exercise 12.2
def add_bias(x, bias, out, R, N):  # (R,N), (N,) -> (R,N); a thread a number
    column, row = cuda.grid(2)
    if row < R and column < N:
        out[row * N + column] = x[row * N + column] + bias[column]


check_add_bias(add_bias)


# Exercise 12.3
def reverse(x, out):  # (blocks·64,) -> (blocks·64,)
    tile = cuda.shared.array(64, f32)
    t, i = cuda.threadIdx.x, cuda.grid(1)
    tile[t] = x[i]
    cuda.syncthreads()
    out[i] = tile[63 - t]


check_reverse(reverse)


# Exercise 12.4
def block_sum(x, out):  # (blocks·64,) -> (blocks,)
    tile = cuda.shared.array(64, f32)
    t, block = cuda.threadIdx.x, cuda.blockIdx.x
    tile[t] = x[cuda.grid(1)]
    cuda.syncthreads()
    step = 32
    while step > 0:
        if t < step:
            tile[t] += tile[t + step]
        cuda.syncthreads()
        step //= 2
    if t == 0:
        out[block] = tile[0]


check_sum(block_sum)


# Exercise 12.5
def product(a, w, out, M, N, K):  # (M,K), (N,K) -> (M,N); blocks of 16 × 16 threads
    a_tile = cuda.shared.array((16, 16), f32)
    w_tile = cuda.shared.array((16, 16), f32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    row, column0, total = cuda.blockIdx.y * 16 + y, cuda.blockIdx.x * 16, f32(0)
    for k in range(0, K, 16):
        a_tile[y, x] = a[row * K + k + x]
        w_tile[y, x] = w[(column0 + y) * K + k + x]
        cuda.syncthreads()
        for i in range(16):
            total += a_tile[y, i] * w_tile[x, i]
        cuda.syncthreads()
    out[row * N + column0 + x] = total


check_product(product)
