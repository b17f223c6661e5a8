/* Every parallel function of the library with several threads on random inputs, for ThreadSanitizer: `make sanitize`.
 * The sums of what comes out must not depend on the number of threads. */
#include "../../src/alexnet/native/data.c"
#include "../../src/alexnet/native/few_rows.c"
#include "../../src/alexnet/native/local.c"
#include "../../src/alexnet/native/stage.c"
#include "../../src/alexnet/native/update.c"
#include "../../src/alexnet/native/within_map.c"
#include <stdio.h>

static uint32_t state;

static void *drawn(int64_t bytes) {
    uint8_t *memory = malloc(bytes + 1);
    for (int64_t i = 0; i < bytes; i++) memory[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
    return memory;
}

static float *drawn_floats(int64_t count) {
    float *memory = malloc(sizeof(float) * (count + 1));
    for (int64_t i = 0; i < count; i++) memory[i] = (int32_t)(state = state * 1664525u + 1013904223u) / 1e8f;
    return memory;
}

static uint64_t sum_of(void *memory, int64_t bytes) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < bytes; i++) sum = sum * 31 + ((uint8_t *)memory)[i];
    free(memory);
    return sum;
}

static uint64_t stages(int64_t images, int64_t threads, int64_t average) {
    Stage s = {.images = images, .rows = 13, .columns = 11, .maps = 20, .out_rows = 6, .out_columns = 5, .window = 3,
               .stride = 2, .size = 5, .towers = 2, .relu_before = 1, .norm = 1, .pool = 1, .average = average, .threads = threads,
               .k = 2, .alpha = 1e-4f};
    int64_t in = images * s.rows * s.columns * s.maps, out = images * s.out_rows * s.out_columns * s.maps;
    float *x = drawn_floats(in), *gradient = drawn_floats(out), *y = malloc(out * 4), *back = malloc(in * 4);
    uint8_t *places = malloc(out);
    int failed = stage_forward(&s, x, y, places) | stage_backward(&s, x, y, places, gradient, back);
    free(x), free(gradient), free(places);
    return failed + sum_of(y, out * 4) + 7 * sum_of(back, in * 4);
}

static uint64_t norms(int64_t images, int64_t threads) {
    int64_t rows = 13, columns = 11, maps = 20, count = images * rows * columns * maps;
    float *x = drawn_floats(count), *gradient = drawn_floats(count), *y = malloc(count * 4), *back = malloc(count * 4);
    int failed = within_map_norm_forward(x, y, images, rows, columns, maps, 2, 1, 1e-3f, 0, threads);
    failed |= within_map_norm_backward(x, gradient, back, images, rows, columns, maps, 2, 1, 1e-3f, 0, threads);
    free(x), free(gradient);
    return failed + sum_of(y, count * 4) + 7 * sum_of(back, count * 4);
}

static uint64_t windows(int64_t images, int64_t threads) {
    int64_t rows = 9, columns = 8, maps = 20, window = 3, out_rows = 9, out_columns = 8;
    int64_t in = images * rows * columns * maps * 4, out = images * out_rows * out_columns * window * window * maps * 4;
    uint8_t *x = (uint8_t *)drawn_floats(in / 4), *parts = malloc(out), *back = malloc(in);
    windows_gather(x, parts, images, rows, columns, maps, window, 1, 1, out_rows, out_columns, 0, threads);
    int failed = windows_scatter(parts, back, images, rows, columns, maps, window, 1, 1, out_rows, out_columns, 0, threads);
    free(x);
    return failed + sum_of(parts, out) + 7 * sum_of(back, in);
}

static uint64_t images_of(int64_t threads) {
    int64_t images = 7, rows = 6, line = 15;
    uint8_t *crops = drawn(images * rows * line);
    float *mean = drawn_floats(rows * line), *noise = drawn_floats(3 * images), *scale = drawn_floats(3);
    void *out = malloc(images * rows * line * 2);
    int failed = prepare_images(crops, mean, noise, scale, out, images, rows, line, 1, threads);
    free(crops), free(mean), free(noise), free(scale);
    return failed + sum_of(out, images * rows * line * 2);
}

static uint64_t updates(int64_t threads) {
    int64_t count = 200001;
    float *w = drawn_floats(count), *v = drawn_floats(count), *g = drawn_floats(count);
    uint16_t *low = malloc(2 * count);
    momentum_step(w, v, g, low, 0.9f, 0.01f, 5e-6f, count, 0, threads);
    free(g);
    return sum_of(w, 4 * count) + 3 * sum_of(v, 4 * count) + 5 * sum_of(low, 2 * count);
}

static uint64_t products(int64_t threads) {
    int64_t rows = 3, inputs = 200, units = 37;
    uint16_t *x = malloc(2 * rows * inputs);
    for (int64_t i = 0; i < rows * inputs; i++) x[i] = narrow((float)(i % 17) - 8);
    float *scale = drawn_floats(units), *bias = drawn_floats(units), *y = malloc(4 * rows * units);
    int8_t *weights = drawn(units * inputs);
    int failed = few_rows(x, weights, scale, bias, y, rows, inputs, units, threads);
    free(x), free(scale), free(bias), free(weights);
    return failed + sum_of(y, 4 * rows * units);
}

int main(void) {
    uint64_t expected = 0;
    for (int64_t threads = 1; threads <= 5; threads++)
        for (int round = 0; round < 4; round++) {
            state = 1;
            uint64_t sum = stages(1, threads, 0) + 3 * stages(4, threads, 0) + 5 * images_of(threads);
            sum += 7 * updates(threads) + 11 * products(threads) + 13 * stages(3, threads, 1);
            sum += 17 * norms(1, threads) + 19 * norms(3, threads) + 23 * windows(3, threads);
            if (!expected) expected = sum;
            if (sum != expected) return fprintf(stderr, "%d threads: other results\n", (int)threads), 1;
        }
    puts("the same results with one to five threads");
    return 0;
}
