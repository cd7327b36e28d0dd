/* The derivative of attention: equation (25) of docs/equations.md.
 *
 *     y_i = sum_j softmax_j(scale q_i . k_j) v_j
 *
 * A task is a head of a sequence: some of its queries at a time are held against all keys that the last of them looks at,
 * in two tiles, of P and of the gradient by the scores. */
#include <stdlib.h>

#include "kernels.h"
#include "simd.h"
#include "team.h"

#define BACK_QUERIES 64 /* of a tile: a multiple of ROWS */

struct attention_back {
    struct heads of[5], by[3];
    long heads, width;
    float scale;
    const struct sequence *sequences;
    long count, keys; /* of the longest sequence */
    float *memory;
    long each; /* of a thread */
};

struct back_scratch {
    float *keys_across, *values_across; /* (panels, width, PANEL) */
    float *keys, *queries, *above;      /* rows of `padded` numbers: of all keys, and of the tile's queries */
    float *by_keys, *by_values;         /* (keys, padded) */
    float *probs, *by_scores;           /* (BACK_QUERIES, whole panels of keys) */
    float *tile;                        /* (ROWS, PANEL) */
};

static long whole_panels(long keys) { return (keys + PANEL - 1) / PANEL * PANEL; }

static long back_floats(long keys, long width) {
    long wide = padded(width), all = whole_panels(keys);
    return 2 * all * width + (3 * all + 2 * BACK_QUERIES) * wide + 2 * BACK_QUERIES * all + ROWS * PANEL;
}

static void back_place(struct back_scratch *s, float *memory, long keys, long width) {
    long wide = padded(width), all = whole_panels(keys);
    s->tile = memory;
    s->probs = s->tile + ROWS * PANEL;
    s->by_scores = s->probs + BACK_QUERIES * all;
    s->keys = s->by_scores + BACK_QUERIES * all;
    s->by_keys = s->keys + all * wide;
    s->by_values = s->by_keys + all * wide;
    s->queries = s->by_values + all * wide;
    s->above = s->queries + BACK_QUERIES * wide;
    s->keys_across = s->above + BACK_QUERIES * wide;
    s->values_across = s->keys_across + all * width;
}

/* Rows of a head beside one another, zeros behind each. */
static void copy_rows(const struct heads *x, const float *from, long rows, long width, float *to) {
    long wide = padded(width);
    for (long j = 0; j < rows; j++)
        for (long c = 0; c < width; c += LANES) store(to + j * wide + c, load_some(from + j * x->row + c, width - c));
}

/* y[i, j] = x_i . (row j of what was packed) */
static void hold_against(const float *x, long rows, long width, const float *across, long columns, float *y,
                         long y_stride) {
    for (long j = 0; j < columns; j += PANEL)
        for (long i = 0; i < rows; i += ROWS)
            multiply_tile(rows - i < ROWS ? rows - i : ROWS, columns - j < PANEL ? (columns - j + LANES - 1) / LANES : VECTORS,
                          x + i * padded(width), padded(width), across + j * width, PANEL, width,
                          y + i * y_stride + j, y_stride);
}

/* sums[i] += factor * sum_k x[i, k] y_k; or, of a transposed x, x[k, i]. Rows of y and of the sums are `wide`. */
static void add_product(float *sums, long rows, long wide, float factor, const float *x, long x_stride, int transposed,
                        const float *y, long depth, float *tile) {
    for (long i = 0; i < rows; i += ROWS) {
        long some = rows - i < ROWS ? rows - i : ROWS;
        for (long c = 0, vectors; c < wide; c += vectors * LANES) {
            vectors = (wide - c) / LANES;
            vectors = vectors > VECTORS ? 2 : vectors; /* 4 are 2 and 2 */
            if (transposed) multiply_across(some, vectors, x + i, x_stride, y + c, wide, depth, tile, PANEL);
            else multiply_tile(some, vectors, x + i * x_stride, x_stride, y + c, wide, depth, tile, PANEL);
            for (long r = 0; r < some; r++)
                for (long n = 0; n < vectors * LANES; n += LANES) {
                    float *sum = sums + (i + r) * wide + c + n;
                    store(sum, load(sum) + factor * load(tile + r * PANEL + n));
                }
        }
    }
}

/* P and the gradient by the scores from the scores and the gradient by P, of one query that sees the first `seen` keys
 * that its mask lets through; `mean` is the sum of P times the gradient by P. */
static void softmax_back(float *probs, float *by, long keys, long seen, const uint8_t *mask, float scale, float mean) {
    float largest = -INFINITY, total = 0;
    softmax_row(probs, keys, seen, mask, scale, &largest, &total);
    for (long j = 0; j < keys; j += LANES) {
        floats p = load(probs + j) / total;
        store(probs + j, p);
        store(by + j, p * (load(by + j) - mean));
    }
    for (long j = seen; j < keys; j++) by[j] = 0;
    for (long j = 0; mask && j < seen; j++)
        if (!mask[j]) by[j] = 0;
}

static void some_queries_back(const struct attention_back *a, const struct sequence *s, long head, long first,
                              long queries, const struct back_scratch *t) {
    const struct heads *q = &a->of[0], *output = &a->of[3], *above = &a->of[4], *by_q = &a->by[0];
    long wide = padded(a->width), stride = whole_panels(a->keys);
    long keys = first + queries > s->prefix ? first + queries : s->prefix; /* that the last of these queries sees */
    if (keys > s->keys) keys = s->keys;
    copy_rows(q, at(q, s->batch, head, s->query + first), queries, a->width, t->queries);
    copy_rows(above, at(above, s->batch, head, s->query + first), queries, a->width, t->above);
    hold_against(t->queries, queries, a->width, t->keys_across, keys, t->probs, stride);
    hold_against(t->above, queries, a->width, t->values_across, keys, t->by_scores, stride);
    for (long i = 0; i < queries; i++) {
        const float *y = at(output, s->batch, head, s->query + first + i), *g = t->above + i * wide;
        floats sum = {0};
        for (long c = 0; c < a->width; c += LANES) sum += load_some(y + c, a->width - c) * load(g + c);
        long sees = first + i + 1 > s->prefix ? first + i + 1 : s->prefix;
        const uint8_t *mask = s->mask ? s->mask + (first + i) * s->mask_stride : NULL;
        softmax_back(t->probs + i * stride, t->by_scores + i * stride, keys, sees < keys ? sees : keys, mask, a->scale,
                     sum_of(sum));
    }
    add_product(t->by_values, keys, wide, 1, t->probs, stride, 1, t->above, queries, t->tile);
    add_product(t->by_keys, keys, wide, a->scale, t->by_scores, stride, 1, t->queries, queries, t->tile);
    memset(t->above, 0, (size_t)(queries * wide) * sizeof(float)); /* now the gradient by the queries */
    add_product(t->above, queries, wide, a->scale, t->by_scores, stride, 0, t->keys, keys, t->tile);
    for (long i = 0; i < queries; i++) {
        float *y = (float *)at(by_q, s->batch, head, s->query + first + i);
        for (long c = 0; c < a->width; c += LANES) store_some(y + c, load(t->above + i * wide + c), a->width - c);
    }
}

static void head_back(const struct attention_back *a, const struct sequence *s, long head, const struct back_scratch *t) {
    long wide = padded(a->width);
    float *across[2] = {t->keys_across, t->values_across}, *sums[2] = {t->by_keys, t->by_values};
    for (int i = 0; i < 2; i++) {
        const struct heads *x = &a->of[1 + i];
        struct matrix rows = {.data = at(x, s->batch, head, s->key), .outputs = s->keys, .inputs = a->width, .stride = x->row};
        for (long j = 0; j < s->keys; j += PANEL)
            pack(&rows, j, s->keys - j < PANEL ? s->keys - j : PANEL, 0, a->width, across[i] + j * a->width);
        memset(sums[i], 0, (size_t)(s->keys * wide) * sizeof(float));
    }
    copy_rows(&a->of[1], at(&a->of[1], s->batch, head, s->key), s->keys, a->width, t->keys);
    for (long i = 0; i < s->queries; i += BACK_QUERIES)
        some_queries_back(a, s, head, i, s->queries - i < BACK_QUERIES ? s->queries - i : BACK_QUERIES, t);
    for (int i = 0; i < 2; i++)
        for (long j = 0; j < s->keys; j++) {
            float *y = (float *)at(&a->by[1 + i], s->batch, head, s->key + j);
            for (long c = 0; c < a->width; c += LANES) store_some(y + c, load(sums[i] + j * wide + c), a->width - c);
        }
}

static void attention_back_work(void *about, struct team *team, int member) {
    const struct attention_back *a = about;
    struct back_scratch scratch;
    back_place(&scratch, a->memory + member * a->each, a->keys, a->width);
    for (long task; (task = team_claim(team)) < a->count * a->heads;)
        head_back(a, &a->sequences[task / a->heads], task % a->heads, &scratch);
}

static int run_attention_back(const struct heads of[5], long heads, long width, double scale,
                              const struct sequence *sequences, long count, const struct heads by[3], int threads) {
    struct attention_back a = {.heads = heads, .width = width, .scale = (float)scale, .sequences = sequences, .count = count};
    memcpy(a.of, of, sizeof a.of);
    memcpy(a.by, by, sizeof a.by);
    for (long i = 0; i < count; i++) a.keys = sequences[i].keys > a.keys ? sequences[i].keys : a.keys;
    if (threads < 1) threads = 1;
    a.each = back_floats(a.keys, width);
    a.memory = pages(4 * (size_t)threads * (size_t)a.each);
    if (!a.memory) return -1;
    team_run(attention_back_work, &a, threads);
    free(a.memory);
    return 0;
}
