/* What a locally connected layer's windows see, as one matrix for each of its places, and back.
 *
 * Maps are channels-last: (images, rows, columns, maps); matrices are (out_rows, out_columns, images, window, window,
 * maps). What of a window lies in the padding is zero. Numbers are bf16 (as uint16_t) or float32.
 */
#include "common.h"

/* Of a window that begins at a column, or before the first, those that lie within the maps: the first, counted in the
 * window, and how many. */
static int64_t inside(int64_t begin, int64_t window, int64_t columns, int64_t *first) {
    *first = begin < 0 ? -begin : 0;
    int64_t count = (begin + window < columns ? begin + window : columns) - begin - *first;
    return count > 0 ? count : 0;
}

void windows_gather(const uint8_t *x, uint8_t *out, int64_t images, int64_t rows, int64_t columns, int64_t maps,
                    int64_t window, int64_t stride, int64_t padding, int64_t out_rows, int64_t out_columns,
                    int64_t bf16, int64_t threads) {
    int64_t pixel = maps * (bf16 ? 2 : 4), line = window * pixel, parts = out_rows * out_columns * images;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < parts; part++) {
        int64_t place = part / images, image = part % images, first;
        int64_t top = place / out_columns * stride - padding, begin = place % out_columns * stride - padding;
        int64_t count = inside(begin, window, columns, &first);
        for (int64_t i = 0; i < window; i++) {
            uint8_t *restrict to = out + (part * window + i) * line;
            int64_t row = top + i;
            if (row < 0 || row >= rows || !count) {
                memset(to, 0, line);
                continue;
            }
            memset(to, 0, first * pixel);
            memcpy(to + first * pixel, x + ((image * rows + row) * columns + begin + first) * pixel, count * pixel);
            memset(to + (first + count) * pixel, 0, line - (first + count) * pixel);
        }
    }
}

/* Each place of the maps gets the sum of what all windows have of it, in float32. */
int windows_scatter(const void *parts, void *out, int64_t images, int64_t rows, int64_t columns, int64_t maps,
                    int64_t window, int64_t stride, int64_t padding, int64_t out_rows, int64_t out_columns,
                    int64_t bf16, int64_t threads) {
    int64_t line = columns * maps;
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *restrict sums = zeroed(line * sizeof(float)), *restrict values = zeroed(window * maps * sizeof(float));
        if (!sums || !values) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (int64_t at = 0; at < images * rows; at++) {
            if (!sums || !values) continue;
            int64_t image = at / rows, row = at % rows + padding;
            memset(sums, 0, line * sizeof(float));
            int64_t first_row = row < window ? 0 : (row - window) / stride + 1;
            for (int64_t r = first_row; r < out_rows && r * stride <= row; r++)
                for (int64_t c = 0; c < out_columns; c++) {
                    int64_t first, begin = c * stride - padding, count = inside(begin, window, columns, &first) * maps;
                    int64_t matrix = (r * out_columns + c) * images + image;
                    int64_t from = ((matrix * window + row - r * stride) * window + first) * maps;
                    float *restrict to = sums + (begin + first) * maps;
                    widen_run(bf16, parts, from, values, count, 0);
                    for (int64_t i = 0; i < count; i++) to[i] += values[i];
                }
            narrow_run(bf16, out, at * line, sums, line, 0);
        }
        free(sums);
        free(values);
    }
    return failed;
}
