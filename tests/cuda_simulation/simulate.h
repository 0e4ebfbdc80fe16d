// Runs CUDA C on the CPU: a thread is a fiber, a block is run until all its threads have ended, blocks one by one.
//
// Threads go on from barrier to barrier in the order of their numbers, or in the opposite one: a kernel whose result
// depends on that has a race. What is noticed besides: a barrier or a shuffle that some threads miss, packs that do not
// lie at a multiple of their size. What is not: occupancy, coalescing, memory order between blocks.
#pragma once
#define CHAINRULE_SIMULATION
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __constant__ static const
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
#define ALIGNED_TO(pointer, bytes) simulation::check_alignment((uintptr_t)(pointer), (bytes))
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(simulation::dynamic)

struct half_t;  // common.cuh says what they are
struct bfloat_t;
struct Addresses;
struct dim3 { unsigned x, y, z; };
struct uint3 { unsigned x, y, z; };
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

namespace simulation {
enum State { READY, AT_WARP, AT_BLOCK, ENDED };
enum { MOST = 1024, STACK = 1 << 16, SHARED = 227 << 10 };

struct Thread {
    ucontext_t first;
    jmp_buf place;
    bool started;
    State state;
    unsigned turn, barriers;  // shuffles and barriers so far
    uint3 index;
};
static Thread threads[MOST];
static char* stacks;
static jmp_buf scheduler;
static int current, count;
static u_int64_t slots[MOST][2];
alignas(256) static char dynamic[SHARED];
static char fault[256];
static int atomic_sums;  // of floats: their order may change the result by rounding
static void (*body)(void**);
static void** arguments;

static void fail(const char* what) {
    if (!fault[0])
        snprintf(fault, sizeof fault, "block (%u, %u, %u), thread (%u, %u, %u): %s", blockIdx.x, blockIdx.y, blockIdx.z,
                 threadIdx.x, threadIdx.y, threadIdx.z, what);
}
static void check_alignment(uintptr_t address, size_t bytes) {
    if (address % bytes) fail("a pack does not lie at a multiple of its size");
}
static void wait(State state) {
    int me = current;
    threads[me].state = state;
    if (!_setjmp(threads[me].place)) _longjmp(scheduler, 1);
    current = me;
    threadIdx = threads[me].index;
}
static void thread_main() {
    body(arguments);
    threads[current].state = ENDED;
    _longjmp(scheduler, 1);
}
static void go_on(int i) {
    current = i;
    threadIdx = threads[i].index;
    if (_setjmp(scheduler)) return;
    if (threads[i].started) _longjmp(threads[i].place, 1);
    threads[i].started = true;
    setcontext(&threads[i].first);
}
static void run_block(bool backwards) {
    memset(dynamic, 0xff, sizeof dynamic);  // NaN
    for (int i = 0; i < count; i++) {
        Thread& t = threads[i];
        getcontext(&t.first);
        t.first.uc_stack.ss_sp = stacks + (size_t)i * STACK;
        t.first.uc_stack.ss_size = STACK;
        t.first.uc_link = nullptr;
        makecontext(&t.first, thread_main, 0);
        t.started = false;
        t.state = READY;
        t.turn = t.barriers = 0;
        t.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    }
    for (;;) {
        bool moved = false;
        for (int k = 0; k < count; k++) {
            int i = backwards ? count - 1 - k : k;
            if (threads[i].state == READY) go_on(i), moved = true;
        }
        int ended = 0, at_block = 0;
        for (int w = 0; w < count; w += 32) {
            int waiting = 0;
            unsigned turn = 0;
            bool alike = true;
            for (int i = w; i < w + 32; i++) {
                ended += threads[i].state == ENDED;
                at_block += threads[i].state == AT_BLOCK;
                if (threads[i].state != AT_WARP) continue;
                alike &= !waiting || threads[i].turn == turn;
                turn = threads[i].turn;
                waiting++;
            }
            if (waiting == 32 && alike) {
                for (int i = w; i < w + 32; i++) threads[i].state = READY;
                moved = true;
            } else if (waiting) {
                current = w, threadIdx = threads[w].index;
                return fail("part of a warp waits in a shuffle or vote that the other part does not come to");
            }
        }
        if (ended == count) return;
        if (at_block == count) {
            for (int i = 0; i < count; i++) threads[i].state = READY;
            moved = true;
        }
        if (!moved) {
            int i = 0;
            while (threads[i].state != AT_BLOCK) i++;
            current = i, threadIdx = threads[i].index;
            return fail("part of the block waits at a barrier that the other part does not come to");
        }
    }
}
static const char* run(void (*f)(void**), void** args, const unsigned* grid, const unsigned* block, bool backwards) {
    fault[0] = 0;
    atomic_sums = 0;
    body = f;
    arguments = args;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    count = block[0] * block[1] * block[2];
    blockIdx = {0, 0, 0};
    threadIdx = {0, 0, 0};
    if (count < 1 || count > MOST) { fail("a block has 1 to 1024 threads"); return fault; }
    if (count % 32) { fail("a block whose threads are no multiple of 32"); return fault; }
    if (!stacks) stacks = (char*)malloc((size_t)MOST * STACK);
    u_int64_t blocks = (u_int64_t)grid[0] * grid[1] * grid[2];
    for (u_int64_t k = 0; k < blocks && !fault[0]; k++) {
        u_int64_t b = backwards ? blocks - 1 - k : k;
        blockIdx = {unsigned(b % grid[0]), unsigned(b / grid[0] % grid[1]), unsigned(b / grid[0] / grid[1])};
        run_block(backwards);
    }
    return fault[0] ? fault : nullptr;
}

// -- a kernel as a function of an array of pointers to its arguments --------------------------------------------------

template <class P> struct Letters { static void add(char*& s) { *s++ = '?'; } };
#define LETTER(type, letter) \
    template <> struct Letters<type> { static void add(char*& s) { *s++ = letter; } };
template <class P> struct Letters<P*> { static void add(char*& s) { *s++ = 'p'; Letters<P>::add(s); } };
template <class P> struct Letters<const P> : Letters<P> {};
LETTER(signed char, 'b') LETTER(short, 'h') LETTER(int, 'i') LETTER(long long, 'q') LETTER(unsigned char, 'B')
LETTER(unsigned short, 'H') LETTER(unsigned int, 'I') LETTER(unsigned long long, 'Q') LETTER(float, 'f')
LETTER(double, 'd') LETTER(void, 'v') LETTER(half_t, 'e') LETTER(bfloat_t, 'E') LETTER(Addresses, 'A')

template <class... P> const char* letters(void (*)(P...)) {
    static char found[256];
    char* s = found;
    (Letters<P>::add(s), ...);
    *s = 0;
    return found;
}
template <auto kernel> struct Call;
template <class... P, void (*kernel)(P...)> struct Call<kernel> {
    template <size_t... I> static void with(void** a, std::index_sequence<I...>) { kernel(*(P*)a[I]...); }
    static void run(void** a) { with(a, std::index_sequence_for<P...>()); }
};
#define SIMULATED(kernel)                                                                                             \
    extern "C" int atomic_sums_##kernel() { return simulation::atomic_sums; }                                         \
    extern "C" const char* letters_##kernel() { return simulation::letters(kernel); }                                 \
    extern "C" const char* run_##kernel(void** args, const unsigned* grid, const unsigned* block, int backwards) {    \
        return simulation::run(simulation::Call<kernel>::run, args, grid, block, backwards);                          \
    }

template <class T> T exchange(T value, int source, bool valid = true) {
    static_assert(sizeof(T) <= 8, "shuffles move 4 or 8 bytes");
    int me = current, warp = me / 32 * 32;
    unsigned turn = threads[me].turn++ & 1;
    memcpy(&slots[me][turn], &value, sizeof(T));
    wait(AT_WARP);
    T found;
    memcpy(&found, &slots[valid ? warp + (source & 31) : me][turn], sizeof(T));
    return found;
}
}  // namespace simulation

// -- what kernels call ------------------------------------------------------------------------------------------------

static inline void __syncthreads() { simulation::wait(simulation::AT_BLOCK); }
static inline void __syncwarp(unsigned = ~0u) { simulation::exchange(0, 0); }
static inline void __threadfence() {}
static inline int lane() { return simulation::current % 32; }
static inline void whole(unsigned mask) {
    if (mask != 0xffffffffu) simulation::fail("only shuffles and votes of whole warps are simulated");
}
template <class T> T __shfl_sync(unsigned mask, T v, int source, int = 32) {
    whole(mask);
    return simulation::exchange(v, source);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int = 32) {
    whole(mask);
    return simulation::exchange(v, lane() ^ bits);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, int by, int = 32) {
    whole(mask);
    return simulation::exchange(v, lane() + by, lane() + by < 32);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, int by, int = 32) {
    whole(mask);
    return simulation::exchange(v, lane() - by, lane() >= by);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    whole(mask);
    int me = simulation::current, warp = me / 32 * 32;
    unsigned turn = simulation::threads[me].turn & 1, found = 0;
    simulation::exchange((unsigned)(predicate != 0), 0);
    for (int i = 0; i < 32; i++) found |= (unsigned)(simulation::slots[warp + i][turn] & 1) << i;
    return found;
}
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == 0xffffffffu; }

template <class T> T atomicAdd(T* p, T v) {
    simulation::atomic_sums |= T(0.5) != T(0);
    T old = *p;
    *p = old + v;
    return old;
}
template <class T> T atomicMax(T* p, T v) { T old = *p; *p = old > v ? old : v; return old; }
template <class T> T atomicMin(T* p, T v) { T old = *p; *p = old < v ? old : v; return old; }
template <class T> T atomicOr(T* p, T v) { T old = *p; *p = old | v; return old; }
template <class T> T atomicExch(T* p, T v) { T old = *p; *p = v; return old; }
template <class T> T atomicCAS(T* p, T compare, T v) { T old = *p; if (old == compare) *p = v; return old; }
template <class T> T __ldg(const T* p) { return *p; }

template <class To, class From> static inline To same_bits(From from) {
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
static inline float __int_as_float(int x) { return same_bits<float>(x); }
static inline int __float_as_int(float x) { return same_bits<int>(x); }
static inline double __longlong_as_double(long long x) { return same_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (u_int64_t)a * b >> 32; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
#define __expf expf
#define __logf logf
static inline float __fdividef(float a, float b) { return a / b; }
template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }

// IEEE half precision, rounded to the nearest even
static inline float half_to_float(unsigned short bits) {
    unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    float value = exponent ? ldexpf((float)(fraction | 1024), (int)exponent - 25) : ldexpf((float)fraction, -24);
    return sign ? -value : value;
}
static inline unsigned short float_to_half(float value) {
    unsigned bits = __float_as_uint(value), sign = bits >> 16 & 0x8000;
    float size = fabsf(value);
    if (size != size) return (unsigned short)(sign | 0x7fff);
    if (size >= 65520.0f) return (unsigned short)(sign | 0x7c00);
    if (size < 0x1p-14f) return (unsigned short)(sign | (unsigned)nearbyintf(size * 0x1p24f));
    unsigned u = __float_as_uint(size) - (112u << 23);
    u += 0xfff + (u >> 13 & 1);
    return (unsigned short)(sign | u >> 13);
}
