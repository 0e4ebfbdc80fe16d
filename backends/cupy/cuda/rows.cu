// Rows and elements picked and added up by indices of type I: embedding, gather, scatter_add, index_add and gradients.
//
// Sums are made in Wide<T> (a table of floats for 16 bits, rounded once at the end) by atomic additions, in any order;
// or, where results must repeat, by adding up sorted runs in the order of the indices. Negative indices count from the
// end. An index out of range reads NaN and adds nothing: while a step is captured nobody checks it before.
// Picking moves each element once in and once out, the floor; adding 8 bytes for float32, whose sums meet in the L2
// cache. It has not run on a GPU yet.
#include "common.cuh"

typedef typename Wide<T>::type A;

__device__ __forceinline__ i64 position(i64 i, i64 n) {
    if (i < 0) i += n;
    return i >= 0 && i < n ? i : -1;
}

template <int V> __device__ __forceinline__ void copy_row(const T* from, T* to, i64 n) {
    for (i64 j = (i64)threadIdx.x * V; j < n; j += blockDim.x * V)
        *reinterpret_cast<Pack<T, V>*>(to + j) = *reinterpret_cast<const Pack<T, V>*>(from + j);
}

// out (outer, count, n) = x (outer, rows, n) at index (count); threads in a row for a row. wide_loads: n is packs.
extern "C" __global__ void __launch_bounds__(512)
take_rows(const T* x, const I* index, T* out, i64 outer, i64 count, i64 rows, i64 n, i64 wide_loads) {
    i64 place = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (place >= outer * count) return;
    i64 r = position((i64)index[place % count], rows);
    const T* from = x + (place / count * rows + r) * n;
    T* to = out + place * n;
    if (r < 0)
        for (i64 j = threadIdx.x; j < n; j += blockDim.x) to[j] = narrow<T>(not_a_number<A>());
    else if (wide_loads) copy_row<int(16 / sizeof(T))>(from, to, n);
    else copy_row<1>(from, to, n);
}

#define OVER(total)                                                                                     \
    for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x, step = (i64)gridDim.x * blockDim.x; e < (total); e += step)

// table (outer, rows, n) += source (outer, count, n) at index (count), without the rows of index `skipped`
extern "C" __global__ void __launch_bounds__(256)
add_rows(const T* source, const I* index, A* table, i64 outer, i64 count, i64 rows, i64 n, i64 skipped) {
    OVER(outer * count * n) {
        i64 place = e / n, r = position((i64)index[place % count], rows);
        if (r >= 0 && r != skipped) atomicAdd(table + (place / count * rows + r) * n + e % n, wide(source[e]));
    }
}

// The same in the order of the indices, onto T: `sorted` are positions in ascending order (stable), `order` where each
// came from. A block for each place and each of `outer`: it adds up the run that begins there.
extern "C" __global__ void __launch_bounds__(256)
add_sorted_rows(const T* source, const i64* sorted, const i64* order, T* table, i64 count, i64 rows, i64 n,
                i64 skipped) {
    i64 first = blockIdx.x % count, outer = blockIdx.x / count, r = sorted[first];
    if (r < 0 || r >= rows || r == skipped || (first && sorted[first - 1] == r)) return;
    const T* from = source + outer * count * n;
    T* to = table + (outer * rows + r) * n;
    for (i64 j = threadIdx.x; j < n; j += blockDim.x) {
        A total = wide(to[j]);
        for (i64 k = first; k < count && sorted[k] == r; k++) total += wide(from[order[k] * n + j]);
        to[j] = narrow<T>(total);
    }
}

// out (outer, places, inner) = x (outer, length, inner) at index (outer, places, inner) along the middle
extern "C" __global__ void __launch_bounds__(256)
gather_along(const T* x, const I* index, T* out, i64 outer, i64 length, i64 places, i64 inner) {
    OVER(outer * places * inner) {
        i64 r = position((i64)index[e], length);
        out[e] = r < 0 ? narrow<T>(not_a_number<A>()) : x[(e / (places * inner) * length + r) * inner + e % inner];
    }
}

// table (outer, length, inner) += source (outer, places, inner) at index, as gather_along reads
extern "C" __global__ void __launch_bounds__(256)
add_along(const T* source, const I* index, A* table, i64 outer, i64 length, i64 places, i64 inner) {
    OVER(outer * places * inner) {
        i64 r = position((i64)index[e], length);
        if (r >= 0) atomicAdd(table + (e / (places * inner) * length + r) * inner + e % inner, wide(source[e]));
    }
}
