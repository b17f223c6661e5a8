/* The compiled path on a CPU. What Python calls: stage_forward and stage_backward, prepare_images, momentum_step, few_rows
 * for the net; crop_image, area_average, image_products and add_image for its data.
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
#ifdef __SSSE3__
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

static inline float rectified(float x) { return x > 0 || x != x ? x : 0.0f; }

/* Rows lie in rooms whose towers have zeros behind them, so that a window's sum needs no edge and a loop goes over many
 * pixels at once; and each tower begins where a vector does. */
#define VECTOR 16 /* floats */

typedef struct {
    int64_t each, tower, pixel, line, slack; /* floats: of a tower, from one to the next, from one pixel ..., row */
} Room;

static int64_t whole_vectors(int64_t floats) { return (floats + VECTOR - 1) / VECTOR * VECTOR; }

static Room room_of(const Stage *s) {
    Room r = {.each = s->maps / s->towers};
    r.tower = whole_vectors(r.each + (s->norm ? s->size - 1 : 0));
    r.pixel = r.tower * s->towers;
    r.line = r.pixel * s->columns;
    r.slack = whole_vectors(s->size);
    return r;
}

/* So many pixels are worked on at once: what a loop leaves to the next stays in the first cache. */
#define BLOCK_FLOATS 1536

static int64_t block_pixels(const Room *r) { return r->pixel < BLOCK_FLOATS ? BLOCK_FLOATS / r->pixel : 1; }

/* Runs of bf16 or float32 to float32 and back, with ReLU or not. Compilers do badly on short runs of mixed widths. */
static inline void widen_run(const Stage *s, const void *from, int64_t place, float *restrict y, int64_t count,
                             int relu) {
    int64_t i = 0;
    if (!s->bf16) {
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

static inline void narrow_run(const Stage *s, void *to, int64_t place, const float *restrict x, int64_t count,
                              int relu) {
    int64_t i = 0;
    if (!s->bf16) {
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

/* to[i] += above[i] where which[i] is this place */
static inline void add_where(float *restrict to, const float *restrict above, const uint8_t *restrict which,
                             uint8_t place, int64_t count) {
    int64_t i = 0;
#ifdef __AVX512F__
    for (__m512i sought = _mm512_set1_epi32(place); i + 16 <= count; i += 16) {
        __m512i places = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(which + i)));
        __m512 old = _mm512_loadu_ps(to + i);
        __mmask16 same = _mm512_cmpeq_epi32_mask(places, sought);
        _mm512_storeu_ps(to + i, _mm512_mask_add_ps(old, same, old, _mm512_loadu_ps(above + i)));
    }
#endif
    for (; i < count; i++) to[i] += which[i] == place ? above[i] : 0.0f;
}

/* Values of so many pixels from a tensor into a room's row, and back. */
static void load(const Stage *s, const Room *r, const void *from, int64_t place, int64_t pixels, float *restrict to,
                 int relu) {
    for (int64_t n = 0; n < pixels * s->towers; n++)
        widen_run(s, from, place + n * r->each, to + n * r->tower, r->each, relu);
}

static void store(const Stage *s, const Room *r, void *to, int64_t place, int64_t pixels, const float *restrict from,
                  int relu) {
    for (int64_t n = 0; n < pixels * s->towers; n++)
        narrow_run(s, to, place + n * r->each, from + n * r->tower, r->each, relu);
}

/* What is not finite spreads within a window, and no further: not by way of the zeros. */
static void clear_pads(const Stage *s, const Room *r, float *restrict row, int64_t pixels) {
    for (int64_t n = 0; n < pixels * s->towers; n++) {
        float *restrict own = row + n * r->tower;
        for (int64_t i = r->each; i < r->tower; i++) own[i] = 0;
    }
}

/* total[i] = q[i - before] + ... + q[i - before + size - 1] */
static inline void window_sums(int64_t size, const float *restrict q, float *restrict total, int64_t before,
                               int64_t count) {
    const float *restrict from = q - before;
    if (size == 5) {
        for (int64_t i = 0; i < count; i++) total[i] = from[i] + from[i + 1] + from[i + 2] + from[i + 3] + from[i + 4];
    } else {
        for (int64_t i = 0; i < count; i++) total[i] = from[i];
        for (int64_t j = 1; j < size; j++)
            for (int64_t i = 0; i < count; i++) total[i] += from[i + j];
    }
}

/* s ** -0.5, to float32's last bits: the processor's estimate of 14 bits and one step of Newton's. */
#ifdef __AVX512F__
static inline __m512 estimate(__m512 s) {
    __m512 r = _mm512_rsqrt14_ps(s), half = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(0.5f), s), r);
    return _mm512_mul_ps(r, _mm512_fnmadd_ps(half, r, _mm512_set1_ps(1.5f)));
}
#endif

/* Of count values x: the inverse of their sums' scale, and the scale's power -0.75. q is room for as many. */
static inline void scales(const Stage *s, const float *restrict x, float *restrict inverse, float *restrict power,
                          float *restrict q, int64_t count) {
    int64_t i = 0;
    for (int64_t j = 0; j < count; j++) q[j] = x[j] * x[j];
    window_sums(s->size, q, inverse, s->size / 2, count);
#ifdef __AVX512F__
    for (__m512 k = _mm512_set1_ps(s->k), alpha = _mm512_set1_ps(s->alpha); i + 16 <= count; i += 16) {
        __m512 root = estimate(_mm512_fmadd_ps(alpha, _mm512_loadu_ps(inverse + i), k));
        _mm512_storeu_ps(inverse + i, _mm512_mul_ps(root, root));
        _mm512_storeu_ps(power + i, _mm512_mul_ps(root, _mm512_mul_ps(root, estimate(root))));
    }
#endif
    for (; i < count; i++) {
        float root = 1.0f / sqrtf(s->k + s->alpha * inverse[i]);
        inverse[i] = root * root;
        power[i] = root * sqrtf(root);
    }
}

/* What a thread works in: each part has zeros before and after. */
typedef struct {
    float *all, *rows, *gradient, *above, *inverse, *power, *q;
    uint8_t *where;
} Work;

static Work work_of(const Stage *s, const Room *r, int64_t rows) {
    int64_t block = block_pixels(r) * r->pixel, sizes[] = {rows * r->line, r->line, r->pixel, block, block, block};
    int64_t total = 0, at = r->slack;
    for (int i = 0; i < 6; i++) total += sizes[i] + 2 * r->slack;
    Work w = {.all = aligned_alloc(sizeof(float) * VECTOR, total * sizeof(float)),
              .where = malloc(r->pixel)};
    memset(w.all, 0, total * sizeof(float));
    float **parts[] = {&w.rows, &w.gradient, &w.above, &w.inverse, &w.power, &w.q};
    for (int i = 0; i < 6; i++, at += sizes[i - 1] + 2 * r->slack) *parts[i] = w.all + at;
    return w;
}

static void row_forward(const Stage *s, const Room *r, const Work *work, const void *x, int64_t row, float *out) {
    int64_t block = block_pixels(r);
    for (int64_t w = 0; w < s->columns; w += block) {
        int64_t pixels = w + block < s->columns ? block : s->columns - w, count = pixels * r->pixel;
        float *restrict own = out + w * r->pixel;
        load(s, r, x, (row * s->columns + w) * s->maps, pixels, own, s->relu_before);
        if (!s->norm) continue;
        const float *restrict power = work->power;
        scales(s, own, work->inverse, work->power, work->q, count);
        for (int64_t i = 0; i < count; i++) own[i] *= power[i];
        clear_pads(s, r, own, pixels);
    }
}

/* Of a pixel's maps, the largest value within a window of a ring of rows, and its place in the window. */
static void largest(const Stage *s, const Room *r, const float *restrict rows, int64_t top, int64_t bottom, int64_t left,
                    int64_t right, float *restrict best, uint8_t *restrict where) {
#ifdef __AVX512F__
    for (int64_t i = 0; i < r->pixel; i += VECTOR) {
        __m512 most = _mm512_set1_ps(-INFINITY);
        __m512i place = _mm512_setzero_si512();
        for (int64_t h = top; h < bottom; h++)
            for (int64_t w = left; w < right; w++) {
                __m512 v = _mm512_load_ps(rows + h % s->window * r->line + w * r->pixel + i);
                __mmask16 more = _mm512_cmp_ps_mask(v, most, _CMP_GT_OQ) | _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
                most = _mm512_mask_mov_ps(most, more, v);
                place = _mm512_mask_set1_epi32(place, more, (int)((h - top) * s->window + w - left));
            }
        _mm512_store_ps(best + i, most);
        _mm_storeu_si128((__m128i *)(where + i), _mm512_cvtepi32_epi8(place));
    }
#else
    for (int64_t i = 0; i < r->pixel; i++) best[i] = -INFINITY, where[i] = 0;
    for (int64_t h = top; h < bottom; h++)
        for (int64_t w = left; w < right; w++) {
            const float *restrict v = rows + h % s->window * r->line + w * r->pixel;
            uint8_t place = (uint8_t)((h - top) * s->window + w - left);
            for (int64_t i = 0; i < r->pixel; i++) {
                int more = (v[i] > best[i]) | (v[i] != v[i]);
                best[i] = more ? v[i] : best[i];
                where[i] = more ? place : where[i];
            }
        }
#endif
}

void stage_forward(const Stage *s, const void *x, void *y, uint8_t *places) {
    Room room = room_of(s), *r = &room;
    int64_t c = s->maps;
#pragma omp parallel num_threads(s->threads)
    {
        Work work = work_of(s, r, s->window);
        float *rows = work.rows, *restrict best = work.above;
        uint8_t *restrict where = work.where;
#pragma omp for schedule(static)
        for (int64_t n = 0; n < s->images; n++) {
            if (!s->pool) {
                for (int64_t h = 0; h < s->rows; h++) {
                    int64_t row = n * s->rows + h;
                    row_forward(s, r, &work, x, row, rows);
                    store(s, r, y, row * s->columns * c, s->columns, rows, s->relu_after);
                }
                continue;
            }
            int64_t ready = 0; /* rows of this image that lie in the ring */
            for (int64_t oh = 0; oh < s->out_rows; oh++) {
                int64_t top = oh * s->stride, bottom = top + s->window < s->rows ? top + s->window : s->rows;
                if (ready < top) ready = top;
                for (; ready < bottom; ready++)
                    row_forward(s, r, &work, x, n * s->rows + ready, rows + ready % s->window * r->line);
                for (int64_t ow = 0; ow < s->out_columns; ow++) {
                    int64_t left = ow * s->stride, right = left + s->window < s->columns ? left + s->window : s->columns;
                    largest(s, r, rows, top, bottom, left, right, best, where);
                    int64_t to = ((n * s->out_rows + oh) * s->out_columns + ow) * c;
                    store(s, r, y, to, 1, best, s->relu_after);
                    for (int64_t t = 0; places && t < s->towers; t++)
                        memcpy(places + to + t * r->each, where + t * r->tower, r->each);
                }
            }
        }
        free(work.where);
        free(work.all);
    }
}

/* A row's gradient through the pooling: each output's goes to the place that was the largest. */
static void row_unpooled(const Stage *s, const Room *r, const Work *work, const void *y, const uint8_t *places,
                         const void *gradient, int64_t n, int64_t h) {
    float *restrict g = work->gradient, *restrict above = work->above, *restrict value = work->inverse;
    memset(g, 0, r->line * sizeof(float));
    int64_t first = h < s->window ? 0 : (h - s->window) / s->stride + 1;
    for (int64_t oh = first; oh < s->out_rows && oh * s->stride <= h; oh++)
        for (int64_t ow = 0; ow < s->out_columns; ow++) {
            int64_t from = ((n * s->out_rows + oh) * s->out_columns + ow) * s->maps;
            load(s, r, gradient, from, 1, above, 0);
            if (s->relu_after) {
                load(s, r, y, from, 1, value, 0);
                for (int64_t i = 0; i < r->pixel; i++) above[i] = value[i] <= 0 ? 0.0f : above[i];
            }
            int64_t left = ow * s->stride;
            int64_t right = left + s->window < s->columns ? left + s->window : s->columns;
            for (int64_t w = left; w < right; w++) {
                uint8_t place = (uint8_t)((h - oh * s->stride) * s->window + w - left);
                for (int64_t t = 0; t < s->towers; t++) {
                    int64_t own = t * r->tower;
                    add_where(g + w * r->pixel + own, above + own, places + from + t * r->each, place, r->each);
                }
            }
        }
    if (s->relu_after) memset(value, 0, r->pixel * sizeof(float));
}

void stage_backward(const Stage *s, const void *x, const void *y, const uint8_t *places, const void *gradient,
                    void *out) {
    Room room = room_of(s), *r = &room;
    int64_t block = block_pixels(r);
    float slope = 1.5f * s->alpha;
#pragma omp parallel num_threads(s->threads)
    {
        Work work = work_of(s, r, 1);
        float *restrict inverse = work.inverse, *restrict power = work.power, *restrict q = work.q;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < s->images * s->rows; row++) {
            if (s->pool) row_unpooled(s, r, &work, y, places, gradient, row / s->rows, row % s->rows);
            for (int64_t w = 0; w < s->columns; w += block) {
                int64_t pixels = w + block < s->columns ? block : s->columns - w, count = pixels * r->pixel;
                int64_t place = (row * s->columns + w) * s->maps;
                float *restrict v = work.rows + w * r->pixel, *restrict d = work.gradient + w * r->pixel;
                if (!s->pool) {
                    load(s, r, gradient, place, pixels, d, 0);
                    if (s->relu_after) {
                        load(s, r, y, place, pixels, v, 0);
                        for (int64_t i = 0; i < count; i++) d[i] = v[i] <= 0 ? 0.0f : d[i];
                    }
                }
                load(s, r, x, place, pixels, v, s->relu_before);
                if (s->norm) {
                    scales(s, v, inverse, power, q, count);
                    for (int64_t i = 0; i < count; i++) {
                        d[i] *= power[i];
                        q[i] = d[i] * v[i] * inverse[i];
                    }
                    clear_pads(s, r, q, pixels);
                    /* transposed: a map's gradient sums over the windows that it is in */
                    window_sums(s->size, q, power, (s->size - 1) / 2, count);
                    for (int64_t i = 0; i < count; i++) d[i] -= slope * v[i] * power[i];
                }
                if (s->relu_before)
                    for (int64_t i = 0; i < count; i++) d[i] = v[i] <= 0 ? 0.0f : d[i];
                store(s, r, out, place, pixels, d, 0);
                clear_pads(s, r, d, pixels);
            }
        }
        free(work.where);
        free(work.all);
    }
}

/* Images as the net sees them: minus the mean, plus an image's noise, times a scale, in one pass (paper 2, 4.1).
 * crops (images, rows, line) uint8 and mean (rows, line) with line = columns x 3; noise (images, 3) or NULL. */
void prepare_images(const uint8_t *crops, const float *mean, const float *noise, const float *scale, void *out, int64_t images,
                    int64_t rows, int64_t line, int64_t bf16, int64_t threads) {
    Stage s = {.bf16 = bf16, .towers = 1, .maps = line};
    Room r = room_of(&s);
#pragma omp parallel num_threads(threads)
    {
        float *shift = calloc(3 * line, sizeof(float)), *value = shift + line, *factor = value + line;
        for (int64_t i = 0; i < line; i++) factor[i] = scale[i % 3];
#pragma omp for schedule(static)
        for (int64_t n = 0; n < images; n++) {
            if (noise)
                for (int64_t i = 0; i < line; i++) shift[i] = noise[3 * n + i % 3];
            for (int64_t h = 0; h < rows; h++) {
                const uint8_t *restrict x = crops + (n * rows + h) * line;
                const float *restrict m = mean + h * line;
                for (int64_t i = 0; i < line; i++) value[i] = ((float)x[i] - m[i] + shift[i]) * factor[i];
                store(&s, &r, out, (n * rows + h) * line, 1, value, 0);
            }
        }
        free(shift);
    }
}

/* v <- momentum v - rate g - rate decay w, w <- w + v, and w in bf16 beside it where there is room for that: weight,
 * velocity and gradient once through memory (paper 5). The gradient is bf16 or float32. */
void momentum_step(float *restrict w, float *restrict v, const void *g, uint16_t *restrict low, float momentum, float rate,
                   float decay, int64_t count, int64_t bf16, int64_t threads) {
    Stage from = {.bf16 = bf16}, to = {.bf16 = 1};
    int64_t block = 4096;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i += block) {
        int64_t n = i + block < count ? block : count - i;
        float gradient[4096];
        widen_run(&from, g, i, gradient, n, 0);
        for (int64_t j = i; j < i + n; j++) {
            v[j] = momentum * v[j] - rate * gradient[j - i] - decay * w[j];
            w[j] += v[j];
        }
        if (low) narrow_run(&to, low, i, w + i, n, 0);
    }
}

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
void few_rows(const uint16_t *x, const void *weights, const float *scale, const float *bias, float *y, int64_t rows,
              int64_t inputs, int64_t units, int64_t threads) {
#pragma omp parallel num_threads(threads)
    {
        uint16_t *widened = malloc(sizeof(uint16_t) * inputs);
#pragma omp for schedule(static)
        for (int64_t u = 0; u < units; u++) {
            const uint16_t *w = (const uint16_t *)weights + u * inputs;
            if (scale) {
                bf16_of_int8((const int8_t *)weights + u * inputs, widened, inputs);
                w = widened;
            }
            for (int64_t n = 0; n < rows; n++)
                y[n * units + u] = dot(x + n * inputs, w, inputs) * (scale ? scale[u] : 1.0f) + bias[u];
        }
        free(widened);
    }
}

/* A square out of an image, mirrored or not: image (?, line) and out (side, 3 side) bytes of RGB. */
void crop_image(const uint8_t *image, int64_t line, int64_t top, int64_t left, int64_t side, int64_t mirrored,
                uint8_t *restrict out) {
    for (int64_t h = 0; h < side; h++) {
        const uint8_t *restrict from = image + (top + h) * line + 3 * left;
        uint8_t *restrict to = out + h * 3 * side;
        if (!mirrored) {
            memcpy(to, from, 3 * side);
            continue;
        }
        int64_t w = 0;
#ifdef __SSSE3__
        /* five pixels at a time and a byte of the sixth, which is there, and which the next five overwrite */
        const __m128i turned = _mm_setr_epi8(13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, 0);
        for (; w + 6 <= side; w += 5) {
            __m128i five = _mm_loadu_si128((const __m128i *)(from + 3 * (side - w - 5) - 1));
            _mm_storeu_si128((__m128i *)(to + 3 * w), _mm_shuffle_epi8(five, turned));
        }
#endif
        for (; w < side; w++)
            for (int c = 0; c < 3; c++) to[3 * w + c] = from[3 * (side - w - 1) + c];
    }
}

/* Averages over areas, in integers: each output is a weighted sum of the pixels it covers, whose weights of rows and
 * of columns are multiples of 1 / 2048 and add up to one. image (rows, line) bytes of RGB; first (size) and weights
 * (size, taps) of either axis; out (size, 3 size). */
typedef uint32_t Four __attribute__((vector_size(16)));

void area_average(const uint8_t *image, int64_t line, const int32_t *first_row, const uint32_t *row_weights,
                  int64_t row_taps, const int32_t *first_column, const uint32_t *column_weights, int64_t column_taps,
                  int64_t size, uint8_t *restrict out) {
    int64_t left = 3 * first_column[0], right = 3 * (first_column[size - 1] + column_taps);
    if (right > line) right = line;
    uint32_t *restrict sums = calloc(line + 3 * column_taps + 4, sizeof(uint32_t));
    for (int64_t y = 0; y < size; y++) {
        for (int64_t k = 0; k < row_taps; k++) {
            uint32_t weight = row_weights[y * row_taps + k];
            const uint8_t *restrict from = image + (first_row[y] + k) * line;
            if (!k)
                for (int64_t i = left; i < right; i++) sums[i] = weight * from[i];
            else if (weight)
                for (int64_t i = left; i < right; i++) sums[i] += weight * from[i];
        }
        for (int64_t x = 0; x < size; x++) {
            Four sum = {1 << 21, 1 << 21, 1 << 21, 1 << 21}, pixel;
            for (int64_t k = 0; k < column_taps; k++) {
                memcpy(&pixel, sums + 3 * (first_column[x] + k), sizeof pixel);
                sum += pixel * column_weights[x * column_taps + k];
            }
            uint8_t *to = out + 3 * (y * size + x);
            for (int c = 0; c < 3; c++) to[c] = (uint8_t)(sum[c] >> 22);
        }
    }
    free(sums);
}

/* What statistics need of an image of so many pixels: products, the upper half of the sum of RGB's outer products. */
void image_products(const uint8_t *restrict image, int64_t pixels, int64_t *products) {
    for (int64_t i = 0; i < 6; i++) products[i] = 0;
    for (int64_t start = 0; start < pixels; start += 4096) {
        uint32_t rr = 0, rg = 0, rb = 0, gg = 0, gb = 0, bb = 0;
        int64_t end = start + 4096 < pixels ? start + 4096 : pixels;
        for (int64_t i = start; i < end; i++) {
            uint32_t r = image[3 * i], g = image[3 * i + 1], b = image[3 * i + 2];
            rr += r * r, rg += r * g, rb += r * b, gg += g * g, gb += g * b, bb += b * b;
        }
        int64_t block[] = {rr, rg, rb, gg, gb, bb};
        for (int64_t i = 0; i < 6; i++) products[i] += block[i];
    }
}

/* sums += image */
void add_image(int64_t *restrict sums, const uint8_t *restrict image, int64_t count) {
    for (int64_t i = 0; i < count; i++) sums[i] += image[i];
}
