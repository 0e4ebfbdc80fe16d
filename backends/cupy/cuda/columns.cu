// Sums over the rows of a matrix (rows, n): gradients of biases and of what is broadcast along rows. From S into D,
// sums in Wide<S> (float, or double).
//
// A block takes 32 packs of columns side by side, so a warp reads 512 bytes of a row at once, and a share of the rows;
// its 8 warps take every 8th. Shares are added up by a second launch in a fixed order: no atomic operations.
// Each element is read once: 2 bytes for one of 16 bits, the floor. It has not run on a GPU yet.
#include "common.cuh"

typedef typename Wide<S>::type A;

template <int W>
__device__ __forceinline__ void sum_part(const S* x, D* out, i64 rows, i64 n, i64 share, A* parts) {
    i64 column = ((i64)blockIdx.x * 32 + threadIdx.x) * W;
    i64 first = blockIdx.y * share, last = first + share < rows ? first + share : rows;
    A total[W] = {};
    if (column < n)
        for (i64 r = first + threadIdx.y; r < last; r += blockDim.y) {
            A v[W];
            load<W>(x + r * n + column, v);
#pragma unroll
            for (int i = 0; i < W; i++) total[i] += v[i];
        }
#pragma unroll
    for (int i = 0; i < W; i++) parts[(threadIdx.y * W + i) * 32 + threadIdx.x] = total[i];
    __syncthreads();
    if (column >= n) return;
    for (int i = threadIdx.y; i < W; i += blockDim.y) {
        A sum = 0;
        for (int k = 0; k < blockDim.y; k++) sum += parts[(k * W + i) * 32 + threadIdx.x];
        out[blockIdx.y * n + column + i] = narrow<D>((typename Wide<D>::type)sum);
    }
}

// grid: (packs of columns / 32, shares of `share` rows); block: (32, 8); out: (shares, n)
extern "C" __global__ void __launch_bounds__(256)
column_sums(const S* x, D* out, i64 rows, i64 n, i64 share, i64 wide_loads) {
    constexpr int V = int(16 / sizeof(S));
    __shared__ A parts[8 * V * 32];
    if (wide_loads) sum_part<V>(x, out, rows, n, share, parts);
    else sum_part<1>(x, out, rows, n, share, parts);
}
