// Group norm (and instance norm, with one channel to a group): rows of n = channels of a group times `inner` elements,
// type T; scale and shift of each channel, type W. Sums in Wide<T>.
//
// A row comes from memory once in forward and once (g and x) in backward for the input's gradient, as in norms.cu; the
// gradients of scale and shift read g and x once more: 4 bytes for each element of 16 bits forward, 6 + 4 backward.
// It has not run on a GPU yet.
#include "common.cuh"

typedef typename Wide<T>::type A;
#define V int(16 / sizeof(T))

// Scale or shift of the elements of a row, by their channels.
struct Channels {
    const W* vector;  // of this row's group, or null
    i64 inner;
    template <int N> __device__ __forceinline__ void get(i64 j, A (&w)[N], A otherwise) const {
        if (N > 1 && inner % N == 0) {  // one channel for the pack
            A one = vector ? (A)wide(vector[j / inner]) : otherwise;
#pragma unroll
            for (int i = 0; i < N; i++) w[i] = one;
        } else {
#pragma unroll
            for (int i = 0; i < N; i++) w[i] = vector ? (A)wide(vector[(j + i) / inner]) : otherwise;
        }
    }
};

template <int K>
__device__ __forceinline__ void forward_row(const T* x, Channels weight, Channels bias, T* y, A* mean, A* scale,
                                            i64 row, i64 n, i64 length, A eps) {
    i64 start = row * n;
    A total = 0;
    over_row<K>(start, length, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A v[N];
        load<N>(x + start + j, v);
#pragma unroll
        for (int i = 0; i < N; i++) total += v[i];
    });
    A middle = row_sum(total) / A(n);
    total = 0;
    over_row<K>(start, length, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A v[N];
        load<N>(x + start + j, v);
#pragma unroll
        for (int i = 0; i < N; i++) total += (v[i] - middle) * (v[i] - middle);
    });
    A by = A(1) / root(row_sum(total) / A(n) + eps);
    over_row<K>(start, length, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A v[N], w[N], b[N];
        load<N>(x + start + j, v);
        weight.get<N>(j, w, A(1));
        bias.get<N>(j, b, A(0));
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = (v[i] - middle) * by * w[i] + b[i];
        store<N>(y + start + j, v);
    });
    if (threadIdx.x == 0 && length) {
        mean[row] = middle;
        scale[row] = by;
    }
}

__device__ __forceinline__ const W* of_group(const W* vector, i64 row, i64 groups, i64 channels) {
    return vector ? vector + row % groups * channels : vector;
}

// rows = examples * groups; `channels` of a group. weight, bias: of all channels, or null.
extern "C" __global__ void __launch_bounds__(512)
group_forward(const T* x, const W* weight, const W* bias, T* y, A* mean, A* scale, i64 rows, i64 groups, i64 channels,
              i64 inner, double eps, i64 wide_loads) {
    i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y, n = channels * inner, length = row < rows ? n : 0;
    Channels w{of_group(weight, row, groups, channels), inner}, b{of_group(bias, row, groups, channels), inner};
    if (wide_loads) forward_row<V>(x, w, b, y, mean, scale, row, n, length, (A)eps);
    else forward_row<1>(x, w, b, y, mean, scale, row, n, length, (A)eps);
}

template <int K>
__device__ __forceinline__ void backward_row(const T* g, const T* x, Channels weight, A middle, A by, T* dx, i64 start,
                                             i64 n, i64 length) {
    A level = 0, along = 0;
    over_row<K>(start, length, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A a[N], v[N], w[N];
        load<N>(g + start + j, a);
        load<N>(x + start + j, v);
        weight.get<N>(j, w, A(1));
#pragma unroll
        for (int i = 0; i < N; i++) {
            level += a[i] * w[i];
            along += a[i] * w[i] * ((v[i] - middle) * by);
        }
    });
    level = row_sum(level) / A(n);
    along = row_sum(along) / A(n);
    over_row<K>(start, length, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A a[N], v[N], w[N];
        load<N>(g + start + j, a);
        load<N>(x + start + j, v);
        weight.get<N>(j, w, A(1));
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = by * (a[i] * w[i] - level - (v[i] - middle) * by * along);
        store<N>(dx + start + j, v);
    });
}

// dx = scale (g w - mean(g w) - xhat mean(g w xhat)), xhat = (x - mean) scale
extern "C" __global__ void __launch_bounds__(512)
group_backward(const T* g, const T* x, const W* weight, const A* mean, const A* scale, T* dx, i64 rows, i64 groups,
               i64 channels, i64 inner, i64 wide_loads) {
    i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y, n = channels * inner, length = row < rows ? n : 0;
    Channels w{of_group(weight, row, groups, channels), inner};
    A middle = length ? mean[row] : A(0), by = length ? scale[row] : A(0);
    if (wide_loads) backward_row<V>(g, x, w, middle, by, dx, row * n, n, length);
    else backward_row<1>(g, x, w, middle, by, dx, row * n, n, length);
}

// A block for each channel and each share of the examples: dw[share, channel] = sum(g xhat), db = sum(g).
extern "C" __global__ void __launch_bounds__(256)
group_vectors(const T* g, const T* x, const A* mean, const A* scale, A* dw, A* db, i64 examples, i64 groups,
              i64 channels, i64 inner) {
    i64 all = groups * channels, c = blockIdx.x;
    A p = 0, q = 0;
    for (i64 e = blockIdx.y; e < examples; e += gridDim.y) {
        i64 row = e * groups + c / channels, start = (e * all + c) * inner;
        A middle = mean[row], by = scale[row];
        for (i64 j = threadIdx.x; j < inner; j += blockDim.x) {
            A a = wide(g[start + j]);
            p += a * ((wide(x[start + j]) - middle) * by);
            q += a;
        }
    }
    p = row_sum(p);
    q = row_sum(q);
    if (threadIdx.x) return;
    dw[blockIdx.y * all + c] = p;
    db[blockIdx.y * all + c] = q;
}
