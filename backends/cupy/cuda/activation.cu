// Activations with a bias before them, and their gradients, in T; computed in Wide<T> and rounded once.
//
// 2 bytes in and 2 out for each element of 16 bits, backward 4 in and 2 out: the floor. As single operations of CuPy,
// GELU by tanh reads and writes each element nine times, and its gradient more. It has not run on a GPU yet.
#include "common.cuh"

typedef typename Wide<T>::type A;
enum Kind { RELU, GELU, GELU_TANH, SILU, SIGMOID, TANH };

__device__ __forceinline__ A sigmoid(A x) { return A(1) / (A(1) + exponential(-x)); }
__device__ __forceinline__ A inner(A x) { return A(0.7978845608028654) * (x + A(0.044715) * (x * x * x)); }

__device__ __forceinline__ A value(A x, int kind) {
    switch (kind) {
        case RELU: return x < A(0) ? A(0) : x;  // NaN stays
        case GELU: return x * (A(0.5) * (error_function(x * A(0.7071067811865476)) + A(1)));
        case GELU_TANH: return A(0.5) * x * (A(1) + hyperbolic_tangent(inner(x)));
        case SILU: return x * sigmoid(x);
        case SIGMOID: return sigmoid(x);
        default: return hyperbolic_tangent(x);
    }
}

// The derivative; `x` is the result for RELU, SIGMOID and TANH, the input for the others.
__device__ __forceinline__ A slope(A x, int kind) {
    switch (kind) {
        case RELU: return x <= A(0) ? A(0) : A(1);
        case GELU: {
            A area = A(0.5) * (error_function(x * A(0.7071067811865476)) + A(1));
            return area + x * (exponential(x * x * A(-0.5)) * A(0.3989422804014327));
        }
        case GELU_TANH: {
            A t = hyperbolic_tangent(inner(x)), inside = A(0.7978845608028654) * (A(1) + A(0.134145) * (x * x));
            return A(0.5) * (A(1) + t) + A(0.5) * x * (A(1) - t * t) * inside;
        }
        case SILU: {
            A s = sigmoid(x);
            return s * (A(1) + x * (A(1) - s));
        }
        case SIGMOID: return x * (A(1) - x);
        default: return A(1) - x * x;
    }
}

template <int N> __device__ __forceinline__ void add_bias(A (&v)[N], const T* bias, i64 i, i64 columns) {
    if (!bias) return;
    i64 j = i % columns;
    A b[N];
    if (N == 1 || columns % N == 0) {
        load_any<N>(bias + j, b);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] += b[k];
    } else {
#pragma unroll
        for (int k = 0; k < N; k++) v[k] += wide(bias[(j + k) % columns]);
    }
}

template <int W>
__device__ __forceinline__ void forward(const T* x, const T* bias, T* y, i64 n, i64 columns, int kind) {
    over_all<W>(n, [&](auto count, i64 i) {
        constexpr int N = decltype(count)::value;
        A v[N];
        load<N>(x + i, v);
        add_bias(v, bias, i, columns);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = value(v[k], kind);
        store<N>(y + i, v);
    });
}

// y = f(x + bias), the bias (or null) over the last `columns` elements
extern "C" __global__ void __launch_bounds__(256)
activation_forward(const T* x, const T* bias, T* y, i64 n, i64 columns, i64 kind, i64 wide_loads) {
    if (wide_loads) forward<int(16 / sizeof(T))>(x, bias, y, n, columns, (int)kind);
    else forward<1>(x, bias, y, n, columns, (int)kind);
}

template <int W>
__device__ __forceinline__ void backward(const T* g, const T* x, const T* bias, T* dx, i64 n, i64 columns, int kind) {
    over_all<W>(n, [&](auto count, i64 i) {
        constexpr int N = decltype(count)::value;
        A v[N], a[N];
        load<N>(x + i, v);
        load<N>(g + i, a);
        add_bias(v, bias, i, columns);
#pragma unroll
        for (int k = 0; k < N; k++) {
            A s = slope(v[k], kind);
            a[k] = kind == RELU && s == A(0) ? A(0) : a[k] * s;  // zero, whatever arrives
        }
        store<N>(dx + i, a);
    });
}

extern "C" __global__ void __launch_bounds__(256)
activation_backward(const T* g, const T* x, const T* bias, T* dx, i64 n, i64 columns, i64 kind, i64 wide_loads) {
    if (wide_loads) backward<int(16 / sizeof(T))>(g, x, bias, dx, n, columns, (int)kind);
    else backward<1>(g, x, bias, dx, n, columns, (int)kind);
}
