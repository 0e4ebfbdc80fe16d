// Sums and casts of whole arrays by 16 bytes at once, where CuPy's elementwise kernels take one element for a thread.
//
// S is the type of what is read, D that of the result; computed in float (double for double) and rounded once. Each
// element is read once and written once: the floor. It has not run on a GPU yet.
#include "common.cuh"

typedef typename Wide<S>::type A;
#define V int(16 / (sizeof(S) > sizeof(D) ? sizeof(S) : sizeof(D)))

template <int W> __device__ __forceinline__ void sum(const S* x, const S* other, D* y, i64 n) {
    over_all<W>(n, [&](auto count, i64 i) {
        constexpr int N = decltype(count)::value;
        A v[N], b[N];
        load<N>(x + i, v);
        if (other) {
            load<N>(other + i, b);
#pragma unroll
            for (int k = 0; k < N; k++) v[k] += b[k];
        }
        store<N>(y + i, v);
    });
}

// y = x + other, or x alone
extern "C" __global__ void __launch_bounds__(256)
add_or_cast(const S* x, const S* other, D* y, i64 n, i64 wide_loads) {
    if (wide_loads) sum<V>(x, other, y, n);
    else sum<1>(x, other, y, n);
}
