// What all kernels share: types, loads of 16 bytes, reductions within the threads of a row, random bits.
//
// half_t and bfloat_t are storage only: wide() makes a float of them, narrow<T>() rounds to the nearest even. They
// stand here so that no header of CUDA's is needed. Sums are of type Wide<T>: float, or double for double.
#pragma once

typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct Addresses { u64 at[480]; };  // launch.py

struct half_t { u16 bits; };
struct bfloat_t { u16 bits; };

#ifndef CHAINRULE_SIMULATION
#define ALIGNED_TO(pointer, bytes)
#define DYNAMIC_SHARED(type, name)                         \
    extern __shared__ __align__(16) u8 dynamic_shared[];   \
    type* name = reinterpret_cast<type*>(dynamic_shared)

__device__ __forceinline__ float half_to_float(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
__device__ __forceinline__ u16 float_to_half(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

__device__ __forceinline__ u16 float_to_bfloat(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    u16 bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    u32 bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;  // NaN
    return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

// -- numbers ----------------------------------------------------------------------------------------------------------

template <class T> struct Wide { typedef float type; };
template <> struct Wide<double> { typedef double type; };

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ double wide(double x) { return x; }
__device__ __forceinline__ float wide(half_t x) { return half_to_float(x.bits); }
__device__ __forceinline__ float wide(bfloat_t x) { return __uint_as_float((u32)x.bits << 16); }

template <class T> struct Narrow;
template <> struct Narrow<float> {
    static __device__ __forceinline__ float of(float x) { return x; }
};
template <> struct Narrow<double> {
    static __device__ __forceinline__ double of(double x) { return x; }
};
template <> struct Narrow<half_t> {
    static __device__ __forceinline__ half_t of(float x) { return half_t{float_to_half(x)}; }
};
template <> struct Narrow<bfloat_t> {
    static __device__ __forceinline__ bfloat_t of(float x) { return bfloat_t{float_to_bfloat(x)}; }
};
template <class T> __device__ __forceinline__ T narrow(typename Wide<T>::type x) { return Narrow<T>::of(x); }

__device__ __forceinline__ float infinity(float) { return __uint_as_float(0x7f800000u); }
__device__ __forceinline__ double infinity(double) { return (double)__uint_as_float(0x7f800000u); }
template <class A> __device__ __forceinline__ A infinite() { return infinity(A()); }
template <class A> __device__ __forceinline__ A not_a_number() { return (A)__uint_as_float(0x7fc00000u); }

// One name for both precisions.
__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ float logarithm(float x) { return logf(x); }
__device__ __forceinline__ double logarithm(double x) { return log(x); }
__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }
__device__ __forceinline__ float hyperbolic_tangent(float x) { return tanhf(x); }
__device__ __forceinline__ double hyperbolic_tangent(double x) { return tanh(x); }
__device__ __forceinline__ float error_function(float x) { return erff(x); }
__device__ __forceinline__ double error_function(double x) { return erf(x); }
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ double larger(double a, double b) { return fmax(a, b); }
__device__ __forceinline__ bool is_nan(float x) { return x != x; }
__device__ __forceinline__ bool is_nan(double x) { return x != x; }

// -- memory -----------------------------------------------------------------------------------------------------------

template <class T, int N> struct __align__(sizeof(T) * N) Pack { T at[N]; };

// N neighbours as wide numbers. `p` must be a multiple of their size; with N = 1 it always is.
template <int N, class T> __device__ __forceinline__ void load(const T* p, typename Wide<T>::type (&v)[N]) {
    ALIGNED_TO(p, sizeof(T) * N);
    Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(p);
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = wide(pack.at[i]);
}

template <int N, class T> __device__ __forceinline__ void store(T* p, const typename Wide<T>::type (&v)[N]) {
    ALIGNED_TO(p, sizeof(T) * N);
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++) pack.at[i] = narrow<T>(v[i]);
    *reinterpret_cast<Pack<T, N>*>(p) = pack;
}

// As `load`, from wherever `p` points, and converted to A.
template <int N, class T, class A> __device__ __forceinline__ void load_any(const T* p, A (&v)[N]) {
    typename Wide<T>::type w[N];
    if ((u64)p % (sizeof(T) * N) == 0) {
        load<N>(p, w);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) w[i] = wide(p[i]);
    }
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = (A)w[i];
}

template <int N> struct Count { static constexpr int value = N; };

// f(Count<V>, j) for the packs of V elements of a row and f(Count<1>, j) for the rest, j the first of them. The threads
// `thread` of `threads` share the row. `start`: number of the row's first element in an array whose memory begins at a
// multiple of V elements, so packs are aligned whatever the length of rows.
template <int V, class F>
__device__ __forceinline__ void over_row(i64 start, i64 n, i64 thread, i64 threads, F f) {
    i64 head = V == 1 ? 0 : (V - start % V) % V;
    if (head > n) head = n;
    i64 packs = (n - head) / V, tail = head + packs * V, rest = head + n - tail;
    for (i64 k = thread; k < packs; k += threads) f(Count<V>(), head + k * V);
    if (V > 1)
        for (i64 k = thread; k < rest; k += threads) f(Count<1>(), k < head ? k : tail + k - head);
}

// The same for all elements of an array, shared by all threads of a grid of any size.
template <int V, class F> __device__ __forceinline__ void over_all(i64 n, F f) {
    over_row<V>(0, n, (i64)blockIdx.x * blockDim.x + threadIdx.x, (i64)gridDim.x * blockDim.x, f);
}

// -- reductions -------------------------------------------------------------------------------------------------------
// A row belongs to the threads of one threadIdx.y; blockDim.x is a multiple of 32. All threads of a block must call.

struct Add { template <class A> __device__ __forceinline__ A operator()(A a, A b) const { return a + b; } };
struct Larger { template <class A> __device__ __forceinline__ A operator()(A a, A b) const { return larger(a, b); } };

template <class A, class F> __device__ __forceinline__ A warp_reduce(A v, F combine) {
#pragma unroll
    for (int offset = 16; offset; offset >>= 1) v = combine(v, __shfl_xor_sync(0xffffffffu, v, offset));
    return v;
}

template <class A, class F> __device__ __forceinline__ A row_reduce(A v, F combine) {
    v = warp_reduce(v, combine);
    if (blockDim.x > 32) {
        __shared__ A parts[32];
        int warps = blockDim.x / 32;
        A* row = parts + threadIdx.y * warps;
        __syncthreads();  // what was reduced before has been read
        if (threadIdx.x % 32 == 0) row[threadIdx.x / 32] = v;
        __syncthreads();
        v = row[0];
        for (int i = 1; i < warps; i++) v = combine(v, row[i]);
    }
    return v;
}
template <class A> __device__ __forceinline__ A row_sum(A v) { return row_reduce(v, Add()); }
template <class A> __device__ __forceinline__ A row_max(A v) { return row_reduce(v, Larger()); }

// -- random bits ------------------------------------------------------------------------------------------------------

// As backends/hashing.py: 32 bits from the number of an element and the two halves of a seed.
__device__ __forceinline__ u32 hashed(u32 index, u32 low, u32 high) {
    index *= 0x9E3779B1u;
    index ^= low;
    index ^= index >> 16;
    index *= 0x7FEB352Du;
    index ^= high;
    index ^= index >> 15;
    index *= 0x846CA68Bu;
    index ^= index >> 16;
    return index;
}

// As backends/philox.py: Philox4x32-10 of the counter (position, 0).
struct Words { u32 at[4]; };
__device__ __forceinline__ Words philox(u64 position, u64 key) {
    u32 c0 = (u32)position, c1 = (u32)(position >> 32), c2 = 0, c3 = 0, k0 = (u32)key, k1 = (u32)(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 p = (u64)c0 * 0xD2511F53u, q = (u64)c2 * 0xCD9E8D57u;
        c0 = (u32)(q >> 32) ^ c1 ^ k0;
        c1 = (u32)q;
        c2 = (u32)(p >> 32) ^ c3 ^ k1;
        c3 = (u32)p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return Words{{c0, c1, c2, c3}};
}
