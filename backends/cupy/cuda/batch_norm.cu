// Batch norm where cuDNN does not serve. T: dtype of the data; statistics, weight and bias are wide.
//
// Channel c of the data is count = outer·inner numbers: outer stretches of inner neighbours (NCHW), or, under `last`,
// rows of `channels` neighbours (NHWC; then inner is 1). Statistics are Welford's, merged by Chan's formula, so a mean
// that is large beside the deviation costs nothing. Each channel is summed in `parts` shares, merged in order: results
// do not change from run to run.
#include "common.cuh"

typedef Wide<T>::type A;
static constexpr int LONGEST = 16 / (int)sizeof(T), THREADS = 256;

struct Moments { A n, mean, square; };  // square: sum of squared deviations

__device__ __forceinline__ Moments merged(Moments a, Moments b) {
    A n = a.n + b.n;
    if (n == 0) return a;
    A delta = b.mean - a.mean, share = b.n / n;
    return Moments{n, a.mean + delta * share, a.square + b.square + delta * delta * a.n * share};
}

// f(Count<V>, j, i): V neighbours of channel c from element j of the data on, the i-th to (i+V-1)-th of the channel, for
// this thread's packs of share `part`.
template <class F>
__device__ __forceinline__ void over_channel(i64 c, i64 channels, i64 outer, i64 inner, i64 part, i64 parts, i64 packs, F f) {
    i64 step = packs ? LONGEST : 1, total = outer * inner / step, row = inner / step;
    i64 first = total * part / parts, last = total * (part + 1) / parts;
    for (i64 k = first + threadIdx.x; k < last; k += THREADS) {
        i64 j = (k / row * channels + c) * inner + k % row * step;
        if (packs)
            f(Count<LONGEST>(), j);
        else
            f(Count<1>(), j);
    }
}

// parts (parts, 3, channels): count, mean, squared deviations of each share. Grid (channels, parts), 256 threads.
extern "C" __global__ void moments_first(
    const T* x, A* sums, i64 channels, i64 outer, i64 inner, i64 parts, i64 packs) {
    __shared__ Moments all[THREADS];
    i64 c = blockIdx.x;
    Moments mine = {0, 0, 0};
    over_channel(c, channels, outer, inner, blockIdx.y, parts, packs, [&](auto count, i64 j) {
        constexpr int V = decltype(count)::value;
        A v[V];
        load<V>(x + j, v);
        Moments pack = {(A)V, 0, 0};
#pragma unroll
        for (int i = 0; i < V; i++) pack.mean += v[i] / V;
#pragma unroll
        for (int i = 0; i < V; i++) pack.square += (v[i] - pack.mean) * (v[i] - pack.mean);
        mine = merged(mine, pack);
    });
    all[threadIdx.x] = mine;
    for (int half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) all[threadIdx.x] = merged(all[threadIdx.x], all[threadIdx.x + half]);
    }
    if (threadIdx.x == 0) {
        A* out = sums + (i64)blockIdx.y * 3 * channels + c;
        out[0] = all[0].n, out[channels] = all[0].mean, out[2 * channels] = all[0].square;
    }
}

// The same for channels that are neighbours. Grid (tiles of channels, parts), block (lanes, rows), 256 threads, both
// powers of two: a lane has V channels.
template <int V> __device__ __forceinline__ void moments_of_rows(const T* x, A* sums, i64 channels, i64 rows, i64 parts) {
    __shared__ Moments all[THREADS * V];
    i64 c = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * V;
    Moments mine[V] = {};
    if (c < channels) {
        i64 first = rows * blockIdx.y / parts, last = rows * (blockIdx.y + 1) / parts;
        A n = 0;
        for (i64 r = first + threadIdx.y; r < last; r += blockDim.y) {
            A v[V], share = 1 / (n + 1);
            load<V>(x + r * channels + c, v);
#pragma unroll
            for (int i = 0; i < V; i++) {
                A delta = v[i] - mine[i].mean;
                mine[i].mean += delta * share;
                mine[i].square += delta * (v[i] - mine[i].mean);
            }
            n += 1;
        }
#pragma unroll
        for (int i = 0; i < V; i++) mine[i].n = n;
    }
    Moments* at = all + (threadIdx.y * blockDim.x + threadIdx.x) * V;
#pragma unroll
    for (int i = 0; i < V; i++) at[i] = mine[i];
    for (int half = blockDim.y / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half)
            for (int i = 0; i < V; i++) at[i] = merged(at[i], at[half * blockDim.x * V + i]);
    }
    if (threadIdx.y || c >= channels) return;
    for (int i = 0; i < V; i++) {
        A* out = sums + (i64)blockIdx.y * 3 * channels + c + i;
        out[0] = at[i].n, out[channels] = at[i].mean, out[2 * channels] = at[i].square;
    }
}
extern "C" __global__ void moments_last(const T* x, A* sums, i64 channels, i64 rows, i64 parts, i64 packs) {
    if (packs)
        moments_of_rows<LONGEST>(x, sums, channels, rows, parts);
    else
        moments_of_rows<1>(x, sums, channels, rows, parts);
}

// mean and biased variance of each channel from its shares: a warp for a channel, 8 of them in a block
extern "C" __global__ void moments_whole(const A* sums, A* mean, A* var, i64 channels, i64 parts) {
    i64 c = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    Moments mine = {0, 0, 0};
    if (c < channels)
        for (i64 p = threadIdx.x; p < parts; p += 32) {
            const A* at = sums + p * 3 * channels + c;
            mine = merged(mine, Moments{at[0], at[channels], at[2 * channels]});
        }
    for (int offset = 16; offset; offset >>= 1)
        mine = merged(mine, Moments{
            __shfl_xor_sync(0xffffffffu, mine.n, offset), __shfl_xor_sync(0xffffffffu, mine.mean, offset),
            __shfl_xor_sync(0xffffffffu, mine.square, offset)});
    if (threadIdx.x || c >= channels) return;
    mean[c] = mine.mean;
    var[c] = mine.square / mine.n;
}

// f(Count<V>, j, c(i)) for all elements: c(i) is the channel of element j + i.
template <class F>
__device__ __forceinline__ void over_data(i64 n, i64 channels, i64 inner, i64 last, i64 packs, F f) {
    i64 step = packs ? LONGEST : 1, threads = (i64)gridDim.x * blockDim.x;
    for (i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x; k < n / step; k += threads) {
        i64 j = k * step, c = last ? j % channels : j / inner % channels;
        if (packs)
            f(Count<LONGEST>(), j, c);
        else
            f(Count<1>(), j, c);
    }
}

// y = (x - mean) / sqrt(var + eps) * weight + bias [+ other] [positive part]; weight, bias and other may be missing
extern "C" __global__ void normalise(
    const T* x, const A* mean, const A* var, const A* weight, const A* bias, const T* other, T* y, double eps, i64 relu,
    i64 n, i64 channels, i64 inner, i64 last, i64 packs) {
    over_data(n, channels, inner, last, packs, [&](auto count, i64 j, i64 c) {
        constexpr int V = decltype(count)::value;
        A v[V], more[V];
        load<V>(x + j, v);
        if (other) load<V>(other + j, more);
#pragma unroll
        for (int i = 0; i < V; i++) {
            i64 k = last ? c + i : c;
            A out = (v[i] - mean[k]) * (1 / root(var[k] + (A)eps));
            if (weight) out = out * weight[k];
            if (bias) out = out + bias[k];
            if (other) out = out + more[i];
            if (relu) out = out > 0 || out != out ? out : (A)0;
            v[i] = out;
        }
        store<V>(y + j, v);
    });
}

// What comes back through the ReLU, where there is one: nothing where its result is 0.
template <int V>
__device__ __forceinline__ void slopes(const T* g, const T* out, i64 j, A (&v)[V]) {
    load<V>(g + j, v);
    if (!out) return;
    A result[V];
    load<V>(out + j, result);
#pragma unroll
    for (int i = 0; i < V; i++) v[i] = result[i] <= 0 ? (A)0 : v[i];
}

// sums (parts, 2, channels): of the gradient, and of it times x - mean. Grids as those of the moments.
extern "C" __global__ void slopes_first(
    const T* g, const T* out, const T* x, const A* mean, A* sums, i64 channels, i64 outer, i64 inner, i64 parts,
    i64 packs) {
    i64 c = blockIdx.x;
    A total = 0, along = 0, level = mean[c];
    over_channel(c, channels, outer, inner, blockIdx.y, parts, packs, [&](auto count, i64 j) {
        constexpr int V = decltype(count)::value;
        A v[V], slope[V];
        load<V>(x + j, v);
        slopes<V>(g, out, j, slope);
#pragma unroll
        for (int i = 0; i < V; i++) total += slope[i], along += slope[i] * (v[i] - level);
    });
    total = row_sum(total);
    along = row_sum(along);
    if (threadIdx.x == 0) {
        A* at = sums + (i64)blockIdx.y * 2 * channels + c;
        at[0] = total, at[channels] = along;
    }
}

template <int V>
__device__ __forceinline__ void slopes_of_rows(
    const T* g, const T* out, const T* x, const A* mean, A* sums, i64 channels, i64 rows, i64 parts) {
    __shared__ A all[2 * THREADS * V];
    i64 c = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * V;
    A total[V] = {}, along[V] = {};
    if (c < channels) {
        i64 first = rows * blockIdx.y / parts, last = rows * (blockIdx.y + 1) / parts;
        for (i64 r = first + threadIdx.y; r < last; r += blockDim.y) {
            A v[V], slope[V];
            load<V>(x + r * channels + c, v);
            slopes<V>(g, out, r * channels + c, slope);
#pragma unroll
            for (int i = 0; i < V; i++) total[i] += slope[i], along[i] += slope[i] * (v[i] - mean[c + i]);
        }
    }
    A* at = all + (threadIdx.y * blockDim.x + threadIdx.x) * 2 * V;
#pragma unroll
    for (int i = 0; i < V; i++) at[i] = total[i], at[V + i] = along[i];
    for (int half = blockDim.y / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half)
            for (int i = 0; i < 2 * V; i++) at[i] += at[half * blockDim.x * 2 * V + i];
    }
    if (threadIdx.y || c >= channels) return;
    for (int i = 0; i < V; i++) {
        A* to = sums + (i64)blockIdx.y * 2 * channels + c + i;
        to[0] = at[i], to[channels] = at[V + i];
    }
}
extern "C" __global__ void slopes_last(
    const T* g, const T* out, const T* x, const A* mean, A* sums, i64 channels, i64 rows, i64 parts, i64 packs) {
    if (packs)
        slopes_of_rows<LONGEST>(g, out, x, mean, sums, channels, rows, parts);
    else
        slopes_of_rows<1>(g, out, x, mean, sums, channels, rows, parts);
}

// Gradients of weight and bias, and dx = factor·g + slope·(x - mean) + level by channel: factors (3, channels). The
// gradients of mean and variance, where they were used, come in too. A warp for a channel.
extern "C" __global__ void slopes_whole(
    const A* sums, const A* var, const A* weight, const A* g_mean, const A* g_var, A* d_weight, A* d_bias, A* factors,
    double eps, double count, i64 channels, i64 parts) {
    i64 c = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    A total = 0, along = 0;
    if (c < channels)
        for (i64 p = threadIdx.x; p < parts; p += 32) {
            total += sums[p * 2 * channels + c];
            along += sums[(p * 2 + 1) * channels + c];
        }
    total = warp_reduce(total, Add());
    along = warp_reduce(along, Add());
    if (threadIdx.x || c >= channels) return;
    A scale = 1 / root(var[c] + (A)eps), factor = weight ? scale * weight[c] : scale;
    d_weight[c] = along * scale;
    d_bias[c] = total;
    factors[c] = factor;
    factors[channels + c] = ((g_var ? g_var[c] : (A)0) - factor * scale * scale * along / 2) * (A)(2 / count);
    factors[2 * channels + c] = ((g_mean ? g_mean[c] : (A)0) - factor * total) * (A)(1 / count);
}

// dx from the factors; d_other, where it is wanted, is the gradient after the ReLU's mask
extern "C" __global__ void slopes_spread(
    const T* g, const T* out, const T* x, const A* mean, const A* factors, T* dx, T* d_other, i64 n, i64 channels,
    i64 inner, i64 last, i64 packs) {
    over_data(n, channels, inner, last, packs, [&](auto count, i64 j, i64 c) {
        constexpr int V = decltype(count)::value;
        A v[V], slope[V];
        load<V>(x + j, v);
        slopes<V>(g, out, j, slope);
        if (d_other) store<V>(d_other + j, slope);
#pragma unroll
        for (int i = 0; i < V; i++) {
            i64 k = last ? c + i : c;
            v[i] = slope[i] * factors[k] + (v[i] - mean[k]) * factors[channels + k] + factors[2 * channels + k];
        }
        if (dx) store<V>(dx + j, v);
    });
}
