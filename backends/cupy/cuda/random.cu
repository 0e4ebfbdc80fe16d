// Random arrays by Philox4x32-10 (common.cuh), number for number those of backends/philox.py.
//
// A word of 32 bits of number i is word i % 4 of block i / 4 of the counter. Key and counter are given, or stand at
// `live` (two of them), where a captured step finds what the host has counted on to. Each number is written once: the
// floor. It has not run on a GPU yet.
#include "common.cuh"

struct Stream {
    u64 key, counter;
    __device__ __forceinline__ Stream(i64 key_, i64 counter_, const i64* live_key, const i64* live_counter)
        : key((u64)(live_key ? *live_key : key_)), counter((u64)(live_counter ? *live_counter : counter_)) {}
    __device__ __forceinline__ Words block(i64 b) const { return philox(counter + (u64)b, key); }
    __device__ __forceinline__ u32 word(i64 i) const { return block(i / 4).at[i % 4]; }
};

__device__ __forceinline__ float uniform_of(u32 word) { return (float)(word >> 8) * 0x1p-24f; }
__device__ __forceinline__ double uniform_of(u32 high, u32 low) {
    return (double)(((u64)(high >> 5) << 26) + (low >> 6)) * 0x1p-53;
}
#define GIVEN i64 key, i64 counter, const i64* live_key, const i64* live_counter
#define OVER(count)                                                                                     \
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x, step = (i64)gridDim.x * blockDim.x; i < (count); i += step)

// [0, 1) in multiples of 2^-24; a thread writes the four numbers of a block.
extern "C" __global__ void uniform_float(float* out, i64 n, GIVEN) {
    Stream s(key, counter, live_key, live_counter);
    OVER((n + 3) / 4) {
        Words w = s.block(i);
        for (int k = 0; k < 4; k++)
            if (4 * i + k < n) out[4 * i + k] = uniform_of(w.at[k]);
    }
}

// [0, 1) in multiples of 2^-53, of two words each.
extern "C" __global__ void uniform_double(double* out, i64 n, GIVEN) {
    Stream s(key, counter, live_key, live_counter);
    OVER((n + 1) / 2) {
        Words w = s.block(i);
        for (int k = 0; k < 2; k++)
            if (2 * i + k < n) out[2 * i + k] = uniform_of(w.at[2 * k], w.at[2 * k + 1]);
    }
}

// Box and Muller's pairs: cosines in the first half of the result, sines in the second.
extern "C" __global__ void normal_float(float* out, i64 n, GIVEN) {
    Stream s(key, counter, live_key, live_counter);
    i64 half = (n + 1) / 2;
    OVER(half) {
        float radius = sqrtf(-2.0f * logf(1.0f - uniform_of(s.word(i))));
        float angle = 6.283185307179586f * uniform_of(s.word(half + i));
        out[i] = radius * cosf(angle);
        if (half + i < n) out[half + i] = radius * sinf(angle);
    }
}
extern "C" __global__ void normal_double(double* out, i64 n, GIVEN) {
    Stream s(key, counter, live_key, live_counter);
    i64 half = (n + 1) / 2;
    OVER(half) {
        double first = uniform_of(s.word(2 * i), s.word(2 * i + 1));
        double second = uniform_of(s.word(2 * (half + i)), s.word(2 * (half + i) + 1));
        double radius = sqrt(-2.0 * log(1.0 - first)), angle = 6.283185307179586 * second;
        out[i] = radius * cos(angle);
        if (half + i < n) out[half + i] = radius * sin(angle);
    }
}

// low + 64 random bits modulo the range (0: all 64).
extern "C" __global__ void random_integers(i64* out, i64 n, i64 low, i64 range, GIVEN) {
    Stream s(key, counter, live_key, live_counter);
    OVER((n + 1) / 2) {
        Words w = s.block(i);
        for (int k = 0; k < 2; k++)
            if (2 * i + k < n) {
                u64 bits = (u64)w.at[2 * k] << 32 | w.at[2 * k + 1];
                out[2 * i + k] = (i64)(range ? bits % (u64)range : bits) + low;
            }
    }
}
