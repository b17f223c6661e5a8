/* What the sources of the compiled path share: memory, bf16, and runs of either type.
 *
 * Who calls is library.py, which has checked every shape, stride and length; nothing is checked again here, but that
 * memory was to be had: a function that needs some returns 0, or 1 where there was none and its outputs are not whole.
 */
#ifndef ALEXNET_COMMON_H
#define ALEXNET_COMMON_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSSE3__
#include <immintrin.h>
#endif

#define VECTOR 16 /* floats */

/* So many bytes of zeros, whole vectors of them, or NULL. */
static inline void *zeroed(int64_t bytes) {
#ifdef ALEXNET_NO_MEMORY /* the build of a test */
    return NULL;
#endif
    if (bytes < 0) return NULL;
    size_t vector = sizeof(float) * VECTOR, whole = ((size_t)bytes + vector) / vector * vector;
    void *memory = aligned_alloc(vector, whole);
    return memory ? memset(memory, 0, whole) : NULL;
}

static inline float widen(uint16_t bits) {
    union { uint32_t u; float f; } v = {(uint32_t)bits << 16};
    return v.f;
}

static inline uint16_t narrow(float f) {
    union { float f; uint32_t u; } v = {f};
    uint32_t rounded = (v.u + 0x7fffu + ((v.u >> 16) & 1u)) >> 16;
    return f != f ? (uint16_t)0x7fc0 : (uint16_t)rounded;
}

static inline float rectified(float x) { return x > 0 || x != x ? x : 0.0f; }

/* Runs of bf16 or float32 to float32 and back, with ReLU or not. Compilers do badly on short runs of mixed widths. */
static inline void widen_run(int64_t bf16, const void *from, int64_t place, float *restrict y, int64_t count,
                             int relu) {
    int64_t i = 0;
    if (!bf16) {
        const float *restrict x = (const float *)from + place;
        for (; i < count; i++) y[i] = relu ? rectified(x[i]) : x[i];
        return;
    }
    const uint16_t *restrict x = (const uint16_t *)from + place;
#ifdef __AVX512BW__
    for (; i + 16 <= count; i += 16) {
        __m256i bits = _mm256_loadu_si256((const __m256i *)(x + i));
        __m512 v = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
        _mm512_storeu_ps(y + i, relu ? _mm512_max_ps(_mm512_setzero_ps(), v) : v); /* of NaN: the second, NaN */
    }
#endif
    for (; i < count; i++) y[i] = relu ? rectified(widen(x[i])) : widen(x[i]);
}

static inline void narrow_run(int64_t bf16, void *to, int64_t place, const float *restrict x, int64_t count,
                              int relu) {
    int64_t i = 0;
    if (!bf16) {
        float *restrict y = (float *)to + place;
        for (; i < count; i++) y[i] = relu ? rectified(x[i]) : x[i];
        return;
    }
    uint16_t *restrict y = (uint16_t *)to + place;
#ifdef __AVX512BF16__
    for (; i + 16 <= count; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        __m256bh bits = _mm512_cvtneps_pbh(relu ? _mm512_max_ps(_mm512_setzero_ps(), v) : v);
        memcpy(y + i, &bits, sizeof bits);
    }
#endif
    for (; i < count; i++) y[i] = relu ? narrow(rectified(x[i])) : narrow(x[i]);
}

/* s ** -0.5, to float32's last bits: the processor's estimate of 14 bits and one step of Newton's. */
#ifdef __AVX512F__
static inline __m512 estimate(__m512 s) {
    __m512 r = _mm512_rsqrt14_ps(s), half = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(0.5f), s), r);
    return _mm512_mul_ps(r, _mm512_fnmadd_ps(half, r, _mm512_set1_ps(1.5f)));
}
#endif

/* Of count window sums: the inverses of k + alpha sum, in their place, and the powers -0.75 of these. */
static inline void powers(float k, float alpha, float *restrict sums, float *restrict power, int64_t count) {
    int64_t i = 0;
#ifdef __AVX512F__
    for (__m512 start = _mm512_set1_ps(k), slope = _mm512_set1_ps(alpha); i + 16 <= count; i += 16) {
        __m512 sum = _mm512_fmadd_ps(slope, _mm512_loadu_ps(sums + i), start);
        __m512 root = estimate(_mm512_min_ps(_mm512_set1_ps(FLT_MAX), sum)); /* of infinity none; of NaN: NaN */
        _mm512_storeu_ps(sums + i, _mm512_mul_ps(root, root));
        _mm512_storeu_ps(power + i, _mm512_mul_ps(root, _mm512_mul_ps(root, estimate(root))));
    }
#endif
    for (; i < count; i++) {
        float root = 1.0f / sqrtf(k + alpha * sums[i]);
        sums[i] = root * root;
        power[i] = root * sqrtf(root);
    }
}

#endif
