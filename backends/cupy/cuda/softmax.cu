// Softmax and its logarithm over rows, or over columns of (outer, n, inner), in T; sums in Wide<T>.
//
// Forward and backward go over a row twice, and the second time it comes from the L1 or L2 cache: 2 bytes in and 2 out
// for each element of 16 bits in forward (the floor), 4 in and 2 out in backward (the floor).
// It has not run on a GPU yet.
#include "common.cuh"

typedef typename Wide<T>::type A;
#define V int(16 / sizeof(T))

// Maximum and sum of exponentials as they grow, one exponential for each element. -inf alone leaves the sum at 0.
struct Running {
    A top, total;
    __device__ __forceinline__ void rise(A to) {
        if (to > top) {
            total *= exponential(top - to);
            top = to;
        }
    }
    __device__ __forceinline__ void add(A x) {
        if (top > -infinite<A>()) total += exponential(x - top);
        else if (is_nan(x)) total = x;
    }
};

template <int W> __device__ __forceinline__ Running running_of(const T* x, i64 start, i64 n) {
    Running r{-infinite<A>(), A(0)};
    over_row<W>(start, n, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A v[N];
        load<N>(x + start + j, v);
        A most = v[0];
#pragma unroll
        for (int i = 1; i < N; i++) most = larger(most, v[i]);
        r.rise(most);
#pragma unroll
        for (int i = 0; i < N; i++) r.add(v[i]);
    });
    A top = row_max(r.top);
    r.total = row_sum(r.top > -infinite<A>() || is_nan(r.total) ? r.total * exponential(r.top - top) : A(0));
    r.top = top;
    return r;
}

template <int W> __device__ __forceinline__ void forward_row(const T* x, T* y, i64 start, i64 n, bool log_of) {
    Running r = running_of<W>(x, start, n);
    A scale = A(1) / r.total, shift = logarithm(r.total);
    over_row<W>(start, n, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A v[N];
        load<N>(x + start + j, v);
#pragma unroll
        for (int i = 0; i < N; i++) {
            A d = v[i] - r.top;
            v[i] = log_of ? d - shift : exponential(d) * scale;
        }
        store<N>(y + start + j, v);
    });
}

// grid: blocks of blockDim.y rows; wide: memory begins at multiples of 16 bytes
extern "C" __global__ void __launch_bounds__(512)
softmax_forward(const T* x, T* y, i64 rows, i64 n, i64 log_of, i64 wide) {
    i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    i64 length = row < rows ? n : 0;  // rows beyond the last one keep the barriers company
    if (wide) forward_row<V>(x, y, row * n, length, log_of);
    else forward_row<1>(x, y, row * n, length, log_of);
}

template <int W>
__device__ __forceinline__ void backward_row(const T* g, const T* y, T* dx, i64 start, i64 n, bool log_of) {
    A total = 0;
    over_row<W>(start, n, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A a[N], b[N];
        load<N>(g + start + j, a);
        if (!log_of) load<N>(y + start + j, b);
#pragma unroll
        for (int i = 0; i < N; i++) total += log_of ? a[i] : a[i] * b[i];
    });
    total = row_sum(total);
    over_row<W>(start, n, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A a[N], b[N];
        load<N>(g + start + j, a);
        load<N>(y + start + j, b);
#pragma unroll
        for (int i = 0; i < N; i++) a[i] = log_of ? a[i] - exponential(b[i]) * total : b[i] * (a[i] - total);
        store<N>(dx + start + j, a);
    });
}

extern "C" __global__ void __launch_bounds__(512)
softmax_backward(const T* g, const T* y, T* dx, i64 rows, i64 n, i64 log_of, i64 wide) {
    i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    i64 length = row < rows ? n : 0;
    if (wide) backward_row<V>(g, y, dx, row * n, length, log_of);
    else backward_row<1>(g, y, dx, row * n, length, log_of);
}

// (outer, n, inner) along n: a thread takes one column, and neighbours read neighbours.
extern "C" __global__ void softmax_across(const T* x, T* y, i64 outer, i64 n, i64 inner, i64 log_of) {
    i64 column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= outer * inner) return;
    i64 start = column / inner * n * inner + column % inner;
    Running r{-infinite<A>(), A(0)};
    for (i64 j = 0; j < n; j++) {
        A v = wide(x[start + j * inner]);
        r.rise(v);
        r.add(v);
    }
    A scale = A(1) / r.total, shift = logarithm(r.total);
    for (i64 j = 0; j < n; j++) {
        A d = wide(x[start + j * inner]) - r.top;
        y[start + j * inner] = narrow<T>(log_of ? d - shift : exponential(d) * scale);
    }
}

extern "C" __global__ void
softmax_across_backward(const T* g, const T* y, T* dx, i64 outer, i64 n, i64 inner, i64 log_of) {
    i64 column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= outer * inner) return;
    i64 start = column / inner * n * inner + column % inner;
    A total = 0;
    for (i64 j = 0; j < n; j++) {
        A a = wide(g[start + j * inner]);
        total += log_of ? a : a * wide(y[start + j * inner]);
    }
    for (i64 j = 0; j < n; j++) {
        A a = wide(g[start + j * inner]), b = wide(y[start + j * inner]);
        dx[start + j * inner] = narrow<T>(log_of ? a - exponential(b) * total : b * (a - total));
    }
}
