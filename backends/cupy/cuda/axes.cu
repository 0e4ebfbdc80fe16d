// Linear maps along one to three dimensions (autograd/ops/resampling.py): average pools, adaptive ones, interpolation,
// padding, and the transposes of all of them, which are their gradients. T: dtype. Arrays lie as (outer, a, b, c,
// inner); along each of the three, output j is the sum of weight[k] · input[index[k]] for k from start[j] to
// start[j + 1]. Sums are in float (double for double).
#include "common.cuh"

typedef Wide<T>::type A;
static constexpr int LONGEST = 16 / (int)sizeof(T);

extern "C" __global__ void axis_map(
    const T* x, T* y, i64 outer, i64 inner, i64 na, i64 nb, i64 nc, i64 ma, i64 mb, i64 mc, const i32* start_a,
    const i32* index_a, const A* weight_a, const i32* start_b, const i32* index_b, const A* weight_b,
    const i32* start_c, const i32* index_c, const A* weight_c, i64 packs) {
    auto pixel = [&](auto count, i64 j, i64 channel) {
        constexpr int V = decltype(count)::value;
        i64 c = j % mc, rest = j / mc, b = rest % mb;
        rest /= mb;
        i64 a = rest % ma, o = rest / ma;
        A total[V] = {};
        for (int k = start_a[a]; k < start_a[a + 1]; k++)
            for (int l = start_b[b]; l < start_b[b + 1]; l++) {
                A weight = weight_a[k] * weight_b[l];
                const T* row = x + ((o * na + index_a[k]) * nb + index_b[l]) * nc * inner + channel;
                for (int m = start_c[c]; m < start_c[c + 1]; m++) {
                    A v[V], w = weight * weight_c[m];
                    load<V>(row + index_c[m] * inner, v);
#pragma unroll
                    for (int i = 0; i < V; i++) total[i] += v[i] * w;
                }
            }
        store<V>(y + j * inner + channel, total);
    };
    i64 pixels = outer * ma * mb * mc, threads = (i64)gridDim.x * blockDim.x;
    i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (packs) {
        i64 row = inner / LONGEST;
        for (i64 i = first; i < pixels * row; i += threads) pixel(Count<LONGEST>(), i / row, i % row * LONGEST);
    } else {
        for (i64 i = first; i < pixels * inner; i += threads) pixel(Count<1>(), i / inner, i % inner);
    }
}
