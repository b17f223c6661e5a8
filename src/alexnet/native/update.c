/* The update rule. */
#include "common.h"

#define FEW 65536 /* weights that one thread has updated before a second one is awake */

/* v <- momentum v - rate g - rate decay w, w <- w + v, and w in bf16 beside it where there is room for that: weight,
 * velocity and gradient once through memory (paper 5). The gradient is bf16 or float32. */
void momentum_step(float *restrict w, float *restrict v, const void *g, uint16_t *restrict low, float momentum, float rate,
                   float decay, int64_t count, int64_t bf16, int64_t threads) {
    int64_t block = 4096;
#pragma omp parallel for num_threads(threads) schedule(static) if (count > FEW)
    for (int64_t i = 0; i < count; i += block) {
        int64_t n = i + block < count ? block : count - i;
        float gradient[4096];
        widen_run(bf16, g, i, gradient, n, 0);
        for (int64_t j = i; j < i + n; j++) {
            v[j] = momentum * v[j] - rate * gradient[j - i] - decay * w[j];
            w[j] += v[j];
        }
        if (low) narrow_run(1, low, i, w + i, n, 0);
    }
}
