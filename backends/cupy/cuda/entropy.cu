// Cross entropy of class indices: logits x of type T in rows of n classes (or across: (outer, n, inner)), targets of
// type I, losses of type L; sums in Wide<T>.
//
// Forward goes over the logits once: maximum and sum of exponentials grow together (online softmax; M. Milakov and
// N. Gimelshein, arXiv 1805.02867), and keeps one number for each row, log(sum(exp)). Backward goes over them once more
// and writes the gradient. With logits of 16 bits that is 2 + (2 + 2) = 6 bytes for each, the floor; log_softmax,
// gather and their gradients one after another move 32. Turned down: writing the gradient in forward, for 4 bytes: the
// factor that backward brings (a loss scale) must come in before float16 rounds.
//
// A target that is no class makes its loss and its gradient NaN: nobody waits for a device to find it.
// It has not run on a GPU yet.
#include "common.cuh"

typedef typename Wide<T>::type A;
#define V int(16 / sizeof(T))

// With label smoothing e, a row's loss is
// (1 - e) w[t] (lse - x[t]) + e / n (sum(w) lse - sum(w x)), w = 1 without weights.
struct Row {
    A top, total, along, weights;  // maximum, sum of exponentials, sum of w x, sum of w
    __device__ __forceinline__ void add(A x) {
        if (x > top) {
            total *= exponential(top - x);
            top = x;
        }
        if (top > -infinite<A>()) total += exponential(x - top);
        else if (is_nan(x)) total = x;
    }
    __device__ __forceinline__ void add(A x, const A* weight, i64 j) {
        add(x);
        A w = weight ? weight[j] : A(1);
        along += w * x;
        weights += w;
    }
};

// A row's loss. `t` is a class, or any other number for NaN.
template <class X>
__device__ __forceinline__ A loss_of(const Row& r, A lse, X at, i64 t, i64 n, const A* weight, A smooth) {
    if (t < 0 || t >= n) return not_a_number<A>();
    A loss = (A(1) - smooth) * (weight ? weight[t] : A(1)) * (lse - at(t));
    if (smooth > A(0)) loss += smooth / A(n) * (r.weights * lse - r.along);
    return loss;
}

template <int W>
__device__ __forceinline__ Row row_of(const T* x, const A* weight, i64 start, i64 n, bool smooth) {
    Row r{-infinite<A>(), A(0), A(0), A(0)};
    over_row<W>(start, n, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A v[N];
        load<N>(x + start + j, v);
        A most = v[0];
#pragma unroll
        for (int i = 1; i < N; i++) most = larger(most, v[i]);
        if (most > r.top) {
            r.total *= exponential(r.top - most);
            r.top = most;
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (smooth) r.add(v[i], weight, j + i);
            else r.add(v[i]);
        }
    });
    A top = row_max(r.top);
    r.total = row_sum(r.top > -infinite<A>() || is_nan(r.total) ? r.total * exponential(r.top - top) : A(0));
    r.top = top;
    if (smooth) {
        r.along = row_sum(r.along);
        r.weights = row_sum(r.weights);
    }
    return r;
}

// loss and lse: one number for each row. weight: of each class, or null.
extern "C" __global__ void __launch_bounds__(512)
entropy_forward(const T* x, const I* target, const A* weight, A* loss, A* lse, i64 rows, i64 n, i64 ignored,
                double smoothing, i64 wide_loads) {
    i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    i64 t = row < rows ? (i64)target[row] : ignored;
    i64 length = t == ignored ? 0 : n;  // an ignored row is not read
    A smooth = (A)smoothing;
    Row r = wide_loads ? row_of<V>(x, weight, row * n, length, smooth > A(0))
                       : row_of<1>(x, weight, row * n, length, smooth > A(0));
    if (threadIdx.x || row >= rows) return;
    A level = r.top + logarithm(r.total);
    lse[row] = level;
    loss[row] = t == ignored ? A(0)
                             : loss_of(r, level, [&](i64 j) { return wide(x[row * n + j]); }, t, n, weight, smooth);
}

// The same for (outer, n, inner): a thread takes one column, and neighbours read neighbours.
extern "C" __global__ void
entropy_across(const T* x, const I* target, const A* weight, A* loss, A* lse, i64 outer, i64 n, i64 inner, i64 ignored,
               double smoothing) {
    i64 column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= outer * inner) return;
    i64 start = column / inner * n * inner + column % inner, t = (i64)target[column];
    A smooth = (A)smoothing;
    if (t == ignored) {
        lse[column] = loss[column] = A(0);
        return;
    }
    Row r{-infinite<A>(), A(0), A(0), A(0)};
    for (i64 j = 0; j < n; j++) {
        A v = wide(x[start + j * inner]);
        if (smooth > A(0)) r.add(v, weight, j);
        else r.add(v);
    }
    A level = r.top + logarithm(r.total);
    lse[column] = level;
    loss[column] = loss_of(r, level, [&](i64 j) { return wide(x[start + j * inner]); }, t, n, weight, smooth);
}

// out = sum(loss), or sum(loss) / count where `mean`; count = the sum of the targets' weights, which backward divides
// by, too. By one block, or by several into `parts` (two for each), which entropy_finish adds up.
__device__ __forceinline__ void finish(double total, double weights, L* out, A* count, i64 mean) {
    *count = mean ? (A)weights : A(1);
    *out = narrow<L>((typename Wide<L>::type)(mean ? total / weights : total));
}

extern "C" __global__ void __launch_bounds__(1024)
entropy_total(const A* loss, const I* target, const A* weight, L* out, A* count, double* parts, i64 rows, i64 n,
              i64 ignored, i64 mean) {
    double total = 0, weights = 0;
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < rows; i += step) {
        i64 t = (i64)target[i];
        total += (double)loss[i];
        if (t != ignored) weights += t < 0 || t >= n ? not_a_number<double>() : weight ? (double)weight[t] : 1.0;
    }
    total = row_sum(total);
    weights = row_sum(weights);
    if (threadIdx.x) return;
    if (gridDim.x == 1) return finish(total, weights, out, count, mean);
    parts[2 * blockIdx.x] = total;
    parts[2 * blockIdx.x + 1] = weights;
}

// One block with a thread or more for each part.
extern "C" __global__ void __launch_bounds__(1024)
entropy_finish(const double* parts, i64 n, L* out, A* count, i64 mean) {
    double total = row_sum(threadIdx.x < n ? parts[2 * threadIdx.x] : 0.0);
    double weights = row_sum(threadIdx.x < n ? parts[2 * threadIdx.x + 1] : 0.0);
    if (threadIdx.x == 0) finish(total, weights, out, count, mean);
}

// What a row's gradient is made of: p (exp(x - lse)) times `scale`, minus `level` times w, minus `at` for the target.
struct Slope { A scale, level, at; };
__device__ __forceinline__ Slope slope_of(A g, i64 t, i64 n, const A* weight, A weights, A smooth) {
    if (t < 0 || t >= n) return Slope{not_a_number<A>(), A(0), A(0)};
    A share = (A(1) - smooth) * (weight ? weight[t] : A(1)), level = smooth / A(n);
    return Slope{g * (share + level * weights), g * level, g * share};
}

template <int W>
__device__ __forceinline__ void backward_row(const T* x, T* dx, const A* weight, i64 start, i64 n, A lse, Slope s,
                                             i64 t, bool kept) {
    over_row<W>(start, n, threadIdx.x, blockDim.x, [&](auto count, i64 j) {
        constexpr int N = decltype(count)::value;
        A v[N] = {};
        if (kept) {
            load<N>(x + start + j, v);
#pragma unroll
            for (int i = 0; i < N; i++) {
                v[i] = exponential(v[i] - lse) * s.scale;
                if (s.level != A(0)) v[i] -= s.level * (weight ? weight[j + i] : A(1));
                if (j + i == t) v[i] -= s.at;
            }
        }
        store<N>(dx + start + j, v);
    });
}

// g: one number, or with `each` one for each row. dx may be x itself.
extern "C" __global__ void __launch_bounds__(512)
entropy_backward(const L* g, const T* x, const I* target, const A* weight, const A* lse, const A* count, T* dx,
                 i64 rows, i64 n, i64 ignored, double smoothing, i64 each, i64 wide_loads) {
    i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    A smooth = (A)smoothing, weights = A(n);
    if (smooth > A(0) && weight) {
        weights = 0;
        for (i64 j = threadIdx.x; j < n; j += blockDim.x) weights += weight[j];
        weights = row_sum(weights);
    }
    if (row >= rows) return;
    i64 t = (i64)target[row];
    Slope s = slope_of((A)wide(g[each ? row : 0]) / *count, t, n, weight, weights, smooth);
    if (wide_loads) backward_row<V>(x, dx, weight, row * n, n, lse[row], s, t, t != ignored);
    else backward_row<1>(x, dx, weight, row * n, n, lse[row], s, t, t != ignored);
}

extern "C" __global__ void
entropy_across_backward(const L* g, const T* x, const I* target, const A* weight, const A* lse, const A* count, T* dx,
                        i64 outer, i64 n, i64 inner, i64 ignored, double smoothing, i64 each) {
    i64 column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= outer * inner) return;
    i64 start = column / inner * n * inner + column % inner, t = (i64)target[column];
    A smooth = (A)smoothing, weights = A(n);
    if (smooth > A(0) && weight) {
        weights = 0;
        for (i64 j = 0; j < n; j++) weights += weight[j];
    }
    Slope s = slope_of((A)wide(g[each ? column : 0]) / *count, t, n, weight, weights, smooth);
    for (i64 j = 0; j < n; j++) {
        i64 k = start + j * inner;
        A v = 0;
        if (t != ignored) {
            v = exponential(wide(x[k]) - lse[column]) * s.scale - s.level * (weight ? weight[j] : A(1));
            if (j == t) v -= s.at;
        }
        dx[k] = narrow<T>(v);
    }
}

// nll_loss: -w[t] x[t] of each target, x (outer, n, inner); a target that is no class gives NaN.
extern "C" __global__ void __launch_bounds__(256)
picked_forward(const T* x, const I* target, const A* weight, A* loss, i64 outer, i64 n, i64 inner, i64 ignored) {
    i64 column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= outer * inner) return;
    i64 t = (i64)target[column];
    if (t == ignored) loss[column] = A(0);
    else if (t < 0 || t >= n) loss[column] = not_a_number<A>();
    else loss[column] = -(weight ? weight[t] : A(1)) * wide(x[(column / inner * n + t) * inner + column % inner]);
}

// dx: -g w[t] at the targets, 0 elsewhere; each element is written once.
extern "C" __global__ void __launch_bounds__(256)
picked_backward(const L* g, const I* target, const A* weight, const A* count, T* dx, i64 outer, i64 n, i64 inner,
                i64 ignored, i64 each) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x; e < outer * n * inner; e += step) {
        i64 column = e / (n * inner) * inner + e % inner, j = e / inner % n, t = (i64)target[column];
        A v = 0;
        if (t != ignored) {
            if (t < 0 || t >= n) v = not_a_number<A>();
            else if (j == t) v = -(weight ? weight[t] : A(1)) * (A)wide(g[each ? column : 0]) / *count;
        }
        dx[e] = narrow<T>(v);
    }
}
