/* What lies between two convolutions, in one pass over memory each way: ReLU, response norm across maps, pooling.
 *
 * Tensors are channels-last: (images, rows, columns, maps), bf16 (as uint16_t) or float32; all arithmetic is float32.
 * Forward reads the convolution's output once and writes the pooled maps and, where the largest is taken, which of its
 * window's places that was. Backward reads these and the convolution's output once and writes its gradient. The norm's
 * sums are computed again on the way back (paper 3.1, 3.3, 3.4). An average is over what of the window lies inside.
 */
#include "common.h"

typedef struct {
    int64_t images, rows, columns, maps, out_rows, out_columns;
    int64_t window, stride, size, towers;
    int64_t relu_before, norm, pool, average, relu_after, bf16, threads;
    float k, alpha;
} Stage;

/* What Python's mirror of Stage is compared with when the library is loaded. */
int64_t stage_size(void) { return sizeof(Stage); }

/* Rows lie in rooms whose towers have zeros behind them, so that a window's sum needs no edge and a loop goes over many
 * pixels at once; and each tower begins where a vector does. */
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
        widen_run(s->bf16, from, place + n * r->each, to + n * r->tower, r->each, relu);
}

static void store(const Stage *s, const Room *r, void *to, int64_t place, int64_t pixels, const float *restrict from,
                  int relu) {
    for (int64_t n = 0; n < pixels * s->towers; n++)
        narrow_run(s->bf16, to, place + n * r->each, from + n * r->tower, r->each, relu);
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

/* Of count values x: the inverse of their sums' scale, and the scale's power -0.75. q is room for as many. */
static inline void scales(const Stage *s, const float *restrict x, float *restrict inverse, float *restrict power,
                          float *restrict q, int64_t count) {
    for (int64_t i = 0; i < count; i++) q[i] = x[i] * x[i];
    window_sums(s->size, q, inverse, s->size / 2, count);
    powers(s->k, s->alpha, inverse, power, count);
}

/* What a thread works in: each part has zeros before and after. */
typedef struct {
    float *all, *rows, *gradient, *above, *inverse, *power, *q;
    uint8_t *where;
} Work;

/* Its all is NULL, and failed is 1, where there is no memory for it. */
static Work work_of(const Room *r, int64_t rows, int *failed) {
    int64_t block = block_pixels(r) * r->pixel, sizes[] = {rows * r->line, r->line, r->pixel, block, block, block};
    int64_t total = 0, at = r->slack;
    for (int i = 0; i < 6; i++) total += sizes[i] + 2 * r->slack;
    Work w = {.all = zeroed(total * sizeof(float) + r->pixel)};
    if (!w.all) {
#pragma omp atomic write
        *failed = 1;
        return w;
    }
    w.where = (uint8_t *)(w.all + total);
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

/* Of a pixel's maps, the mean within a window of a ring of rows. */
static void mean(const Stage *s, const Room *r, const float *restrict rows, int64_t top, int64_t bottom, int64_t left,
                 int64_t right, float *restrict out) {
    float part = 1.0f / (float)((bottom - top) * (right - left));
    for (int64_t i = 0; i < r->pixel; i++) out[i] = 0;
    for (int64_t h = top; h < bottom; h++)
        for (int64_t w = left; w < right; w++) {
            const float *restrict v = rows + h % s->window * r->line + w * r->pixel;
            for (int64_t i = 0; i < r->pixel; i++) out[i] += v[i];
        }
    for (int64_t i = 0; i < r->pixel; i++) out[i] *= part;
}

/* Rows of outputs are shared out, of however many images: a part's first rows of inputs may be another's last, too. */
int stage_forward(const Stage *s, const void *x, void *y, uint8_t *places) {
    Room room = room_of(s), *r = &room;
    int64_t c = s->maps, total = s->images * s->out_rows;
    int failed = 0;
#pragma omp parallel num_threads(s->threads)
    {
        Work work = work_of(r, s->window, &failed);
        float *rows = work.rows, *restrict best = work.above;
        uint8_t *restrict where = work.where;
#pragma omp for schedule(static)
        for (int64_t part = 0; part < s->threads; part++) {
            int64_t first = total * part / s->threads, end = total * (part + 1) / s->threads;
            int64_t ready = 0; /* rows of this image that lie in the ring */
            for (int64_t row = first; work.all && row < end; row++) {
                if (!s->pool) {
                    row_forward(s, r, &work, x, row, rows);
                    store(s, r, y, row * s->columns * c, s->columns, rows, s->relu_after);
                    continue;
                }
                int64_t n = row / s->out_rows, oh = row % s->out_rows;
                int64_t top = oh * s->stride, bottom = top + s->window < s->rows ? top + s->window : s->rows;
                if (!oh) ready = 0;
                if (ready < top) ready = top;
                for (; ready < bottom; ready++)
                    row_forward(s, r, &work, x, n * s->rows + ready, rows + ready % s->window * r->line);
                for (int64_t ow = 0; ow < s->out_columns; ow++) {
                    int64_t left = ow * s->stride, right = left + s->window < s->columns ? left + s->window : s->columns;
                    if (s->average) mean(s, r, rows, top, bottom, left, right, best);
                    else largest(s, r, rows, top, bottom, left, right, best, where);
                    int64_t to = (row * s->out_columns + ow) * c;
                    store(s, r, y, to, 1, best, s->relu_after);
                    for (int64_t t = 0; places && t < s->towers; t++)
                        memcpy(places + to + t * r->each, where + t * r->tower, r->each);
                }
            }
        }
        free(work.all);
    }
    return failed;
}

/* A row's gradient through the pooling: each output's goes to the place that was the largest, or in equal parts to
 * all that its window has inside. */
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
            if (s->average) {
                int64_t bottom = oh * s->stride + s->window < s->rows ? oh * s->stride + s->window : s->rows;
                float part = 1.0f / (float)((bottom - oh * s->stride) * (right - left));
                for (int64_t i = 0; i < r->pixel; i++) above[i] *= part;
                for (int64_t w = left; w < right; w++)
                    for (int64_t i = 0; i < r->pixel; i++) g[w * r->pixel + i] += above[i];
                continue;
            }
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

int stage_backward(const Stage *s, const void *x, const void *y, const uint8_t *places, const void *gradient,
                   void *out) {
    Room room = room_of(s), *r = &room;
    int64_t block = block_pixels(r);
    float slope = 1.5f * s->alpha;
    int failed = 0;
#pragma omp parallel num_threads(s->threads)
    {
        Work work = work_of(r, 1, &failed);
        float *restrict inverse = work.inverse, *restrict power = work.power, *restrict q = work.q;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < s->images * s->rows; row++) {
            if (!work.all) continue;
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
                if (s->norm || s->relu_before) load(s, r, x, place, pixels, v, s->relu_before);
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
        free(work.all);
    }
    return failed;
}
