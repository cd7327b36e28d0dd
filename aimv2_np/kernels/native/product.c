/* Products with weights, packed on the way.
 *
 *     y[r, o] = sum_k x[r, k] W[o, k] + b[o]
 *
 * A matrix that lies ACROSS, as derivatives have them, is copied into the panel as it lies.
 *
 * 2 R K O operations on 4 (R K + R O) bytes and K O weights of 4, 2 (bfloat16) or 1 (int8), which become float32 here. One task makes PANEL outputs: DEPTH inputs at a time it transposes
 * their weights as they lie in the file, LANES x LANES in registers, into a panel (DEPTH, PANEL) that stays in the
 * second-level cache, and takes all rows through it, ROWS at a time, whose sums stay in registers. Which loop keeps what
 * in which cache is as in Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication", but x is not
 * copied.
 *
 * With ROUNDED weights all is the same but that a float in memory is a pair of bfloat16 numbers: x is rounded once,
 * before the tasks begin, and a lane of a sum takes two products at a time, which some processors do at once, and some
 * in tiles: tiles.c.
 *
 * An output is the same sum in the same order whatever the number of threads and of rows.
 */
#include "kernels.h"
#include "simd.h"
#include "team.h"

#if defined(TILES)
#include "tiles.c"
#else
#define PAIR_ROWS ROWS /* these three as in tiles.c */
#define PAIR_STEP 1
#define ROWS_BEHIND 0
#endif

#define DEPTH 1024
#define RUN 128 /* inputs that are summed up one after the other: rounding grows with their number */
#define APART 16 /* floats by which rows are longer than needed, so that a power of two does not put all in one place
                    of the first-level cache */
#define ROUND_ROWS 16 /* of a task that rounds */
#define FEW_ROWS 64 /* for fewer, packing would take longer than what it is for */

enum ending {
    PUT,  /* y = x Wt + b */
    ADD,  /* y = y + (x Wt + b) */
    GATE, /* y = activation(y) (x Wt + b) */
};

struct product {
    const float *x;
    float *y;
    long rows, x_stride, y_stride;
    const struct matrix *w;
    enum ending ending;
    long activation;
    float *pairs; /* (rows + ROWS_BEHIND, pairs_stride), for x where weights are ROUNDED */
};

static long pairs_in(const struct matrix *w) { return (w->inputs + 1) / 2; }
static long pairs_stride(const struct matrix *w) { return pairs_in(w) + APART; }
_Static_assert(PAIR_STEP <= LANES && LANES <= APART && DEPTH % PAIR_STEP == 0, "zeros behind the pairs have their place");

/* Memory of one thread. */
struct product_scratch {
    float *panel;   /* (DEPTH, PANEL) */
    float *tile;    /* (PAIR_ROWS, PANEL), no fewer than ROWS */
    float *partial; /* (rows + ROWS_BEHIND, PANEL), the sums so far where there are more than DEPTH inputs */
};

static long product_floats(long rows, long inputs) {
    return (DEPTH + PAIR_ROWS + (inputs > DEPTH ? rows + ROWS_BEHIND : 0)) * PANEL;
}

static void product_place(struct product_scratch *scratch, float *memory) {
    scratch->panel = memory;
    scratch->tile = memory + DEPTH * PANEL;
    scratch->partial = scratch->tile + PAIR_ROWS * PANEL;
}

/* ---- weights -> panel ---- */

/* LANES weights, or one, as floats: `kind` is a constant where this is inlined. */
INLINE floats weights_at(long kind, const void *data, long at) {
    if (kind == BFLOAT16) return widen_halves((const uint16_t *)data + at);
    if (kind == INT8) return widen_bytes((const int8_t *)data + at);
    return load((const float *)data + at);
}
INLINE float weight_at(long kind, const void *data, long at) {
    if (kind == INT8) return ((const int8_t *)data)[at];
    float x;
    uint32_t bits = kind == BFLOAT16 ? (uint32_t)((const uint16_t *)data)[at] << 16 : ((const uint32_t *)data)[at];
    memcpy(&x, &bits, 4);
    return x;
}

/* panel[k, o] = W[first + o, start + k] for k < depth and o < width; 0 for other o. */
INLINE void pack_kind(long kind, const struct matrix *w, long first, long width, long start, long depth, float *panel) {
    for (long o = 0; o < width; o += LANES) {
        long count = width - o < LANES ? width - o : LANES, k = 0, from = (first + o) * w->stride + start;
        floats scale = all(1);
        if (kind == INT8) scale = load_some(w->scale + first + o, count);
        if (count == LANES)
            for (; k + LANES <= depth; k += LANES) {
                floats x[LANES];
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) x[i] = weights_at(kind, w->data, from + i * w->stride + k);
                transpose(x);
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) store(panel + (k + i) * PANEL + o, kind == INT8 ? x[i] * scale : x[i]);
            }
        for (; k < depth; k++)
            for (long i = 0; i < LANES; i++)
                panel[k * PANEL + o + i] =
                    i < count ? weight_at(kind, w->data, from + i * w->stride + k) * (kind == INT8 ? scale[i] : 1) : 0;
    }
}

/* panel[k, o] = the pair W[first + o, 2 (start + k)] and the number behind it; zeros behind the last pair. */
static void pack_pairs(const struct matrix *w, long first, long width, long start, long depth, float *panel) {
    const uint16_t *data = w->data;
    long end = (depth + PAIR_STEP - 1) / PAIR_STEP * PAIR_STEP;
    for (long o = 0; o < width; o += LANES) {
        long count = width - o < LANES ? width - o : LANES, k = 0, from = (first + o) * w->stride + 2 * start;
        long whole = w->inputs / 2 - start < depth ? w->inputs / 2 - start : depth; /* pairs that are two numbers */
        if (count == LANES)
            for (; k + LANES <= whole; k += LANES) {
                floats x[LANES];
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) memcpy(&x[i], data + from + i * w->stride + 2 * k, sizeof x[i]);
                transpose(x);
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) store(panel + (k + i) * PANEL + o, x[i]);
            }
        for (; k < end; k++)
            for (long i = 0; i < LANES; i++) {
                uint16_t pair[2] = {0};
                if (i < count && k < depth) memcpy(pair, data + from + i * w->stride + 2 * k, k < whole ? 4 : 2);
                memcpy(panel + k * PANEL + o + i, pair, 4);
            }
    }
}

/* The same of a matrix that lies across: W[o, k] = data[k, o]. */
static void pack_across(const struct matrix *w, long first, long width, long start, long depth, float *panel) {
    const float *from = (const float *)w->data + start * w->stride + first;
    for (long k = 0; k < depth; k++, from += w->stride, panel += PANEL)
        for (long o = 0; o < PANEL; o += LANES) store(panel + o, load_some(from + o, width - o));
}

static void pack(const struct matrix *w, long first, long width, long start, long depth, float *panel) {
    if (w->kind == ACROSS) pack_across(w, first, width, start, depth, panel);
    else if (w->kind == BFLOAT16) pack_kind(BFLOAT16, w, first, width, start, depth, panel);
    else if (w->kind == INT8) pack_kind(INT8, w, first, width, start, depth, panel);
    else pack_kind(FLOAT32, w, first, width, start, depth, panel);
}

/* ---- panel -> sums ---- */

/* sums[r, o] = sum_k x[r, k] panel[k, o] for `rows` rows and `vectors` LANES of outputs: constants where this is
 * inlined, so that the sums stay in registers. */
INLINE void multiply(int paired, int rows, int vectors, const float *x, long x_stride, long x_step, const float *panel,
                     long panel_stride, long depth, float *sums, long sums_stride) {
    long start = 0;
    do { /* once, too, for no inputs */
        floats sum[ROWS][VECTORS] = {{{0}}};
        long end = start + RUN < depth ? start + RUN : depth;
        for (long k = start; k < end; k++, panel += panel_stride) {
            floats w[VECTORS];
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) w[v] = load(panel + v * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                floats factor = paired ? same_pair(x + r * x_stride + k) : all(x[r * x_stride + k * x_step]);
#pragma GCC unroll 3
                for (int v = 0; v < vectors; v++)
                    sum[r][v] = paired ? add_pairs(sum[r][v], factor, w[v]) : sum[r][v] + factor * w[v];
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) {
                float *to = sums + r * sums_stride + v * LANES;
                store(to, start ? load(to) + sum[r][v] : sum[r][v]);
            }
    } while ((start += RUN) < depth);
}

#define MULTIPLY(R, V)                                                                            \
    case R * 4 + V:                                                                               \
        multiply(paired, R, V, x, x_stride, x_step, panel, panel_stride, depth, sums, sums_stride); \
        break;
#define MULTIPLY_ROWS(R) MULTIPLY(R, 1) MULTIPLY(R, 2) MULTIPLY(R, 3)

/* The same for any number of rows up to ROWS, and of vectors up to VECTORS. */
INLINE void multiply_any(int paired, long rows, long vectors, const float *x, long x_stride, long x_step,
                         const float *panel, long panel_stride, long depth, float *sums, long sums_stride) {
    switch (rows * 4 + vectors) {
        MULTIPLY_ROWS(1) MULTIPLY_ROWS(2) MULTIPLY_ROWS(3) MULTIPLY_ROWS(4)
#if ROWS == 8
        MULTIPLY_ROWS(5) MULTIPLY_ROWS(6) MULTIPLY_ROWS(7) MULTIPLY_ROWS(8)
#endif
    }
}
static void multiply_tile(long rows, long vectors, const float *x, long x_stride, const float *panel,
                          long panel_stride, long depth, float *sums, long sums_stride) {
    multiply_any(0, rows, vectors, x, x_stride, 1, panel, panel_stride, depth, sums, sums_stride);
}
/* The same of a transposed x: the rows' numbers of one k follow one another, x_step apart from those of the next. */
static void multiply_across(long rows, long vectors, const float *x, long x_step, const float *panel, long panel_stride,
                            long depth, float *sums, long sums_stride) {
    multiply_any(0, rows, vectors, x, 1, x_step, panel, panel_stride, depth, sums, sums_stride);
}
#if !defined(TILES)
static void pairs_begin(void) {}
static void pairs_end(void) {}
static void multiply_pairs(long rows, long vectors, const float *x, long x_stride, const float *panel,
                           long panel_stride, long depth, float *sums, long sums_stride) {
    multiply_any(1, rows, vectors, x, x_stride, 1, panel, panel_stride, depth, sums, sums_stride);
}
#endif

/* ---- sums -> y ---- */

INLINE floats activate(long activation, floats x) {
    if (activation == RELU) return larger(x, all(0));
    floats argument = x;
    if (activation == QUICK_GELU) argument = 1.702f * x;
    if (activation == GELU_TANH) argument = 1.59576912f * (x + 0.044715f * (x * x * x)); /* 1 + tanh(a) = 2 sigmoid(2a) */
    floats size = where(argument < 0.0f, argument, -argument);
    floats e = exp_of(size);
    return x * where(argument < 0.0f, e, all(1)) / (1.0f + e);
}

static void finish(const struct product *p, long first, long width, long row, long rows, const float *sums) {
    const struct matrix *w = p->w;
    for (long r = 0; r < rows; r++, sums += PANEL) {
        float *y = p->y + (row + r) * p->y_stride + first;
        for (long o = 0; o < width; o += LANES) {
            long count = width - o;
            floats sum = load(sums + o);
            if (w->bias) sum += load_some(w->bias + first + o, count);
            if (p->ending == ADD) sum += load_some(y + o, count);
            if (p->ending == GATE) sum *= activate(p->activation, load_some(y + o, count));
            store_some(y + o, sum, count);
        }
    }
}

/* ---- tasks ---- */

/* The outputs from `first` on that a panel has, for some rows. */
static void product_panel(const struct product *p, long first, long row, long end, struct product_scratch *scratch) {
    const struct matrix *w = p->w;
    int paired = w->kind == ROUNDED;
    long width = w->outputs - first < PANEL ? w->outputs - first : PANEL;
    long vectors = (width + LANES - 1) / LANES, inputs = paired ? pairs_in(w) : w->inputs;
    const float *x = paired ? p->pairs : p->x;
    long x_stride = paired ? pairs_stride(w) : p->x_stride, step = paired ? PAIR_ROWS : ROWS;
    for (long k = 0; k == 0 || k < inputs; k += DEPTH) { /* once, too, for no inputs: y = b */
        long depth = inputs - k < DEPTH ? inputs - k : DEPTH;
        int last = k + depth == inputs;
        (paired ? pack_pairs : pack)(w, first, width, k, depth, scratch->panel);
        for (long r = row; r < end; r += step) {
            long rows = end - r < step ? end - r : step;
            float *sums = k == 0 && !last ? scratch->partial + (r - row) * PANEL : scratch->tile;
            (paired ? multiply_pairs : multiply_tile)(rows, vectors, x + r * x_stride + k, x_stride, scratch->panel,
                                                      PANEL, depth, sums, PANEL);
            if (k > 0) {
                float *before = scratch->partial + (r - row) * PANEL;
                for (long i = 0; i < rows * PANEL; i += LANES) {
                    floats sum = load(before + i) + load(sums + i);
                    store(last ? sums + i : before + i, sum);
                }
            }
            if (last) finish(p, first, width, r, rows, sums);
        }
    }
}

/* How a phase's products are shared out: each panel of outputs is a task, with all rows; but the last few panels, which
 * would leave some threads waiting for others, are several tasks each, with some of the rows. */
struct plan {
    long panels, whole, pieces;
};

static struct plan plan_products(long panels, long rows, int threads) {
    long pieces = rows / FEW_ROWS < 2 * threads ? rows / FEW_ROWS : 2 * threads;
    struct plan plan = {.panels = panels, .whole = panels, .pieces = pieces};
    if (threads > 1 && pieces > 1) plan.whole = panels > threads ? (panels - 1) / threads * threads : 0;
    return plan;
}

static long plan_tasks(const struct plan *plan) { return plan->whole + (plan->panels - plan->whole) * plan->pieces; }

/* Round x to pairs of bfloat16, zeros behind the last number of a row. Every thread calls this. */
static void round_rows(const struct product *p, struct team *team) {
    long inputs = p->w->inputs;
    for (long row; (row = team_claim(team) * ROUND_ROWS) < p->rows;)
        for (long end = row + ROUND_ROWS < p->rows ? row + ROUND_ROWS : p->rows; row < end; row++)
            for (long k = 0; k < inputs; k += 2 * LANES) {
                const float *x = p->x + row * p->x_stride + k;
                floats low = load_some(x, inputs - k), high = load_some(x + LANES, inputs - k - LANES);
                store(p->pairs + row * pairs_stride(p->w) + k / 2, pairs_of(low, high));
            }
    team_meet(team);
}

static long panels_of(const struct matrix *w) { return (w->outputs + PANEL - 1) / PANEL; }

/* All tasks of `count` products of the same rows; of each pair of a gate and what it multiplies (`pairs`), one panel
 * after the other in the same task. Every thread of the team calls this. */
static void products(const struct product *p, int count, int pairs, struct team *team, struct product_scratch *scratch) {
    long panels = 0;
    int rounded = 0;
    for (int i = 0; i < count; i++) rounded |= p[i].w->kind == ROUNDED;
    if (rounded) round_rows(p, team), pairs_begin();
    for (int i = 0; i < count; i += 1 + pairs) panels += panels_of(p[i].w);
    struct plan plan = plan_products(panels, p->rows, team_size(team));
    for (long task; (task = team_claim(team)) < plan_tasks(&plan);) {
        long panel = task, row = 0, end = p->rows;
        if (task >= plan.whole) {
            long piece = (task - plan.whole) % plan.pieces;
            panel = plan.whole + (task - plan.whole) / plan.pieces;
            row = p->rows * piece / plan.pieces;
            end = p->rows * (piece + 1) / plan.pieces;
        }
        int i = 0;
        for (; panel >= panels_of(p[i].w); i += 1 + pairs) panel -= panels_of(p[i].w);
        for (int j = i; j <= i + pairs; j++) product_panel(&p[j], panel * PANEL, row, end, scratch);
    }
    if (rounded) pairs_end();
}
