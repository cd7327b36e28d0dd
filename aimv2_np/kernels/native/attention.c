/* Attention in tiles of scores, in bounded memory.
 *
 *     y_i = sum_j softmax_j(scale q_i . k_j) v_j        over the keys j that query i looks at
 *
 * 4 N M d operations on 4 (2 N + 2 M) d bytes a head. One task takes some queries of one head past all keys, KEYS at a
 * time; the largest score and the sum of e^x run on from tile to tile, as in Milakov & Gimelshein 2018, "Online
 * normalizer calculation for softmax" (arXiv:1805.02867). Keys are transposed, and values copied, so that a tile's
 * both products are those of product.c.
 *
 * A query that may look at no key gets the mean of all, as in the textbook: hidden scores are equally low, not infinite.
 */
#include <math.h>

#include "kernels.h"
#include "simd.h"
#include "team.h"

#define QUERIES 256 /* of a task at most: a multiple of ROWS */
#define KEYS 288    /* of a tile at most: a multiple of PANEL */
#define HIDDEN -0x1p120f /* a power of two: times scale it is exact, and less its own maximum 0 */

struct attention {
    struct heads q, k, v, out;
    long heads, width;
    float scale;
    const struct sequence *sequences;
    long count;
};

/* Memory of one thread, for heads of `width` numbers, which are padded to whole vectors. */
struct attention_scratch {
    float *keys;   /* (KEYS / PANEL, width, PANEL) */
    float *values; /* (KEYS, padded) */
    float *sums;   /* (QUERIES, padded) */
    float *scores; /* (QUERIES, KEYS) */
    float *tile;   /* (ROWS, PANEL) */
    float largest[QUERIES], total[QUERIES];
};

static long padded(long width) { return (width + LANES - 1) / LANES * LANES; }

static long attention_floats(long width) { return KEYS * (width + padded(width) + QUERIES) + QUERIES * padded(width) + ROWS * PANEL; }

static void attention_place(struct attention_scratch *scratch, float *memory, long width) {
    scratch->scores = memory;
    scratch->sums = scratch->scores + QUERIES * KEYS;
    scratch->values = scratch->sums + QUERIES * padded(width);
    scratch->tile = scratch->values + KEYS * padded(width);
    scratch->keys = scratch->tile + ROWS * PANEL;
}

static const float *at(const struct heads *x, long batch, long head, long row) {
    return x->data + batch * x->batch + head * x->head + row * x->row;
}

/* scores[i, j] = q_i . k_j for the tile's `keys` keys. */
static void score(const struct attention *a, const float *q, long queries, const float *k, long keys,
                  struct attention_scratch *scratch) {
    struct matrix rows = {.data = k, .outputs = keys, .inputs = a->width, .stride = a->k.row};
    for (long j = 0; j < keys; j += PANEL) {
        long width = keys - j < PANEL ? keys - j : PANEL;
        pack(&rows, j, width, 0, a->width, scratch->keys);
        for (long i = 0; i < queries; i += ROWS)
            multiply_tile(queries - i < ROWS ? queries - i : ROWS, (width + LANES - 1) / LANES, q + i * a->q.row,
                          a->q.row, scratch->keys, PANEL, a->width, scratch->scores + i * KEYS + j, KEYS);
    }
}

/* What query i sees of the tile's scores: e^(scale (score - largest)), summed up; returns the same of the largest before,
 * by which the sums of earlier tiles are to be multiplied. The difference comes first: of scale score - scale largest, one
 * product of which is rounded, huge scores would make a positive number. */
static float softmax_row(float *scores, long keys, long seen, const uint8_t *mask, float scale, float *largest,
                         float *total) {
    long end = (keys + LANES - 1) / LANES * LANES;
    if (mask)
        for (long j = 0; j < seen; j++)
            if (!mask[j]) scores[j] = HIDDEN;
    for (long j = seen; j < end; j++) scores[j] = -INFINITY;
    floats most = all(-INFINITY);
    for (long j = 0; j < end; j += LANES) most = larger(load(scores + j), most);
    float before = *largest, now = largest_of(most);
    if (now < before) now = before;
    floats sum = {0};
    for (long j = 0; j < end; j += LANES) {
        floats e = exp_of(scale * (load(scores + j) - now));
        sum += e;
        store(scores + j, e);
    }
    float factor = exp_of(all(scale * (before - now)))[0];
    *largest = now;
    *total = *total * factor + sum_of(sum);
    return factor;
}

/* sums[i] += sum_j scores[i, j] v_j for the tile's keys. */
static void gather(const struct attention *a, long queries, const float *v, long keys,
                   struct attention_scratch *scratch) {
    long stride = padded(a->width);
    for (long j = 0; j < keys; j++)
        for (long i = 0; i < a->width; i += LANES)
            store(scratch->values + j * stride + i, load_some(v + j * a->v.row + i, a->width - i));
    for (long i = 0; i < queries; i += ROWS) {
        long rows = queries - i < ROWS ? queries - i : ROWS;
        for (long c = 0, vectors; c < stride; c += vectors * LANES) {
            vectors = (stride - c) / LANES;
            vectors = vectors > VECTORS ? 2 : vectors; /* 4 are 2 and 2 */
            multiply_tile(rows, vectors, scratch->scores + i * KEYS, KEYS, scratch->values + c, stride, keys,
                          scratch->tile, PANEL);
            for (long r = 0; r < rows; r++)
                for (long n = 0; n < vectors * LANES; n += LANES) {
                    float *sum = scratch->sums + (i + r) * stride + c + n;
                    store(sum, load(sum) + load(scratch->tile + r * PANEL + n));
                }
        }
    }
}

/* The size of parts of `total` that are about equal, a multiple of `unit`, and no larger than `most`, which is one. */
static long parted(long total, long most, long unit) {
    if (total < 1) return unit;
    long parts = (total + most - 1) / most, size = (total + parts - 1) / parts;
    return (size + unit - 1) / unit * unit;
}

static void attend(const struct attention *a, const struct sequence *s, long head, long first, long queries,
                   struct attention_scratch *scratch) {
    long stride = padded(a->width);
    const float *q = at(&a->q, s->batch, head, s->query + first);
    memset(scratch->sums, 0, (size_t)(queries * stride) * sizeof(float));
    for (long i = 0; i < queries; i++) scratch->largest[i] = -INFINITY, scratch->total[i] = 0;
    long seen = first + queries > s->prefix ? first + queries : s->prefix; /* by the last of these queries */
    if (seen > s->keys) seen = s->keys;
    long step = parted(s->keys, KEYS, LANES); /* not of `seen`: sums must not depend on who shares the task */
    for (long j = 0; j < seen; j += step) {
        long keys = seen - j < step ? seen - j : step;
        score(a, q, queries, at(&a->k, s->batch, head, s->key + j), keys, scratch);
        for (long i = 0; i < queries; i++) {
            long sees = (first + i + 1 > s->prefix ? first + i + 1 : s->prefix) - j;
            const uint8_t *mask = s->mask ? s->mask + (first + i) * s->mask_stride + j : NULL;
            float factor = softmax_row(scratch->scores + i * KEYS, keys, sees < 0 ? 0 : sees < keys ? sees : keys, mask,
                                       a->scale, &scratch->largest[i], &scratch->total[i]);
            if (factor != 1)
                for (long c = 0; c < stride; c += LANES) {
                    float *sum = scratch->sums + i * stride + c;
                    store(sum, load(sum) * factor);
                }
        }
        gather(a, queries, at(&a->v, s->batch, head, s->key + j), keys, scratch);
    }
    for (long i = 0; i < queries; i++) {
        float *y = (float *)at(&a->out, s->batch, head, s->query + first + i);
        for (long c = 0; c < a->width; c += LANES)
            store_some(y + c, load(scratch->sums + i * stride + c) / scratch->total[i], a->width - c);
    }
}

/* Every thread of the team calls this. A task is some queries of one head: fewer where there are few heads. */
static void attention_tasks(const struct attention *a, struct team *team, struct attention_scratch *scratch) {
    long enough = 4L * team_size(team), heads = a->count * a->heads, most = QUERIES;
    while (most > 4 * ROWS && heads * ((a->sequences[0].queries + most - 1) / most) < enough) most /= 2;
    long of = 0, begun = 0; /* the sequence that a task belongs to, and the tasks of those before it */
    for (long task; (task = team_claim(team), of < a->count);) {
        long blocks, step;
        while (step = parted(a->sequences[of].queries, most, ROWS), blocks = (a->sequences[of].queries + step - 1) / step,
               task - begun >= blocks * a->heads) {
            begun += blocks * a->heads;
            if (++of == a->count) return;
        }
        const struct sequence *s = &a->sequences[of];
        long first = (task - begun) % blocks * step, rest = s->queries - first;
        attend(a, s, (task - begun) / blocks, first, rest < step ? rest : step, scratch);
    }
}
