// Max pooling in one to three dimensions, its gradient and the gradient of that. T: dtype; I: dtype of the numbers that
// tell a place in the window. Arrays lie as (outer, D, H, W, inner): NCHW has inner 1 and outer N·C, NHWC has inner C.
//
// A thread has V neighbours along `inner`, 16 bytes where that fits, else one element. What NumPy's forward says holds:
// the first maximum wins, a NaN wins over every number, and the last of several.
#include "common.cuh"

typedef Wide<T>::type A;
static constexpr int LONGEST = 16 / (int)sizeof(T);

struct Place { i64 outer, d, h, w; };

// Where element j of (outer, D, H, W) is.
__device__ __forceinline__ Place place_of(i64 j, i64 h, i64 w, i64 d) {
    Place at;
    at.w = j % w, j /= w;
    at.h = j % h, j /= h;
    at.d = j % d, at.outer = j / d;
    return at;
}

// f(Count<V>, j, c): the elements c to c + V - 1 of pixel j, over all pixels and channels.
template <class F> __device__ __forceinline__ void over_pixels(i64 pixels, i64 inner, i64 packs, F f) {
    i64 threads = (i64)gridDim.x * blockDim.x, first = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (packs) {
        i64 row = inner / LONGEST;
        for (i64 i = first; i < pixels * row; i += threads) f(Count<LONGEST>(), i / row, i % row * LONGEST);
    } else {
        for (i64 i = first; i < pixels * inner; i += threads) f(Count<1>(), i / inner, i % inner);
    }
}

#define WINDOW                                                                                                     \
    i64 outer, i64 inner, i64 nd, i64 nh, i64 nw, i64 md, i64 mh, i64 mw, i64 kd, i64 kh, i64 kw, i64 sd, i64 sh,   \
        i64 sw, i64 pd, i64 ph, i64 pw, i64 dd, i64 dh, i64 dw, i64 packs

// input (outer, nd, nh, nw, inner), windows (md, mh, mw) of kernel k, stride s, padding p, dilation d
extern "C" __global__ void max_pool(const T* x, T* y, I* index, WINDOW) {
    over_pixels(outer * md * mh * mw, inner, packs, [&](auto count, i64 j, i64 c) {
        constexpr int V = decltype(count)::value;
        Place at = place_of(j, mh, mw, md);
        A best[V];
        int where[V];
        bool any = false;
        for (i64 a = 0, tap = 0; a < kd; a++)
            for (i64 b = 0; b < kh; b++)
                for (i64 e = 0; e < kw; e++, tap++) {
                    i64 z = at.d * sd - pd + a * dd, r = at.h * sh - ph + b * dh, q = at.w * sw - pw + e * dw;
                    if (z < 0 || z >= nd || r < 0 || r >= nh || q < 0 || q >= nw) continue;
                    A v[V];
                    load<V>(x + (((at.outer * nd + z) * nh + r) * nw + q) * inner + c, v);
#pragma unroll
                    for (int i = 0; i < V; i++)
                        if (!any || v[i] > best[i] || v[i] != v[i]) best[i] = v[i], where[i] = (int)tap;
                    any = true;
                }
        if (!any)
#pragma unroll
            for (int i = 0; i < V; i++) best[i] = -infinite<A>(), where[i] = 0;
        store<V>(y + j * inner + c, best);
#pragma unroll
        for (int i = 0; i < V; i++) index[j * inner + c + i] = (I)where[i];
    });
}

// The gradient of the input: each of its elements asks the windows that it is in. No two threads write one element.
extern "C" __global__ void window_scatter(const T* g, const I* index, T* x, WINDOW) {
    over_pixels(outer * nd * nh * nw, inner, packs, [&](auto count, i64 j, i64 c) {
        constexpr int V = decltype(count)::value;
        Place at = place_of(j, nh, nw, nd);
        A total[V] = {};
        for (i64 a = 0; a < kd; a++) {
            i64 z = at.d + pd - a * dd;
            if (z < 0 || z % sd || z / sd >= md) continue;
            for (i64 b = 0; b < kh; b++) {
                i64 r = at.h + ph - b * dh;
                if (r < 0 || r % sh || r / sh >= mh) continue;
                for (i64 e = 0; e < kw; e++) {
                    i64 q = at.w + pw - e * dw;
                    if (q < 0 || q % sw || q / sw >= mw) continue;
                    i64 k = (((at.outer * md + z / sd) * mh + r / sh) * mw + q / sw) * inner + c;
                    int tap = (int)((a * kh + b) * kw + e);
                    A v[V];
                    load<V>(g + k, v);
#pragma unroll
                    for (int i = 0; i < V; i++)
                        if ((int)index[k + i] == tap) total[i] += v[i];
                }
            }
        }
        store<V>(x + j * inner + c, total);
    });
}

// The elements of x at the places `index`; 0 where a window's place lies outside.
extern "C" __global__ void window_gather(const T* x, const I* index, T* y, WINDOW) {
    over_pixels(outer * md * mh * mw, inner, packs, [&](auto count, i64 j, i64 c) {
        constexpr int V = decltype(count)::value;
        Place at = place_of(j, mh, mw, md);
        A v[V];
#pragma unroll
        for (int i = 0; i < V; i++) {
            i64 tap = (i64)index[j * inner + c + i];
            i64 z = at.d * sd - pd + tap / (kh * kw) * dd, r = at.h * sh - ph + tap / kw % kh * dh,
                q = at.w * sw - pw + tap % kw * dw;
            bool inside = z >= 0 && z < nd && r >= 0 && r < nh && q >= 0 && q < nw;
            v[i] = inside ? wide(x[(((at.outer * nd + z) * nh + r) * nw + q) * inner + c + i]) : (A)0;
        }
        store<V>(y + j * inner + c, v);
    });
}
