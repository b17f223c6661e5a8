/* The path of an image: averaged over areas, summed for statistics, cropped, prepared for the net. */
#include "common.h"

/* Where a place before or behind a line of so many lies in it, mirrored at its ends, which are not repeated. */
static int64_t reflected(int64_t place, int64_t count) {
    return place < 0 ? -place : place < count ? place : 2 * (count - 1) - place;
}

/* A square out of an image, mirrored or not: image (rows, 3 columns) and out (side, 3 side) bytes of RGB. What of the
 * square lies beyond the image's borders, by less than the image is wide, shows the image mirrored there. */
void crop_image(const uint8_t *image, int64_t rows, int64_t columns, int64_t top, int64_t left, int64_t side,
                int64_t mirrored, uint8_t *restrict out) {
    int beyond = left < 0 || left + side > columns;
    for (int64_t h = 0; h < side; h++) {
        const uint8_t *restrict line = image + reflected(top + h, rows) * 3 * columns;
        const uint8_t *restrict from = line + 3 * left; /* not read where it is beyond */
        uint8_t *restrict to = out + h * 3 * side;
        if (beyond) {
            for (int64_t w = 0; w < side; w++)
                memcpy(to + 3 * w, line + 3 * reflected(left + (mirrored ? side - w - 1 : w), columns), 3);
            continue;
        }
        if (!mirrored) {
            memcpy(to, from, 3 * side);
            continue;
        }
        int64_t w = 0;
#ifdef __SSSE3__
        /* five pixels at a time and the byte before them, of a sixth, which w + 6 <= side says is there: nothing before
         * the row is read; and what it writes behind the five the next ones overwrite */
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

/* A square out of each of count images of size x size pixels, as above; corners (count, 2): top, left. */
void crop_images(const uint8_t *images, int64_t size, const int64_t *rows, const int64_t *corners,
                 const uint8_t *mirrored, int64_t count, int64_t side, uint8_t *out) {
    for (int64_t i = 0; i < count; i++)
        crop_image(images + rows[i] * 3 * size * size, size, size, corners[2 * i], corners[2 * i + 1], side,
                   mirrored[i], out + i * 3 * side * side);
}

/* Averages over areas, in integers: each output is a weighted sum of the pixels it covers, whose weights of rows and
 * of columns are multiples of 1 / 2048 and add up to one. image (rows, line) bytes of RGB; first (size) and weights
 * (size, taps) of either axis; out (size, 3 size). */
typedef uint32_t Four __attribute__((vector_size(16)));

int area_average(const uint8_t *image, int64_t line, const int32_t *first_row, const uint32_t *row_weights,
                 int64_t row_taps, const int32_t *first_column, const uint32_t *column_weights, int64_t column_taps,
                 int64_t size, uint8_t *restrict out) {
    int64_t left = 3 * first_column[0], right = 3 * (first_column[size - 1] + column_taps);
    if (right > line) right = line;
    uint32_t *restrict sums = zeroed((line + 3 * column_taps + 4) * sizeof(uint32_t));
    if (!sums) return 1;
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
    return 0;
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

/* Images as the net sees them: minus the mean, plus an image's noise, times a scale, in one pass (paper 2, 4.1).
 * crops (images, rows, line) uint8 and mean (rows, line) with line = columns x 3; noise (images, 3) or NULL. */
int prepare_images(const uint8_t *crops, const float *mean, const float *noise, const float *scale, void *out,
                   int64_t images, int64_t rows, int64_t line, int64_t bf16, int64_t threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *shift = zeroed(3 * line * sizeof(float));
        if (!shift) {
#pragma omp atomic write
            failed = 1;
        }
        for (int64_t i = 0; shift && i < line; i++) shift[2 * line + i] = scale[i % 3];
#pragma omp for schedule(static)
        for (int64_t n = 0; n < images; n++) {
            if (!shift) continue;
            float *value = shift + line, *factor = value + line;
            if (noise)
                for (int64_t i = 0; i < line; i++) shift[i] = noise[3 * n + i % 3];
            for (int64_t h = 0; h < rows; h++) {
                const uint8_t *restrict x = crops + (n * rows + h) * line;
                const float *restrict m = mean + h * line;
                for (int64_t i = 0; i < line; i++) value[i] = ((float)x[i] - m[i] + shift[i]) * factor[i];
                narrow_run(bf16, out, (n * rows + h) * line, value, line, 0);
            }
        }
        free(shift);
    }
    return failed;
}
