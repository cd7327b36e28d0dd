/* Derivatives of the linear map, of RMSNorm and of the gate: equations (22), (23) and (26) of docs/equations.md.
 *
 * Whatever is summed over rows is summed in pieces that do not depend on the number of threads.
 */
#include <stdlib.h>

#include "kernels.h"
#include "simd.h"
#include "team.h"

/* ---- y = a^T b: the gradient by a weight ----
 *
 * a is transposed first: the products read it once for each panel of b, and columns of it lie too far apart for a cache. */

#define TURNED_ROWS 64 /* of a task */

struct transposed {
    struct product product;
    const float *a;
    float *turned; /* (columns, turned_stride) */
    long rows, columns, a_stride, turned_stride;
    float *memory;
    long each; /* of a thread */
};

static void turn(const struct transposed *w, long row, long end) {
    for (long c = 0; c < w->columns; c += LANES)
        for (long k = row; k < end; k += LANES) {
            floats x[LANES];
            const float *from = w->a + k * w->a_stride + c;
            float *to = w->turned + c * w->turned_stride + k;
            if (k + LANES <= end && c + LANES <= w->columns) {
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) x[i] = load(from + i * w->a_stride);
                transpose(x);
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) store(to + i * w->turned_stride, x[i]);
            } else
                for (long i = 0; i < LANES && k + i < end; i++)
                    for (long j = 0; j < LANES && c + j < w->columns; j++)
                        to[j * w->turned_stride + i] = from[i * w->a_stride + j];
        }
}

static void transposed_work(void *about, struct team *team, int member) {
    const struct transposed *w = about;
    struct product_scratch scratch;
    product_place(&scratch, w->memory + member * w->each);
    for (long row; (row = team_claim(team) * TURNED_ROWS) < w->rows;)
        turn(w, row, row + TURNED_ROWS < w->rows ? row + TURNED_ROWS : w->rows);
    team_meet(team);
    products(&w->product, 1, 0, team, &scratch);
}

static int run_transposed(const float *a, long a_stride, const float *b, long b_stride, long rows, long a_columns,
                          long b_columns, float *y, int threads) {
    struct matrix w = {.data = b, .outputs = b_columns, .inputs = rows, .stride = b_stride, .kind = ACROSS};
    struct transposed work = {.a = a, .rows = rows, .columns = a_columns, .a_stride = a_stride,
                              .turned_stride = rows + APART};
    if (threads < 1) threads = 1;
    work.each = product_floats(a_columns, rows);
    size_t turned = (size_t)a_columns * (size_t)work.turned_stride;
    work.turned = pages(4 * (turned + (size_t)threads * (size_t)work.each));
    if (!work.turned) return -1;
    work.memory = work.turned + turned;
    work.product = (struct product){.x = work.turned, .x_stride = work.turned_stride, .rows = a_columns, .w = &w, .y = y,
                                    .y_stride = b_columns};
    team_run(transposed_work, &work, threads);
    free(work.turned);
    return 0;
}

/* ---- y = act(a) b ---- */

#define BACK_NUMBERS 4096 /* of a task */

/* act(x) = x s with s = sigmoid(u): *value, and act'(x) = s + x s (1 - s) u' */
INLINE floats activate_back(long activation, floats x, floats *value) {
    if (activation == RELU) {
        *value = larger(x, all(0));
        return where(x > 0.0f, all(1), all(0));
    }
    floats u = x, slope = all(1);
    if (activation == QUICK_GELU) u = 1.702f * x, slope = all(1.702f);
    if (activation == GELU_TANH) {
        u = 1.59576912f * (x + 0.044715f * (x * x * x));
        slope = 1.59576912f * (1.0f + 0.134145f * (x * x));
    }
    floats e = exp_of(where(u < 0.0f, u, -u)), part = 1.0f / (1.0f + e);
    floats s = where(u < 0.0f, e, all(1)) * part;
    *value = x * s;
    return s + x * (e * part * part) * slope;
}

struct gate_back {
    const float *gate, *up, *g;
    float *by_gate, *by_up;
    long count, activation;
};

static void gated_back_work(void *about, struct team *team, int member) {
    const struct gate_back *w = about;
    (void)member;
    for (long i; (i = team_claim(team) * BACK_NUMBERS) < w->count;)
        for (long end = i + BACK_NUMBERS < w->count ? i + BACK_NUMBERS : w->count; i < end; i += LANES) {
            long count = end - i;
            floats g = load_some(w->g + i, count), value;
            floats slope = activate_back(w->activation, load_some(w->gate + i, count), &value);
            store_some(w->by_gate + i, slope * load_some(w->up + i, count) * g, count);
            store_some(w->by_up + i, value * g, count);
        }
}

static int run_gated_back(const float *gate, const float *up, const float *g, long count, long activation,
                          float *by_gate, float *by_up, int threads) {
    struct gate_back work = {gate, up, g, by_gate, by_up, count, activation};
    team_run(gated_back_work, &work, threads);
    return 0;
}

/* ---- y = w r x ---- */

#define SUMMED_ROWS 64 /* of a task */

struct norm_back {
    const float *x, *g;
    const struct norm *norm;
    float *by_x, *sums; /* (tasks, width): of each task's rows, by the weight */
    long rows, width;
};

static void norm_row_back(const struct norm_back *w, const float *x, const float *g, float *y, float *sums) {
    floats squares = {0}, along = {0};
    for (long i = 0; i < w->width; i += LANES) {
        long count = w->width - i;
        floats part = load_some(x + i, count);
        squares += part * part;
        along += part * (load_some(g + i, count) * load_some(w->norm->weight + i, count));
    }
    float size = (float)w->width, r = 1 / __builtin_sqrtf(sum_of(squares) / size + (float)w->norm->eps);
    float back = r * r * r * (sum_of(along) / size);
    for (long i = 0; i < w->width; i += LANES) {
        long count = w->width - i;
        floats part = load_some(x + i, count), above = load_some(g + i, count);
        store_some(y + i, r * (above * load_some(w->norm->weight + i, count)) - back * part, count);
        store_some(sums + i, load_some(sums + i, count) + above * (r * part), count);
    }
}

static void norm_back_work(void *about, struct team *team, int member) {
    const struct norm_back *w = about;
    (void)member;
    for (long task; (task = team_claim(team)) * SUMMED_ROWS < w->rows;) {
        long row = task * SUMMED_ROWS, end = row + SUMMED_ROWS < w->rows ? row + SUMMED_ROWS : w->rows;
        for (; row < end; row++)
            norm_row_back(w, w->x + row * w->width, w->g + row * w->width, w->by_x + row * w->width,
                          w->sums + task * w->width);
    }
}

static int run_rms_norm_back(const float *x, const float *g, long rows, long width, const struct norm *norm,
                             float *by_x, float *by_weight, int threads) {
    long tasks = (rows + SUMMED_ROWS - 1) / SUMMED_ROWS;
    float *sums = calloc((size_t)(tasks * width) + 1, sizeof *sums);
    if (!sums) return -1;
    struct norm_back work = {x, g, norm, by_x, sums, rows, width};
    team_run(norm_back_work, &work, threads);
    memset(by_weight, 0, (size_t)width * sizeof *by_weight);
    for (long task = 0; task < tasks; task++)
        for (long i = 0; i < width; i++) by_weight[i] += sums[task * width + i];
    free(sums);
    return 0;
}
