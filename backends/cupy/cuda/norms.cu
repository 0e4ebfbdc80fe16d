// Layer norm and RMS norm over rows of n elements of type T, results of type Y, scale and shift of type W; sums in
// Wide<T>. Forward may first add a residual branch of type B, of which some is dropped; backward then takes the
// gradient that arrives for that sum, too, and gives the branch's.
//
// Forward: a row comes from memory once; the second and third look at it find it in the L1 cache, which reads 16 bytes
// at once where shared memory would hold it as floats. Mean first, then the squares about it: no cancellation. In 16
// bits: 4 bytes for each element, the floor, or 8 with the sum (two read, two written). A float32 stream with branch
// and result in 16 bits: 12, where add, norm and cast one after another move 24.
// Backward: g and x come from memory once, dx is written: 6 bytes, or 8 with the other gradient; 14 (16 with the
// branch's) for a float32 stream. The gradients of scale and shift are summed in shared memory by each block over its rows, and
// over blocks by column_sums, in a fixed order.
// It has not run on a GPU yet.
#include "common.cuh"

typedef typename Wide<T>::type A;
#define V int(16 / sizeof(T))

// Which elements of the branch are kept, by hashes of a seed and their numbers (hashing.py). bound = 0: all.
struct Drop {
    u32 low, high, bound;
    A scale;
    __device__ __forceinline__ Drop(i64 seed, const i64* live, i64 bound_, double scale_)
        : bound((u32)bound_), scale((A)scale_) {
        u64 bits = (u64)(live ? *live : seed);
        low = (u32)bits;
        high = (u32)(bits >> 32);
    }
    __device__ __forceinline__ A of(A x, i64 i) const {
        return !bound ? x : hashed((u32)i, low, high) >= bound ? x * scale : A(0);
    }
};

template <int K>
__device__ __forceinline__ void forward_row(const T* x, const B* other, const W* weight, const W* bias, Y* y, T* sum,
                                            A* mean, A* scale, i64 row, i64 n, i64 length, A eps, bool rms, Drop drop) {
    i64 start = row * n;
    const T* again = (sum ? sum : x) + start;  // each thread comes back to the elements that it wrote
    A total = 0;
    over_row<K>(start, length, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A v[N];
        load<N>(x + start + j, v);
        if (other) {
            A b[N];
            load<N>(other + start + j, b);
#pragma unroll
            for (int i = 0; i < N; i++) v[i] = wide(narrow<T>(v[i] + drop.of(b[i], start + j + i)));  // as `sum` has it
            store<N>(sum + start + j, v);
        }
#pragma unroll
        for (int i = 0; i < N; i++) total += rms ? v[i] * v[i] : v[i];
    });
    A middle = 0, squares = row_sum(total);
    if (!rms) {
        middle = squares / A(n);
        total = 0;
        over_row<K>(start, length, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
            constexpr int N = decltype(count)::value;
            A v[N];
            load<N>(again + j, v);
#pragma unroll
            for (int i = 0; i < N; i++) total += (v[i] - middle) * (v[i] - middle);
        });
        squares = row_sum(total);
    }
    A by = A(1) / root(squares / A(n) + eps);
    over_row<K>(start, length, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A v[N];
        load<N>(again + j, v);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = (v[i] - middle) * by;
        if (weight) {
            A w[N];
            load_any<N>(weight + j, w);
#pragma unroll
            for (int i = 0; i < N; i++) v[i] *= w[i];
        }
        if (bias) {
            A b[N];
            load_any<N>(bias + j, b);
#pragma unroll
            for (int i = 0; i < N; i++) v[i] += b[i];
        }
        store<N>(y + start + j, v);
    });
    if (threadIdx.x == 0 && length) {
        if (!rms) mean[row] = middle;
        scale[row] = by;
    }
}

// other, sum: both or neither. weight, bias: of the row's length, or null. mean (null for RMS norm) and scale: (rows).
extern "C" __global__ void __launch_bounds__(512)
norm_forward(const T* x, const B* other, const W* weight, const W* bias, Y* y, T* sum, A* mean, A* scale, i64 rows,
             i64 n, double eps, i64 rms, i64 seed, const i64* live, i64 bound, double kept, i64 wide_loads) {
    Drop drop(seed, live, bound, kept);
    i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y, length = row < rows ? n : 0;
    if (wide_loads)
        forward_row<V>(x, other, weight, bias, y, sum, mean, scale, row, n, length, (A)eps, rms, drop);
    else
        forward_row<1>(x, other, weight, bias, y, sum, mean, scale, row, n, length, (A)eps, rms, drop);
}

// dx = scale (g w - mean(g w) - xhat mean(g w xhat)) + more, xhat = (x - mean) scale; RMS norm without mean(g w).
template <int K>
__device__ __forceinline__ void backward_rows(const Y* g, const T* x, const W* weight, const A* mean, const A* scale,
                                              const T* more, T* dx, B* branch, i64 rows, i64 n, bool rms, A* dw, A* db,
                                              Drop drop) {
    i64 step = (i64)gridDim.x * blockDim.y, rounds = (rows + step - 1) / step;
    for (i64 k = 0; k < rounds; k++) {
        i64 row = k * step + (i64)blockIdx.x * blockDim.y + threadIdx.y, length = row < rows ? n : 0, start = row * n;
        A middle = rms || !length ? A(0) : mean[row], by = length ? scale[row] : A(0);
        A level = 0, along = 0;
        over_row<K>(start, length, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
            constexpr int N = decltype(count)::value;
            A a[N], v[N], w[N];
            load<N>(g + start + j, a);
            load<N>(x + start + j, v);
            if (weight) load_any<N>(weight + j, w);
#pragma unroll
            for (int i = 0; i < N; i++) {
                A unit = (v[i] - middle) * by, h = weight ? a[i] * w[i] : a[i];
                level += h;
                along += h * unit;
                i64 place = threadIdx.y * n + i * (n / N) + j / N;  // neighbours in neighbouring banks
                if (dw) dw[place] += a[i] * unit;
                if (db) db[place] += a[i];
            }
        });
        level = rms ? A(0) : row_sum(level) / A(n);
        along = row_sum(along) / A(n);
        over_row<K>(start, length, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
            constexpr int N = decltype(count)::value;
            A a[N], v[N], w[N];
            load<N>(g + start + j, a);
            load<N>(x + start + j, v);
            if (weight) load_any<N>(weight + j, w);
#pragma unroll
            for (int i = 0; i < N; i++) {
                A unit = (v[i] - middle) * by, h = weight ? a[i] * w[i] : a[i];
                v[i] = by * (h - level - unit * along);
            }
            if (more) {
                load<N>(more + start + j, a);
#pragma unroll
                for (int i = 0; i < N; i++) v[i] += a[i];
            }
            store<N>(dx + start + j, v);
            if (branch) {
#pragma unroll
                for (int i = 0; i < N; i++) v[i] = drop.of(v[i], start + j + i);
                store<N>(branch + start + j, v);
            }
        });
    }
}

// Block b takes rows b, b + gridDim.x, ... times blockDim.y. dw, db: (gridDim.x, n) sums of its rows, or null. Dynamic
// shared memory: (dw and db there) times rows of a block times n. Packs (wide_loads) only where they divide n: a column
// is then one thread's in all rows.
extern "C" __global__ void __launch_bounds__(512)
norm_backward(const Y* g, const T* x, const W* weight, const A* mean, const A* scale, const T* more, T* dx, B* branch,
              A* dw, A* db, i64 rows, i64 n, i64 rms, i64 seed, const i64* live, i64 bound, double kept,
              i64 wide_loads) {
    Drop drop(seed, live, bound, kept);
    DYNAMIC_SHARED(A, room);
    i64 size = blockDim.y * n;
    A* w = dw ? room : (A*)nullptr;
    A* b = db ? room + (dw ? size : 0) : (A*)nullptr;
    for (i64 i = threadIdx.y * blockDim.x + threadIdx.x; i < size; i += blockDim.x * blockDim.y) {
        if (dw) w[i] = A(0);
        if (db) b[i] = A(0);
    }
    __syncthreads();
    if (wide_loads) backward_rows<V>(g, x, weight, mean, scale, more, dx, branch, rows, n, rms, w, b, drop);
    else backward_rows<1>(g, x, weight, mean, scale, more, dx, branch, rows, n, rms, w, b, drop);
    __syncthreads();
    for (i64 j = threadIdx.y * blockDim.x + threadIdx.x; j < n; j += blockDim.x * blockDim.y) {
        i64 place = wide_loads ? j % V * (n / V) + j / V : j;
        A p = 0, q = 0;
        for (int k = 0; k < blockDim.y; k++) {
            if (dw) p += w[k * n + place];
            if (db) q += b[k * n + place];
        }
        if (dw) dw[blockIdx.x * n + j] = p;
        if (db) db[blockIdx.x * n + j] = q;
    }
}
