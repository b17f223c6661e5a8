/* The response norm within each map, in one pass over memory each way (2012 source; the paper does not have it).
 *
 * y = x (k + alpha S) ** -0.75, where S sums the squares of a map's values in a square window, clipped at the borders.
 * Tensors are as in stage.c: channels-last, bf16 or float32, and all arithmetic is float32.
 */
#include "common.h"

typedef struct {
    int64_t rows, columns, maps, reach, bf16; /* reach: pixels from a window's middle to its edge */
    float k, alpha;
} Norm;

/* What a thread works in. Columns have zeros of reach pixels before and after them; each of the others is a row, or a
 * ring of as many rows as a window has. */
typedef struct {
    float *all, *columns, *values, *sums, *power, *above, *inner;
} Scratch;

static int64_t line_of(const Norm *n) { return n->columns * n->maps; }

/* Rows that a window has at most. */
static int64_t ring_of(const Norm *n) { return 2 * n->reach + 1 < n->rows ? 2 * n->reach + 1 : n->rows; }

static Scratch scratch_of(const Norm *n, int64_t ring, int *failed) {
    int64_t line = line_of(n), total = line * (4 + 2 * ring) + 2 * n->reach * n->maps;
    Scratch w = {.all = zeroed(total * sizeof(float))};
    if (!w.all) {
#pragma omp atomic write
        *failed = 1;
        return w;
    }
    w.columns = w.all;
    w.values = w.columns + line + 2 * n->reach * n->maps;
    w.sums = w.values + line;
    w.power = w.sums + line;
    w.above = w.power + line;
    w.inner = w.above + ring * line;
    return w;
}

static int64_t first_of(const Norm *n, int64_t row) { return row > n->reach ? row - n->reach : 0; }

static int64_t end_of(const Norm *n, int64_t row) { return row + n->reach < n->rows ? row + n->reach + 1 : n->rows; }

/* Each value's sum over its window's columns, of what lies between the zeros. */
static void sum_across(const Norm *n, const float *restrict columns, float *restrict sums) {
    int64_t line = line_of(n);
    for (int64_t i = 0; i < line; i++) sums[i] = columns[i];
    for (int64_t j = 1; j <= 2 * n->reach; j++) {
        const float *restrict from = columns + j * n->maps;
        for (int64_t i = 0; i < line; i++) sums[i] += from[i];
    }
}

/* Of a row of an image: the inverses of k + alpha S and their powers, in the room's sums and power. */
static void map_scales(const Norm *n, const Scratch *w, const void *x, int64_t image, int64_t row) {
    int64_t line = line_of(n);
    float *restrict down = w->columns + n->reach * n->maps, *restrict values = w->values;
    memset(down, 0, line * sizeof(float));
    for (int64_t h = first_of(n, row); h < end_of(n, row); h++) {
        widen_run(n->bf16, x, (image * n->rows + h) * line, values, line, 0);
        for (int64_t i = 0; i < line; i++) down[i] += values[i] * values[i];
    }
    sum_across(n, w->columns, w->sums);
    powers(n->k, n->alpha, w->sums, w->power, line);
}

int within_map_norm_forward(const void *x, void *y, int64_t images, int64_t rows, int64_t columns, int64_t maps,
                            int64_t reach, float k, float alpha, int64_t bf16, int64_t threads) {
    Norm norm = {rows, columns, maps, reach, bf16, k, alpha}, *n = &norm;
    int64_t line = line_of(n);
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        Scratch w = scratch_of(n, 0, &failed);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < images * rows; row++) {
            if (!w.all) continue;
            map_scales(n, &w, x, row / rows, row % rows);
            widen_run(bf16, x, row * line, w.values, line, 0);
            float *restrict values = w.values, *restrict power = w.power;
            for (int64_t i = 0; i < line; i++) values[i] *= power[i];
            narrow_run(bf16, y, row * line, values, line, 0);
        }
        free(w.all);
    }
    return failed;
}

/* Of a row: what its gradient gives a value itself (above), and what the windows sum of it (inner). */
static void part_back(const Norm *n, const Scratch *w, const void *x, const void *gradient, int64_t image, int64_t row) {
    int64_t line = line_of(n), place = row % ring_of(n) * line, at = (image * n->rows + row) * line;
    map_scales(n, w, x, image, row);
    widen_run(n->bf16, x, at, w->values, line, 0);
    float *restrict above = w->above + place, *restrict inner = w->inner + place;
    const float *restrict values = w->values, *restrict power = w->power, *restrict inverse = w->sums;
    widen_run(n->bf16, gradient, at, above, line, 0);
    for (int64_t i = 0; i < line; i++) {
        above[i] *= power[i];
        inner[i] = above[i] * values[i] * inverse[i];
    }
}

/* Rows are shared out, of however many images: what the rows around a part's first and last give is computed twice. */
int within_map_norm_backward(const void *x, const void *gradient, void *out, int64_t images, int64_t rows,
                             int64_t columns, int64_t maps, int64_t reach, float k, float alpha, int64_t bf16,
                             int64_t threads) {
    Norm norm = {rows, columns, maps, reach, bf16, k, alpha}, *n = &norm;
    int64_t line = line_of(n), ring = ring_of(n), total = images * rows;
    float slope = 1.5f * alpha;
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        Scratch w = scratch_of(n, ring, &failed);
#pragma omp for schedule(static)
        for (int64_t part = 0; part < threads; part++) {
            int64_t first = total * part / threads, end = total * (part + 1) / threads, ready = 0;
            for (int64_t at = first; w.all && at < end; at++) {
                int64_t image = at / rows, row = at % rows;
                if (at == first || !row) ready = first_of(n, row);
                for (; ready < end_of(n, row); ready++) part_back(n, &w, x, gradient, image, ready);
                float *restrict down = w.columns + reach * maps, *restrict values = w.values;
                memset(down, 0, line * sizeof(float));
                for (int64_t h = first_of(n, row); h < end_of(n, row); h++) {
                    const float *restrict inner = w.inner + h % ring * line;
                    for (int64_t i = 0; i < line; i++) down[i] += inner[i];
                }
                sum_across(n, w.columns, w.sums);
                widen_run(bf16, x, at * line, values, line, 0);
                const float *restrict above = w.above + row % ring * line, *restrict sums = w.sums;
                for (int64_t i = 0; i < line; i++) values[i] = above[i] - slope * values[i] * sums[i];
                narrow_run(bf16, out, at * line, values, line, 0);
            }
        }
        free(w.all);
    }
    return failed;
}
