/* Patch embedding, from the pixels where they lie.
 *
 *     y[b, (r, c)] = W x[b, (r, c)] + bias        x[b, (r, c)][k, i, j] = pixels[b, k, r ph + i, c pw + j]
 *
 * 2 N K D operations on 4 (N K + N D) bytes and K D weights, for N patches of K = C ph pw pixels. Of all pictures
 * together, TOGETHER patches at a time become rows x, which stay in the last cache, and go through the product. Cutting
 * them out is a copy that the calling thread makes, a hundredth of the product's work: waiting until others have begun
 * takes longer.
 */
#include "kernels.h"

/* x of one patch: its pixels of every channel, row by row. */
static void cut_patch(const struct pixels *p, long patch, float *x) {
    long column = patch % p->columns, row = patch / p->columns % p->rows, image = patch / p->columns / p->rows;
    const long *stride = p->strides;
    const float *first = p->data + image * stride[0] + row * p->ph * stride[2] + column * p->pw * stride[3];
    for (long k = 0; k < p->channels; k++)
        for (long i = 0; i < p->ph; i++, x += p->pw) {
            const float *from = first + k * stride[1] + i * stride[2];
            for (long j = 0; j < p->pw; j++) x[j] = from[j * stride[3]];
        }
}

static int run_patches(const struct pixels *pixels, const struct matrix *w, float *y, int threads) {
    long count = pixels->batch * pixels->rows * pixels->columns, together = count < TOGETHER ? count : TOGETHER;
    long stride = w->inputs + APART;
    float *x = malloc(4 * (size_t)together * (size_t)stride);
    int failed = count && !x;
    for (long patch = 0, rows; !failed && patch < count; patch += rows) {
        rows = count - patch < together ? count - patch : together;
        for (long row = 0; row < rows; row++) cut_patch(pixels, patch + row, x + row * stride);
        failed = run_linear(x, rows, stride, w, y + patch * w->outputs, w->outputs, threads);
    }
    free(x);
    return failed ? -1 : 0;
}
