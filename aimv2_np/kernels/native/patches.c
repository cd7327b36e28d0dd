/* Patch embedding, from the pixels where they lie.
 *
 *     y[b, (r, c)] = W x[b, (r, c)] + bias        x[b, (r, c)][k, i, j] = pixels[b, k, r ph + i, c pw + j]
 *
 * 2 N K D operations on 4 (N K + N D) bytes and K D weights, for N patches of K = C ph pw pixels. Of all pictures
 * together, TOGETHER patches at a time become rows x, which stay in the last cache, and go through the product.
 */
#include "kernels.h"
#include "simd.h"
#include "team.h"

#define CUT_ROWS 16 /* of a task */

struct embedding {
    const struct pixels *pixels;
    struct product product; /* of `together` patches at most, which become its x */
    float *rows, *y;
    long count, together;
    float *scratch; /* of all threads, `each` for one */
    long each;
};

/* x of one patch: its pixels of every channel, row by row. */
static void cut_patch(const struct pixels *p, long patch, float *x) {
    long column = patch % p->columns, row = patch / p->columns % p->rows, image = patch / p->columns / p->rows;
    const long *stride = p->strides;
    const float *first = p->data + image * stride[0] + row * p->ph * stride[2] + column * p->pw * stride[3];
    for (long k = 0; k < p->channels; k++)
        for (long i = 0; i < p->ph; i++)
            for (long j = 0; j < p->pw; j++) *x++ = first[k * stride[1] + i * stride[2] + j * stride[3]];
}

static void embedding_work(void *about, struct team *team, int member) {
    const struct embedding *e = about;
    struct product product = e->product;
    struct product_scratch scratch;
    product_place(&scratch, e->scratch + member * e->each);
    for (long first = 0; first < e->count; first += e->together) {
        product.rows = e->count - first < e->together ? e->count - first : e->together;
        product.y = e->y + first * product.y_stride;
        for (long row; (row = team_claim(team) * CUT_ROWS) < product.rows;)
            for (long end = row + CUT_ROWS < product.rows ? row + CUT_ROWS : product.rows; row < end; row++)
                cut_patch(e->pixels, first + row, e->rows + row * product.x_stride);
        team_meet(team);
        products(&product, 1, 0, team, &scratch);
        team_meet(team);
    }
}

static int run_patches(const struct pixels *pixels, const struct matrix *w, float *y, int threads) {
    if (threads < 1) threads = 1;
    long count = pixels->batch * pixels->rows * pixels->columns, together = count < TOGETHER ? count : TOGETHER;
    if (count < 1) return 0;
    struct embedding e = {.pixels = pixels, .y = y, .count = count, .together = together,
                          .each = product_floats(together, w->inputs),
                          .product = {.x_stride = w->inputs + APART, .w = w, .y_stride = w->outputs}};
    size_t rows = (size_t)together * (size_t)e.product.x_stride, scratch = (size_t)threads * (size_t)e.each;
    size_t pairs = w->kind == ROUNDED ? (size_t)(together + ROWS_BEHIND) * (size_t)pairs_stride(w) : 0;
    float *memory = pages(4 * (rows + scratch + pairs));
    if (!memory) return -1;
    e.product.x = e.rows = memory;
    e.scratch = memory + rows;
    e.product.pairs = e.scratch + scratch;
    team_run(embedding_work, &e, threads);
    free(memory);
    return 0;
}
