// Norms, scaling and clipping of many gradients in one launch. T: their dtype. Block b works on chunk map[2b + 1] of
// array map[2b], whose address is at[map[2b]]. All coefficients are read on the device.
#include "common.cuh"

typedef Wide<T>::type A;
static constexpr int CHUNK = 16384;

// f(values) for packs of the block's chunk; where f says so, they are written back.
template <class F> __device__ __forceinline__ void over_chunk(const Addresses& where, const i32* map, const i64* sizes, F f) {
    constexpr int V = 16 / (int)sizeof(T);
    int t = map[2 * blockIdx.x];
    i64 first = (i64)map[2 * blockIdx.x + 1] * CHUNK, last = min(first + CHUNK, sizes[t]);
    T* g = reinterpret_cast<T*>(where.at[t]);
    bool packs = (u64)g % 16 == 0;
    for (i64 j = first + (i64)threadIdx.x * V; j < last; j += (i64)blockDim.x * V) {
        if (packs && j + V <= last) {
            A v[V];
            load<V>(g + j, v);
            if (f(v)) store<V>(g + j, v);
        } else {
            for (i64 i = j; i < j + V && i < last; i++) {
                A v[1] = {wide(g[i])};
                if (f(v)) g[i] = narrow<T>(v[0]);
            }
        }
    }
}

// Multiplied by *inverse, where there is one; *found becomes 1 where an element was not finite before.
extern "C" __global__ void unscale(const __grid_constant__ Addresses where, const i32* map, const i64* sizes, float* found, const float* inverse) {
    bool bad = false, write = inverse != nullptr;
    A factor = write ? (A)*inverse : (A)1;
    over_chunk(where, map, sizes, [&](auto& v) {
        for (auto& x : v) {
            bad |= !(x - x == 0);
            x = x * factor;
        }
        return write;
    });
    if (bad) *found = 1;  // whoever writes, it is the same
}

// parts[first + b]: the sum of |x|^order of block b (order 2: of squares; 0: of those that are not 0; kind 1: the
// largest |x|, which is NaN where one is).
extern "C" __global__ void norm_parts(
    const __grid_constant__ Addresses where, const i32* map, const i64* sizes, double order, i64 largest, A* parts, i64 first) {
    A total = 0;
    over_chunk(where, map, sizes, [&](auto& v) {
        for (auto x : v) {
            A size = x < 0 ? -x : x;
            if (largest)
                total = size > total || size != size ? size : total;
            else if (order == 2)
                total += size * size;
            else if (order == 1)
                total += size;
            else if (order == 0)
                total += size != 0;
            else
                total += (A)pow((double)size, order);
        }
        return false;
    });
    if (largest)
        total = row_reduce(total, [](A a, A b) { return a > b || a != a ? a : b; });
    else
        total = row_sum(total);
    if (threadIdx.x == 0) parts[first + blockIdx.x] = total;
}

// *norm from the parts, by one block, in the same order each time.
extern "C" __global__ void norm_whole(const A* parts, i64 n, double order, i64 largest, T* norm) {
    A total = 0;
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
        A part = parts[i];
        if (largest)
            total = part > total || part != part ? part : total;
        else
            total += part;
    }
    if (largest)
        total = row_reduce(total, [](A a, A b) { return a > b || a != a ? a : b; });
    else
        total = row_sum(total);
    if (threadIdx.x == 0)
        *norm = narrow<T>(largest || order == 1 || order == 0 ? total : order == 2 ? root(total) : (A)pow((double)total, 1 / order));
}

// Multiplied by *most / (*norm + 1e-6), where that is below 1.
extern "C" __global__ void clip_by_norm(const __grid_constant__ Addresses where, const i32* map, const i64* sizes, const T* norm, double most) {
    A factor = (A)most / (wide(*norm) + (A)1e-6);
    factor = factor < 1 || factor != factor ? factor : (A)1;
    if (factor == 1) return;
    over_chunk(where, map, sizes, [&](auto& v) {
        for (auto& x : v) x = x * factor;
        return true;
    });
}

extern "C" __global__ void clip_by_value(const __grid_constant__ Addresses where, const i32* map, const i64* sizes, double most) {
    A top = (A)most;
    over_chunk(where, map, sizes, [&](auto& v) {
        for (auto& x : v) x = x > top ? top : x < -top ? -top : x;
        return true;
    });
}
