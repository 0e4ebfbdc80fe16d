// Dropout by hashes of a seed and of positions (backends/hashing.py: the same bits as on a CPU), and what is added.
//
// Nothing is kept for backward, which is the same kernel on the gradient: 2 bytes in and 2 out for each element of 16
// bits, 2 more for a residual branch: the floor. It has not run on a GPU yet.
#include "common.cuh"

typedef typename Wide<T>::type A;

struct Seed {
    u32 low, high;
    __device__ __forceinline__ Seed(i64 value, const i64* live) {
        u64 bits = (u64)(live ? *live : value);
        low = (u32)bits;
        high = (u32)(bits >> 32);
    }
};

template <int V>
__device__ __forceinline__ void drop(const T* x, const T* other, T* y, i64 n, Seed seed, u32 bound, A scale) {
    over_all<V>(n, [&](auto count, i64 i) {
        constexpr int N = decltype(count)::value;
        A v[N], b[N];
        load<N>(x + i, v);
        if (other) load<N>(other + i, b);
#pragma unroll
        for (int k = 0; k < N; k++) {
            v[k] = hashed((u32)(i + k), seed.low, seed.high) >= bound ? v[k] * scale : A(0);
            if (other) v[k] += b[k];
        }
        store<N>(y + i, v);
    });
}

// y = x * scale where the hash of the position reaches `bound`, else 0, plus other (or null). The seed is `seed`, or
// what stands at `live`.
extern "C" __global__ void __launch_bounds__(256)
dropout_forward(const T* x, const T* other, T* y, i64 n, i64 seed, const i64* live, i64 bound, double scale,
                i64 wide_loads) {
    Seed s(seed, live);
    if (wide_loads) drop<int(16 / sizeof(T))>(x, other, y, n, s, (u32)bound, (A)scale);
    else drop<1>(x, other, y, n, s, (u32)bound, (A)scale);
}

// 1 where dropout_forward keeps.
extern "C" __global__ void __launch_bounds__(256)
dropout_mask(u8* y, i64 n, i64 seed, const i64* live, i64 bound) {
    Seed s(seed, live);
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        y[i] = hashed((u32)i, s.low, s.high) >= (u32)bound;
}
