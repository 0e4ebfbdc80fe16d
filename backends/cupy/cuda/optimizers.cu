// Updates of optimizers over all parameters of a group in one launch: the formulas of optim/, in float (double for
// double). T: dtype of parameters and gradients. MASTER: the parameters that are updated are float32 copies, and what
// stands in T is written from them.
//
// Block b works on chunk map[2b + 1] of parameter map[2b]. Parameters and gradients lie anywhere (at[i], at[MOST + i]);
// state lies in flat arrays, a parameter's from starts[i] on, a multiple of 8. What changes from step to step is read
// on the device: steps counts the steps of each parameter, scale is what gradients are divided by, and where found is
// not 0 nothing is done and no step is counted. live replaces the numbers h0.. that are handed over by value.
#include "common.cuh"

template <int M> struct Kept { typedef T type; };
template <> struct Kept<1> { typedef float type; };
typedef Kept<MASTER>::type S;
typedef Wide<S>::type A;

static constexpr int MOST = 240, CHUNK = 16384;
enum { MAXIMIZE = 1, DECOUPLED = 2, NESTEROV = 4, CENTERED = 8, MOMENTUM = 16, LARGEST = 32 };

#define REST                                                                                                    \
    const i32 *map, const i64 *sizes, const i64 *starts, S *master, S *s0, S *s1, S *s2,                        \
        float *steps, float *products, u32 *ticket, const float *found, const float *scale, const double *live, \
        double h0, double h1, double h2, double h3, double h4, double h5, i64 flags, i64 count
#define GIVEN const __grid_constant__ Addresses where, REST
#define ARGUMENTS const Addresses &where, REST
#define HANDED_ON                                                                                                   \
    where, map, sizes, starts, master, s0, s1, s2, steps, products, ticket, found, scale, live, h0, h1, h2, h3, h4, \
        h5, flags, count

// One pack of V neighbours: load, update, store.
template <int V, int K, class F>
__device__ __forceinline__ void pack(T* p, T* g, S* m, S* const* s, float factor, bool write, const F& update) {
    A param[V], grad[V], state[3][V];
    typename Wide<T>::type rough[V];
    load<V>(g, rough);
#pragma unroll
    for (int i = 0; i < V; i++) grad[i] = (A)rough[i];
    if (write) {
#pragma unroll
        for (int i = 0; i < V; i++) grad[i] = grad[i] / (A)factor, rough[i] = (typename Wide<T>::type)grad[i];
        store<V>(g, rough);
    }
    if (MASTER) {
        load<V>(m, param);
    } else {
        load<V>(p, rough);
#pragma unroll
        for (int i = 0; i < V; i++) param[i] = (A)rough[i];
    }
#pragma unroll
    for (int k = 0; k < K; k++) load<V>(s[k], state[k]);
#pragma unroll
    for (int i = 0; i < V; i++) update(param[i], grad[i], state[0][i], state[1][i], state[2][i]);
#pragma unroll
    for (int k = 0; k < K; k++) store<V>(s[k], state[k]);
    if (MASTER) store<V>(m, param);
#pragma unroll
    for (int i = 0; i < V; i++) rough[i] = (typename Wide<T>::type)param[i];
    store<V>(p, rough);
}

// `prepare(h, step, product, c)` makes factors c of the numbers h, for step number `step`; `factors(c)` gives the
// update, update(p, g, s0, s1, s2), which changes p and K numbers of state; `multiply(h, step)` is what the parameter's
// product is multiplied by.
template <int K, class Prepare, class Factors, class Multiply>
__device__ __forceinline__ void over_group(ARGUMENTS, Prepare prepare, Factors factors, Multiply multiply) {
    if (found && *found > 0) return;
    __shared__ A c[12];
    __shared__ double h[6];
    int t = map[2 * blockIdx.x];
    if (threadIdx.x == 0) {
        double given[6] = {h0, h1, h2, h3, h4, h5};
        for (int i = 0; i < 6; i++) h[i] = live ? live[i] : given[i];
        double made[12] = {}, step = steps ? (double)steps[t] + 1 : 1;
        prepare(h, step, products ? products[t] * (float)multiply(h, step) : 1.0f, made);
        for (int i = 0; i < 12; i++) c[i] = (A)made[i];
    }
    __syncthreads();
    const auto update = factors(c);

    constexpr int V = 16 / (int)sizeof(T);
    i64 first = (i64)map[2 * blockIdx.x + 1] * CHUNK, last = min(first + CHUNK, sizes[t]), start = starts[t];
    T *p = reinterpret_cast<T*>(where.at[t]), *g = reinterpret_cast<T*>(where.at[MOST + t]);
    bool packs = ((u64)p | (u64)g) % 16 == 0, write = scale != nullptr;
    float factor = write ? *scale : 1.0f;
    S* states[3] = {s0, s1, s2};
    for (i64 j = first + (i64)threadIdx.x * V; j < last; j += (i64)blockDim.x * V) {
        S* at[3];
#pragma unroll
        for (int k = 0; k < K; k++) at[k] = states[k] + start + j;
        if (packs && j + V <= last) {
            pack<V, K>(p + j, g + j, MASTER ? master + start + j : nullptr, at, factor, write, update);
        } else {
            for (i64 i = j; i < j + V && i < last; i++) {
                pack<1, K>(p + i, g + i, MASTER ? master + start + i : nullptr, at, factor, write, update);
#pragma unroll
                for (int k = 0; k < K; k++) at[k]++;
            }
        }
    }
    if (!steps) return;

    // the last block to come here counts the step: all others have read their counters
    __shared__ int ends;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        ends = atomicAdd(ticket, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!ends) return;
    for (i64 i = threadIdx.x; i < count; i += blockDim.x) {
        double step = (double)steps[i] + 1;
        if (products) products[i] = products[i] * (float)multiply(h, step);
        steps[i] = (float)step;
    }
    if (threadIdx.x == 0) *ticket = 0;
}

struct One {
    __device__ __forceinline__ double operator()(const double*, double) const { return 1; }
};

__device__ __forceinline__ A largest_of(A a, A b) { return a > b || a != a ? a : b; }  // NaN stays, as in NumPy

// What g becomes by weight decay c[0] and sign c[1].
__device__ __forceinline__ A descent(A p, A g, const A* c) {
    g = g * c[1];
    return c[0] != 0 ? g + p * c[0] : g;
}
__device__ __forceinline__ void descends(double decay, i64 flags, double* c) {
    c[0] = decay;
    c[1] = flags & MAXIMIZE ? -1 : 1;
}

// -- h: lr, momentum, dampening, weight decay; s0: velocity; steps only tell the first one
struct Sgd {
    const A* c;
    i64 flags;
    __device__ __forceinline__ void operator()(A& p, A g, A& b, A&, A&) const {
        g = descent(p, g, c);
        if (flags & MOMENTUM) {
            b = c[5] != 0 ? g : b * c[3] + g * c[4];
            g = flags & NESTEROV ? g + b * c[3] : b;
        }
        p = p - g * c[2];
    }
};
template <int K> __device__ __forceinline__ void sgd_update(ARGUMENTS) {
    over_group<K>(
        HANDED_ON,
        [=](const double* h, double step, float, double* c) {
            descends(h[3], flags, c);
            c[2] = h[0], c[3] = h[1], c[4] = 1 - h[2], c[5] = step == 1;
        },
        [=](const A* c) { return Sgd{c, flags}; }, One());
}
extern "C" __global__ void sgd(GIVEN) {
    if (flags & MOMENTUM)
        sgd_update<1>(HANDED_ON);
    else
        sgd_update<0>(HANDED_ON);
}

// -- h: lr, beta1, beta2, eps, weight decay; s0: mean, s1: mean of squares, s2: largest of them
struct Adam {
    const A* c;
    i64 flags;
    __device__ __forceinline__ void operator()(A& p, A g, A& m, A& v, A& top) const {
        A old = p * c[2];
        g = descent(old, g, c);
        m = m * c[3] + g * c[4];
        v = v * c[5] + g * g * c[6];
        A square = v;
        if (flags & LARGEST) square = top = largest_of(top, v);
        p = old - m / (root(square) + c[7]) * c[8];
    }
};
template <int K> __device__ __forceinline__ void adam_update(ARGUMENTS) {
    over_group<K>(
        HANDED_ON,
        [=](const double* h, double step, float, double* c) {
            bool apart = flags & DECOUPLED;
            double size = sqrt(1 - pow(h[2], step));
            descends(apart ? 0 : h[4], flags, c);
            c[2] = apart ? 1 - h[0] * h[4] : 1;
            c[3] = h[1], c[4] = 1 - h[1], c[5] = h[2], c[6] = 1 - h[2];
            c[7] = h[3] * size, c[8] = h[0] * size / (1 - pow(h[1], step));
        },
        [=](const A* c) { return Adam{c, flags}; }, One());
}
extern "C" __global__ void adam(GIVEN) {
    if (flags & LARGEST)
        adam_update<3>(HANDED_ON);
    else
        adam_update<2>(HANDED_ON);
}

// -- h: lr, lr decay, eps, weight decay; s0: sum of squares
struct Adagrad {
    const A* c;
    __device__ __forceinline__ void operator()(A& p, A g, A& total, A&, A&) const {
        g = descent(p, g, c);
        total = total + g * g;
        p = p - g * c[2] / (root(total) + c[3]);
    }
};
extern "C" __global__ void adagrad(GIVEN) {
    over_group<1>(
        HANDED_ON,
        [=](const double* h, double step, float, double* c) {
            descends(h[3], flags, c);
            c[2] = h[0] / (1 + (step - 1) * h[1]), c[3] = h[2];
        },
        [=](const A* c) { return Adagrad{c}; }, One());
}

// -- h: lr, rho, eps, weight decay; s0: mean of squares, s1: mean of squared moves
struct Adadelta {
    const A* c;
    __device__ __forceinline__ void operator()(A& p, A g, A& square, A& moved, A&) const {
        g = descent(p, g, c);
        square = square * c[3] + g * g * c[4];
        A delta = root(moved + c[5]) / root(square + c[5]) * g;
        moved = moved * c[3] + delta * delta * c[4];
        p = p - delta * c[2];
    }
};
extern "C" __global__ void adadelta(GIVEN) {
    over_group<2>(
        HANDED_ON,
        [=](const double* h, double, float, double* c) {
            descends(h[3], flags, c);
            c[2] = h[0], c[3] = h[1], c[4] = 1 - h[1], c[5] = h[2];
        },
        [=](const A* c) { return Adadelta{c}; }, One());
}

// -- h: lr, alpha, eps, momentum, weight decay; s0: mean of squares, then the velocity and the mean, where they are used
struct RmsProp {
    const A* c;
    i64 flags;
    __device__ __forceinline__ void operator()(A& p, A g, A& square, A& second, A& third) const {
        g = descent(p, g, c);
        square = square * c[3] + g * g * c[4];
        A variance = square;
        if (flags & CENTERED) {
            A& mean = flags & MOMENTUM ? third : second;
            mean = mean * c[3] + g * c[4];
            variance = square - mean * mean;
        }
        A step = g / (root(variance) + c[5]);
        if (flags & MOMENTUM) step = second = second * c[6] + step;
        p = p - step * c[2];
    }
};
template <int K> __device__ __forceinline__ void rmsprop_update(ARGUMENTS) {
    over_group<K>(
        HANDED_ON,
        [=](const double* h, double, float, double* c) {
            descends(h[4], flags, c);
            c[2] = h[0], c[3] = h[1], c[4] = 1 - h[1], c[5] = h[2], c[6] = h[3];
        },
        [=](const A* c) { return RmsProp{c, flags}; }, One());
}
extern "C" __global__ void rmsprop(GIVEN) {
    if ((flags & MOMENTUM) && (flags & CENTERED))
        rmsprop_update<3>(HANDED_ON);
    else if (flags & (MOMENTUM | CENTERED))
        rmsprop_update<2>(HANDED_ON);
    else
        rmsprop_update<1>(HANDED_ON);
}

// -- h: lr, beta1, beta2, eps, weight decay; s0: mean, s1: largest gradient
struct Adamax {
    const A* c;
    __device__ __forceinline__ void operator()(A& p, A g, A& m, A& top, A&) const {
        g = descent(p, g, c);
        m = m * c[3] + g * c[4];
        A size = g < 0 ? -g : g;
        top = largest_of(top * c[5], size + c[6]);
        p = p - m * c[2] / top;
    }
};
extern "C" __global__ void adamax(GIVEN) {
    over_group<2>(
        HANDED_ON,
        [=](const double* h, double step, float, double* c) {
            descends(h[4], flags, c);
            c[2] = h[0] / (1 - pow(h[1], step)), c[3] = h[1], c[4] = 1 - h[1], c[5] = h[2], c[6] = h[3];
        },
        [=](const A* c) { return Adamax{c}; }, One());
}

// -- h: lr, beta1, beta2, eps, weight decay, momentum decay; s0: mean, s1: mean of squares; products: of the momenta
struct Momenta {
    __device__ __forceinline__ double operator()(const double* h, double step) const {
        return h[1] * (1 - 0.5 * pow(0.96, step * h[5]));
    }
};
struct NAdam {
    const A* c;
    __device__ __forceinline__ void operator()(A& p, A g, A& m, A& v, A&) const {
        g = descent(p, g, c);
        m = m * c[3] + g * c[4];
        v = v * c[5] + g * g * c[6];
        p = p * c[2] - (g * c[8] + m * c[9]) / (root(v / c[10]) + c[7]);
    }
};
extern "C" __global__ void nadam(GIVEN) {
    over_group<2>(
        HANDED_ON,
        [=](const double* h, double step, float product, double* c) {
            bool apart = flags & DECOUPLED;
            double now = Momenta()(h, step), following = Momenta()(h, step + 1);
            descends(apart ? 0 : h[4], flags, c);
            c[2] = apart ? 1 - h[0] * h[4] : 1;
            c[3] = h[1], c[4] = 1 - h[1], c[5] = h[2], c[6] = 1 - h[2], c[7] = h[3];
            c[8] = h[0] * (1 - now) / (1 - (double)product);
            c[9] = h[0] * following / (1 - (double)product * following);
            c[10] = 1 - pow(h[2], step);
        },
        [=](const A* c) { return NAdam{c}; }, Momenta());
}

// -- h: lr, beta1, beta2, eps, weight decay; s0: mean, s1: mean of squares
struct RAdam {
    const A* c;
    __device__ __forceinline__ void operator()(A& p, A g, A& m, A& v, A&) const {
        g = descent(p, g, c);
        m = m * c[3] + g * c[4];
        v = v * c[5] + g * g * c[6];
        A move = m * c[8];
        if (c[9] != 0) move = move * (c[10] / (root(v) + c[7]));
        p = p * c[2] - move;
    }
};
extern "C" __global__ void radam(GIVEN) {
    over_group<2>(
        HANDED_ON,
        [=](const double* h, double step, float, double* c) {
            bool apart = flags & DECOUPLED;
            double power = pow(h[2], step), correction = 1 - power, limit = 2 / (1 - h[2]) - 1;
            double rho = limit - 2 * step * power / correction;
            descends(apart ? 0 : h[4], flags, c);
            c[2] = apart ? 1 - h[0] * h[4] : 1;
            c[3] = h[1], c[4] = 1 - h[1], c[5] = h[2], c[6] = 1 - h[2], c[7] = h[3];
            c[8] = h[0] / (1 - pow(h[1], step));
            c[9] = rho > 5;
            if (rho > 5)
                c[10] = sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho) * correction);
        },
        [=](const A* c) { return RAdam{c}; }, One());
}

// -- h: lr, beta1, beta2, weight decay; s0: mean
struct Lion {
    const A* c;
    __device__ __forceinline__ void operator()(A& p, A g, A& m, A&, A&) const {
        g = g * c[1];
        A way = m * c[3] + g * c[4];
        m = m * c[5] + g * c[6];
        p = p * c[2] - (way > 0 ? c[7] : way < 0 ? -c[7] : 0 * way);
    }
};
extern "C" __global__ void lion(GIVEN) {
    over_group<1>(
        HANDED_ON,
        [=](const double* h, double, float, double* c) {
            descends(0, flags, c);
            c[2] = 1 - h[0] * h[3], c[3] = h[1], c[4] = 1 - h[1], c[5] = h[2], c[6] = 1 - h[2], c[7] = h[0];
        },
        [=](const A* c) { return Lion{c}; }, One());
}
