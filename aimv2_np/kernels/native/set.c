/* The kernels of one instruction set: compiled once for each, with that set's options and SET as its name. */
#include "layers.c"
#include "backward.c"
#include "attention_back.c" /* whose softmax is that of attention.c */
#include "dots.c"
#include "peak.c"

struct work {
    const struct product *product;
    const struct attention *attention;
    float *memory; /* of all threads, `each` for one */
    long each;
    const struct norm *norm;
    const float *x, *more;
    float *y;
    long rows, width, x_stride, y_stride, activation;
};

/* Run with `each` floats of memory for every thread; -1 where there are not that many. */
static int run_with_memory(team_work *run, struct work *work, long each, int threads) {
    if (threads < 1) threads = 1;
    work->each = each;
    work->memory = pages(4 * (size_t)threads * (size_t)each);
    if (!work->memory) return -1;
    team_run(run, work, threads);
    free(work->memory);
    return 0;
}

static void linear_work(void *about, struct team *team, int member) {
    const struct work *work = about;
    struct product_scratch scratch;
    product_place(&scratch, work->memory + member * work->each);
    products(work->product, 1, 0, team, &scratch);
}

static int run_linear(const float *x, long rows, long x_stride, const struct matrix *w, float *y, long y_stride,
                      int threads) {
    float *pairs = w->kind == ROUNDED ? pages(4 * (size_t)((rows + ROWS_BEHIND) * pairs_stride(w))) : NULL;
    if (w->kind == ROUNDED && !pairs) return -1;
    struct product product = {.x = x, .rows = rows, .x_stride = x_stride, .w = w, .y = y, .y_stride = y_stride,
                              .pairs = pairs};
    struct work work = {.product = &product};
    int failed = run_with_memory(linear_work, &work, product_floats(rows, w->inputs), threads);
    free(pairs);
    return failed;
}

static void attention_work(void *about, struct team *team, int member) {
    const struct work *work = about;
    struct attention_scratch scratch;
    attention_place(&scratch, work->memory + member * work->each, work->attention->width);
    attention_tasks(work->attention, team, &scratch);
}

static int run_attention(const struct heads *q, const struct heads *k, const struct heads *v, long heads, long width,
                         double scale, const struct sequence *sequences, long count, const struct heads *out,
                         int threads) {
    if (count < 1) return 0;
    struct attention attention = {.q = *q, .k = *k, .v = *v, .out = *out, .heads = heads, .width = width,
                                  .scale = (float)scale, .sequences = sequences, .count = count};
    struct work work = {.attention = &attention};
    return run_with_memory(attention_work, &work, attention_floats(width), threads);
}

static void norm_work(void *about, struct team *team, int member) {
    const struct work *work = about;
    (void)member;
    rms_norm_rows(work->x, work->rows, work->width, work->x_stride, work->norm, work->y, work->y_stride, team);
}

static int run_rms_norm(const float *x, long rows, long width, long x_stride, const struct norm *norm, float *y,
                        long y_stride, int threads) {
    struct work work = {.x = x, .rows = rows, .width = width, .x_stride = x_stride, .norm = norm, .y = y, .y_stride = y_stride};
    team_run(norm_work, &work, threads);
    return 0;
}

#define GATED_NUMBERS 4096 /* of a task */

static void gated_work(void *about, struct team *team, int member) {
    const struct work *work = about;
    (void)member;
    for (long i; (i = team_claim(team) * GATED_NUMBERS) < work->rows;)
        for (long end = i + GATED_NUMBERS < work->rows ? i + GATED_NUMBERS : work->rows; i < end; i += LANES) {
            long count = end - i;
            store_some(work->y + i, activate(work->activation, load_some(work->x + i, count)) * load_some(work->more + i, count), count);
        }
}

static int run_gated(const float *gate, const float *up, long count, long activation, float *y, int threads) {
    struct work work = {.x = gate, .more = up, .rows = count, .activation = activation, .y = y};
    team_run(gated_work, &work, threads);
    return 0;
}

#include "patches.c" /* whose product is run_linear */

#define JOINED(a, b) a##b
#define NAME(set) JOINED(kernels_, set)
#define QUOTED(x) #x
#define TEXT(x) QUOTED(x)
const struct kernels NAME(SET) = {TEXT(SET), run_linear, run_gated, run_rms_norm, run_attention, run_layers,
                                   run_patches, run_transposed, run_gated_back, run_rms_norm_back, run_attention_back,
                                   run_dots, run_peak};
