// The scale of a loss after a round (runtime/amp.py): smaller where something was found, larger after enough rounds.
#include "common.cuh"

extern "C" __global__ void update_scale(
    float* scale, i32* rounds, const float* found, double growth, double backoff, i64 interval) {
    if (threadIdx.x) return;
    if (*found > 0) {
        *scale = (float)(*scale * backoff);
        *rounds = 0;
    } else if (*rounds + 1 == interval) {
        float grown = (float)(*scale * growth);
        if (grown - grown == 0) *scale = grown;
        *rounds = 0;
    } else {
        *rounds = *rounds + 1;
    }
}
