/* The compiled path on a CPU; what Python calls is stage_forward, stage_backward and prepare_images.
 *
 * What lies between two convolutions, in one pass over memory each way: ReLU, response norm across maps, max pooling.
 *
 * Tensors are channels-last: (images, rows, columns, maps), bf16 (as uint16_t) or float32; all arithmetic is float32.
 * Forward reads the convolution's output once and writes the pooled maps and, for each, which of its window's places
 * was the largest. Backward reads these and the convolution's output once and writes its gradient. The norm's sums
 * are computed again on the way back (paper 3.1, 3.3, 3.4).
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

typedef struct {
    int64_t images, rows, columns, maps, out_rows, out_columns;
    int64_t window, stride, size, towers;
    int64_t relu_before, norm, pool, relu_after, bf16, threads;
    float k, alpha;
} Stage;

static inline float widen(uint16_t bits) {
    union { uint32_t u; float f; } v = {(uint32_t)bits << 16};
    return v.f;
}

static inline uint16_t narrow(float f) {
    union { float f; uint32_t u; } v = {f};
    uint32_t rounded = (v.u + 0x7fffu + ((v.u >> 16) & 1u)) >> 16;
    return f != f ? (uint16_t)0x7fc0 : (uint16_t)rounded;
}

static void load(const Stage *s, const void *from, int64_t place, int64_t count, float *restrict to) {
    if (s->bf16) {
        const uint16_t *restrict x = (const uint16_t *)from + place;
        for (int64_t i = 0; i < count; i++) to[i] = widen(x[i]);
    } else {
        memcpy(to, (const float *)from + place, count * sizeof(float));
    }
}

static void store(const Stage *s, void *to, int64_t place, int64_t count, const float *restrict from) {
    if (s->bf16) {
        uint16_t *restrict y = (uint16_t *)to + place;
        for (int64_t i = 0; i < count; i++) y[i] = narrow(from[i]);
    } else {
        memcpy((float *)to + place, from, count * sizeof(float));
    }
}

static inline void rectify(float *restrict x, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] = x[i] > 0 || x[i] != x[i] ? x[i] : 0.0f;
}

/* total[i] = sum of q over the window around i, within each tower; padded has room for size - 1 more on both sides. */
static inline void window_sums(const Stage *s, const float *restrict q, float *restrict padded, float *restrict total,
                               int64_t before) {
    int64_t each = s->maps / s->towers;
    for (int64_t t = 0; t < s->towers; t++) {
        const float *restrict own = q + t * each;
        float *restrict sum = total + t * each;
        memset(padded, 0, before * sizeof(float));
        memcpy(padded + before, own, each * sizeof(float));
        memset(padded + before + each, 0, (s->size - 1 - before) * sizeof(float));
        if (s->size == 5) {
            for (int64_t i = 0; i < each; i++)
                sum[i] = padded[i] + padded[i + 1] + padded[i + 2] + padded[i + 3] + padded[i + 4];
        } else {
            for (int64_t i = 0; i < each; i++) sum[i] = 0;
            for (int64_t j = 0; j < s->size; j++)
                for (int64_t i = 0; i < each; i++) sum[i] += padded[i + j];
        }
    }
}

/* s ** -0.5, to float32's last bits: the processor's estimate of 14 bits and one step of Newton's. */
#ifdef __AVX512F__
static inline __m512 estimate(__m512 s) {
    __m512 r = _mm512_rsqrt14_ps(s), half = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(0.5f), s), r);
    return _mm512_mul_ps(r, _mm512_fnmadd_ps(half, r, _mm512_set1_ps(1.5f)));
}
#endif

/* Of one pixel: the inverse of its sums' scale, and the scale's power -0.75. room has 2 maps + size floats. */
static inline void scales(const Stage *s, const float *restrict x, float *restrict inverse, float *restrict power,
                          float *restrict room) {
    float *restrict q = room, *restrict padded = room + s->maps;
    int64_t i = 0;
    for (int64_t j = 0; j < s->maps; j++) q[j] = x[j] * x[j];
    window_sums(s, q, padded, inverse, s->size / 2);
#ifdef __AVX512F__
    for (__m512 k = _mm512_set1_ps(s->k), alpha = _mm512_set1_ps(s->alpha); i + 16 <= s->maps; i += 16) {
        __m512 root = estimate(_mm512_fmadd_ps(alpha, _mm512_loadu_ps(inverse + i), k));
        _mm512_storeu_ps(inverse + i, _mm512_mul_ps(root, root));
        _mm512_storeu_ps(power + i, _mm512_mul_ps(root, _mm512_mul_ps(root, estimate(root))));
    }
#endif
    for (; i < s->maps; i++) {
        float root = 1.0f / sqrtf(s->k + s->alpha * inverse[i]);
        inverse[i] = root * root;
        power[i] = root * sqrtf(root);
    }
}

static void row_forward(const Stage *s, const void *x, int64_t row, float *restrict out, float *restrict room) {
    int64_t c = s->maps, count = s->columns * c;
    load(s, x, row * count, count, out);
    if (s->relu_before) rectify(out, count);
    if (!s->norm) return;
    float *restrict inverse = room, *restrict power = room + c;
    for (int64_t w = 0; w < s->columns; w++) {
        float *restrict pixel = out + w * c;
        scales(s, pixel, inverse, power, room + 2 * c);
        for (int64_t i = 0; i < c; i++) pixel[i] *= power[i];
    }
}

void stage_forward(const Stage *s, const void *x, void *y, uint8_t *places) {
    int64_t c = s->maps, line = s->columns * c;
#pragma omp parallel num_threads(s->threads)
    {
        float *rows = malloc(sizeof(float) * (s->window * line + 6 * c + 4 * s->size + 64));
        float *best = rows + s->window * line, *room = best + c;
        int32_t *where = malloc(sizeof(int32_t) * c);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < s->images; n++) {
            if (!s->pool) {
                for (int64_t h = 0; h < s->rows; h++) {
                    row_forward(s, x, n * s->rows + h, rows, room);
                    if (s->relu_after) rectify(rows, line);
                    store(s, y, (n * s->rows + h) * line, line, rows);
                }
                continue;
            }
            int64_t ready = 0; /* rows of this image that lie in the ring */
            for (int64_t oh = 0; oh < s->out_rows; oh++) {
                int64_t top = oh * s->stride, bottom = top + s->window < s->rows ? top + s->window : s->rows;
                if (ready < top) ready = top;
                for (; ready < bottom; ready++)
                    row_forward(s, x, n * s->rows + ready, rows + ready % s->window * line, room);
                for (int64_t ow = 0; ow < s->out_columns; ow++) {
                    int64_t left = ow * s->stride, right = left + s->window < s->columns ? left + s->window : s->columns;
                    for (int64_t i = 0; i < c; i++) best[i] = -INFINITY, where[i] = 0;
                    for (int64_t h = top; h < bottom; h++)
                        for (int64_t w = left; w < right; w++) {
                            const float *restrict v = rows + h % s->window * line + w * c;
                            int32_t place = (int32_t)((h - top) * s->window + w - left);
                            for (int64_t i = 0; i < c; i++) {
                                int more = (v[i] > best[i]) | (v[i] != v[i]);
                                best[i] = more ? v[i] : best[i];
                                where[i] = more ? place : where[i];
                            }
                        }
                    int64_t to = ((n * s->out_rows + oh) * s->out_columns + ow) * c;
                    if (s->relu_after) rectify(best, c);
                    store(s, y, to, c, best);
                    if (places)
                        for (int64_t i = 0; i < c; i++) places[to + i] = (uint8_t)where[i];
                }
            }
        }
        free(where);
        free(rows);
    }
}

void stage_backward(const Stage *s, const void *x, const void *y, const uint8_t *places, const void *gradient,
                    void *out) {
    int64_t c = s->maps, line = s->columns * c;
#pragma omp parallel num_threads(s->threads)
    {
        float *g = malloc(sizeof(float) * (2 * line + 8 * c + 4 * s->size + 64));
        float *own = g + line, *above = own + line, *inverse = above + 2 * c, *power = inverse + c, *q = power + c,
              *room = q + c;
        float *value = above + c;
#pragma omp for schedule(static)
        for (int64_t n = 0; n < s->images; n++)
            for (int64_t h = 0; h < s->rows; h++) {
                int64_t row = n * s->rows + h;
                if (s->pool) {
                    memset(g, 0, line * sizeof(float));
                    int64_t first = h < s->window ? 0 : (h - s->window) / s->stride + 1;
                    for (int64_t oh = first; oh < s->out_rows && oh * s->stride <= h; oh++)
                        for (int64_t ow = 0; ow < s->out_columns; ow++) {
                            int64_t from = ((n * s->out_rows + oh) * s->out_columns + ow) * c;
                            load(s, gradient, from, c, above);
                            if (s->relu_after) {
                                load(s, y, from, c, value);
                                for (int64_t i = 0; i < c; i++) above[i] = value[i] <= 0 ? 0.0f : above[i];
                            }
                            int64_t left = ow * s->stride;
                            int64_t right = left + s->window < s->columns ? left + s->window : s->columns;
                            for (int64_t w = left; w < right; w++) {
                                uint8_t place = (uint8_t)((h - oh * s->stride) * s->window + w - left);
                                const uint8_t *restrict which = places + from;
                                float *restrict to = g + w * c;
                                for (int64_t i = 0; i < c; i++) to[i] += which[i] == place ? above[i] : 0.0f;
                            }
                        }
                } else {
                    load(s, gradient, row * line, line, g);
                    if (s->relu_after) {
                        load(s, y, row * line, line, own);
                        for (int64_t i = 0; i < line; i++) g[i] = own[i] <= 0 ? 0.0f : g[i];
                    }
                }
                load(s, x, row * line, line, own);
                if (s->norm)
                    for (int64_t w = 0; w < s->columns; w++) {
                        float *restrict v = own + w * c, *restrict d = g + w * c;
                        if (s->relu_before) rectify(v, c);
                        scales(s, v, inverse, power, room);
                        for (int64_t i = 0; i < c; i++) {
                            d[i] *= power[i];
                            q[i] = d[i] * v[i] * inverse[i];
                        }
                        /* transposed: a map's gradient sums over the windows that it is in */
                        window_sums(s, q, room, power, (s->size - 1) / 2);
                        for (int64_t i = 0; i < c; i++) d[i] -= 1.5f * s->alpha * v[i] * power[i];
                    }
                if (s->relu_before)
                    for (int64_t i = 0; i < line; i++) g[i] = own[i] <= 0 ? 0.0f : g[i];
                store(s, out, row * line, line, g);
            }
        free(g);
    }
}

/* Images as the net sees them: minus the mean, plus an image's noise, times a scale, in one pass (paper 2, 4.1).
 * crops (images, rows, line) uint8 and mean (rows, line) with line = columns x 3; noise (images, 3) or NULL. */
void prepare_images(const uint8_t *crops, const float *mean, const float *noise, float scale, void *out, int64_t images,
                    int64_t rows, int64_t line, int64_t bf16, int64_t threads) {
    Stage s = {.bf16 = bf16};
#pragma omp parallel num_threads(threads)
    {
        float *shift = calloc(2 * line, sizeof(float)), *value = shift + line;
#pragma omp for schedule(static)
        for (int64_t n = 0; n < images; n++) {
            if (noise)
                for (int64_t i = 0; i < line; i++) shift[i] = noise[3 * n + i % 3];
            for (int64_t h = 0; h < rows; h++) {
                const uint8_t *restrict x = crops + (n * rows + h) * line;
                const float *restrict m = mean + h * line;
                for (int64_t i = 0; i < line; i++) value[i] = ((float)x[i] - m[i] + shift[i]) * scale;
                store(&s, out, (n * rows + h) * line, line, value);
            }
        }
        free(shift);
    }
}
