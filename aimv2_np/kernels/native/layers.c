/* All layers of a tower, in one call.
 *
 *     x <- x + attention(rms_norm1(x))
 *     x <- x + ffn(rms_norm2(x)),      ffn(h) = W_down (activation(W_gate h) (W_up h))
 *
 * Each step is shared out among the threads, which meet after it: seven times a layer.
 */
#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "kernels.h"
#include "product.c"
#include "attention.c" /* whose products are those of product.c */
#include "rms_norm.c"

#define TOGETHER 1024 /* rows that go through a product together: what they need stays in the last cache */

struct job {
    /* of the call */
    float *x;
    long rows, width;
    const struct layer *layers;
    long depth, heads, activation;
    const struct sequence *sequences;
    long count;
    /* between the steps, (rows, ...) */
    float *normed, *qkv, *inner, *pairs;
    float *scratch; /* of all threads: of each, what products need and what attention needs */
    long product, attention;
};

static void layer_steps(const struct job *job, const struct layer *layer, struct team *team, int member) {
    long rows = job->rows, width = job->width, inner = layer->gate.outputs;
    long stride = width + APART, qkv_stride = 3 * width + APART, inner_stride = inner + APART;
    float *own = job->scratch + member * (job->product + job->attention);
    struct product_scratch scratch;
    struct attention_scratch tiles;
    product_place(&scratch, own);
    attention_place(&tiles, own + job->product, width / job->heads);
    rms_norm_rows(job->x, rows, width, width, &layer->norm1, job->normed, stride, team);
    team_meet(team);
    struct product qkv[3];
    const struct matrix *of[3] = {&layer->q, &layer->k, &layer->v};
    for (int i = 0; i < 3; i++)
        qkv[i] = (struct product){.x = job->normed, .x_stride = stride, .rows = rows, .w = of[i], .ending = PUT,
                                  .y = job->qkv + i * width, .y_stride = qkv_stride, .pairs = job->pairs};
    products(qkv, 3, 0, team, &scratch);
    team_meet(team);
    long d = width / job->heads;
    struct attention attention = {.heads = job->heads, .width = d, .scale = 1 / __builtin_sqrtf((float)d),
                                  .sequences = job->sequences, .count = job->count,
                                  .out = {.data = job->normed, .head = d, .row = stride}};
    struct heads *from[3] = {&attention.q, &attention.k, &attention.v};
    for (int i = 0; i < 3; i++) *from[i] = (struct heads){.data = job->qkv + i * width, .head = d, .row = qkv_stride};
    attention_tasks(&attention, team, &tiles);
    team_meet(team);
    struct product out = {.x = job->normed, .x_stride = stride, .rows = rows, .w = &layer->out, .ending = ADD,
                          .y = job->x, .y_stride = width, .pairs = job->pairs};
    products(&out, 1, 0, team, &scratch);
    team_meet(team);
    rms_norm_rows(job->x, rows, width, width, &layer->norm2, job->normed, stride, team);
    team_meet(team);
    struct product gated[2] = {{.x = job->normed, .x_stride = stride, .rows = rows, .w = &layer->gate, .ending = PUT,
                                .y = job->inner, .y_stride = inner_stride, .pairs = job->pairs}};
    gated[1] = gated[0];
    gated[1].w = &layer->up;
    gated[1].ending = GATE;
    gated[1].activation = job->activation;
    products(gated, 2, 1, team, &scratch);
    team_meet(team);
    struct product down = {.x = job->inner, .x_stride = inner_stride, .rows = rows, .w = &layer->down, .ending = ADD,
                           .y = job->x, .y_stride = width, .pairs = job->pairs};
    products(&down, 1, 0, team, &scratch);
    team_meet(team);
}

static void layers_work(void *about, struct team *team, int member) {
    const struct job *job = about;
    for (long i = 0; i < job->depth; i++) layer_steps(job, &job->layers[i], team, member);
}

/* Memory that begins at a page, which the kernel may make large: with small ones, looking pages up costs a tenth. What
 * needs no whole page gets no more than it needs, so that the address sanitizer sees what is read behind it. */
static void *pages(size_t size) {
    size_t page = 2u << 20, unit = size < page ? 64 : page;
    void *memory = aligned_alloc(unit, (size + unit - 1) / unit * unit);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (memory && size >= page) madvise(memory, size, MADV_HUGEPAGE);
#endif
    return memory;
}

/* The memory of a call for at most `rows` rows at once; -1 where there is none. */
static int layers_memory(struct job *job, long rows, int threads, float **memory) {
    long width = job->width, inner = 0, pairs = 0, d = width / job->heads;
    for (const struct layer *layer = job->layers; layer < job->layers + job->depth; layer++) {
        const struct matrix *all[7] = {&layer->q,    &layer->k,  &layer->v,   &layer->out,
                                       &layer->gate, &layer->up, &layer->down};
        if (layer->gate.outputs > inner) inner = layer->gate.outputs;
        for (int i = 0; i < 7; i++)
            if (all[i]->kind == ROUNDED && pairs_stride(all[i]) > pairs) pairs = pairs_stride(all[i]);
    }
    size_t normed = (size_t)rows * (size_t)(width + APART), qkv = (size_t)rows * (size_t)(3 * width + APART);
    size_t hidden = (size_t)rows * (size_t)(inner + APART);
    job->product = product_floats(rows, inner > width ? inner : width);
    job->attention = attention_floats(d);
    size_t scratch = (size_t)threads * (size_t)(job->product + job->attention);
    *memory = pages(4 * (normed + qkv + hidden + scratch + (size_t)(rows + ROWS_BEHIND) * (size_t)pairs));
    if (!*memory) return -1;
    job->normed = *memory;
    job->qkv = job->normed + normed;
    job->inner = job->qkv + qkv;
    job->scratch = job->inner + hidden;
    job->pairs = job->scratch + scratch;
    return 0;
}

static int run_layers(float *x, long rows, long width, const struct layer *layers, long depth, long heads,
                      long activation, const struct sequence *sequences, long count, int threads) {
    if (threads < 1) threads = 1;
    if (depth < 1 || count < 1) return 0;
    struct job job = {.width = width, .layers = layers, .depth = depth, .heads = heads, .activation = activation};
    struct sequence *own = malloc((size_t)count * sizeof *own);
    long most = 0; /* rows at once: whole sequences, TOGETHER rows of them or one that is longer */
    for (long i = 0; i < count; i++) most = sequences[i].queries > most ? sequences[i].queries : most;
    most = most > TOGETHER ? most : rows < TOGETHER ? rows : TOGETHER;
    float *memory = NULL;
    int failed = !own || layers_memory(&job, most, threads, &memory);
    for (long i = 0, end; !failed && i < count; i = end) {
        long first = sequences[i].query;
        job.rows = 0;
        for (end = i; end < count && job.rows + sequences[end].queries <= most; end++) {
            own[end - i] = sequences[end];
            own[end - i].query -= first;
            own[end - i].key -= first;
            job.rows += sequences[end].queries;
        }
        job.x = x + first * width;
        job.sequences = own;
        job.count = end - i;
        team_run(layers_work, &job, threads);
    }
    free(memory);
    free(own);
    return failed ? -1 : 0;
}
