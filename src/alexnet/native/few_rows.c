/* Products of few rows, bound by reading the weights. */
#include "common.h"

/* The product of two runs of bf16, in 64 sums of their own. */
static inline float dot(const uint16_t *restrict x, const uint16_t *restrict w, int64_t count) {
    int64_t i = 0;
    float total = 0;
#ifdef __AVX512BF16__
    __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (; i + 128 <= count; i += 128)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            sums[k] = _mm512_dpbf16_ps(sums[k], (__m512bh)_mm512_loadu_si512(x + i + 32 * k),
                                       (__m512bh)_mm512_loadu_si512(w + i + 32 * k));
    total = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
#else
    float sums[64] = {0};
    for (; i + 64 <= count; i += 64)
        for (int k = 0; k < 64; k++) sums[k] += widen(x[i + k]) * widen(w[i + k]);
    for (int k = 0; k < 64; k++) total += sums[k];
#endif
    for (; i < count; i++) total += widen(x[i]) * widen(w[i]);
    return total;
}

/* int8 to bf16, which is exact. */
static inline void bf16_of_int8(const int8_t *restrict from, uint16_t *restrict to, int64_t count) {
    int64_t i = 0;
#ifdef __AVX512BF16__
    for (; i + 16 <= count; i += 16) {
        __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(from + i))));
        __m256bh bits = _mm512_cvtneps_pbh(v);
        memcpy(to + i, &bits, sizeof bits);
    }
#endif
    for (; i < count; i++) to[i] = narrow((float)from[i]);
}

/* Fully connected layers for few images: each weight is read once. x (rows, inputs) bf16, weights (units, inputs) bf16
 * or, with a scale a unit, int8; bias (units) float32; y (rows, units) float32. */
int few_rows(const uint16_t *x, const void *weights, const float *scale, const float *bias, float *y, int64_t rows,
             int64_t inputs, int64_t units, int64_t threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        uint16_t *widened = scale ? zeroed(sizeof(uint16_t) * inputs) : NULL;
        if (scale && !widened) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (int64_t u = 0; u < units; u++) {
            const uint16_t *w = (const uint16_t *)weights + u * inputs;
            if (scale && !widened) continue;
            if (scale) {
                bf16_of_int8((const int8_t *)weights + u * inputs, widened, inputs);
                w = widened;
            }
            for (int64_t n = 0; n < rows; n++)
                y[n * units + u] = dot(x + n * inputs, w, inputs) * (scale ? scale[u] : 1.0f) + bias[u];
        }
        free(widened);
    }
    return failed;
}
