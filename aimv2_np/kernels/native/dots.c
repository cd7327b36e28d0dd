/* Dot products of vectors, as they lie in a file, with some queries and with themselves.
 *
 *     y[q, r] = sum_k w[q, k] x[r, k]        squares[r] = sum_k x[r, k]^2
 *
 * 2 (Q + 1) D operations on D numbers a vector, of 4, 2 (float16) or 1 (int8) bytes, which become float32 here: with one
 * query the memory is what takes the time. TOGETHER vectors are read at once, so that their sums do not wait for one
 * another, and each is multiplied with TOGETHER queries while it is in registers.
 *
 * A product is the same sum in the same order whatever the number of threads, of vectors and of queries.
 */
#include "kernels.h"
#include "simd.h"
#include "team.h"

#define TOGETHER 4
#define DOT_ROWS 64 /* of a task */

struct dots {
    const void *x;
    const float *queries;
    float *y, *squares;
    long kind, rows, width, stride, count;
};

/* LANES numbers of a vector as floats: `kind` is a constant where this is inlined. */
INLINE floats stored_at(long kind, const void *x, long at) {
    if (kind == FLOAT16) return widen_float16((const uint16_t *)x + at);
    if (kind == INT8) return widen_bytes((const int8_t *)x + at);
    return load((const float *)x + at);
}
/* The first `count` of them; the others are zero. */
INLINE floats stored_some(long kind, const void *x, long at, long count) {
    long size = kind == FLOAT16 ? 2 : kind == INT8 ? 1 : 4;
    char bytes[4 * LANES] = {0};
    memcpy(bytes, (const char *)x + size * at, (size_t)(size * count));
    return stored_at(kind, bytes, 0);
}

/* `rows` vectors from number `row` on with `queries` from number `query` on: constants where this is inlined. */
INLINE void dot_tile(long kind, int rows, int queries, const struct dots *d, long row, long query) {
    floats sum[TOGETHER][TOGETHER] = {{{0}}}, square[TOGETHER] = {{0}};
    const float *w = d->queries + query * d->width;
    long whole = d->width / LANES * LANES, left = d->width - whole;
    for (long k = 0; k < d->width; k += LANES) {
        floats x[TOGETHER];
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            long at = (row + r) * d->stride + k;
            x[r] = k < whole ? stored_at(kind, d->x, at) : stored_some(kind, d->x, at, left);
            square[r] += x[r] * x[r];
        }
#pragma GCC unroll 4
        for (int q = 0; q < queries; q++) {
            floats factor = load_some(w + q * d->width + k, d->width - k);
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) sum[q][r] += x[r] * factor;
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int q = 0; q < queries; q++) d->y[(query + q) * d->rows + row + r] = sum_of(sum[q][r]);
        if (query == 0) d->squares[row + r] = sum_of(square[r]);
    }
}

INLINE void dot_kind(long kind, int rows, const struct dots *d, long row) {
    long query = 0;
    for (; query + TOGETHER <= d->count; query += TOGETHER) dot_tile(kind, rows, TOGETHER, d, row, query);
    for (; query < d->count; query++) dot_tile(kind, rows, 1, d, row, query);
}

INLINE void dot_rows(long kind, const struct dots *d, long row, long end) {
    for (; row + TOGETHER <= end; row += TOGETHER) dot_kind(kind, TOGETHER, d, row);
    for (; row < end; row++) dot_kind(kind, 1, d, row);
}

static void dots_work(void *about, struct team *team, int member) {
    const struct dots *d = about;
    (void)member;
    for (long row; (row = team_claim(team) * DOT_ROWS) < d->rows;) {
        long end = row + DOT_ROWS < d->rows ? row + DOT_ROWS : d->rows;
        if (d->kind == FLOAT16) dot_rows(FLOAT16, d, row, end);
        else if (d->kind == INT8) dot_rows(INT8, d, row, end);
        else dot_rows(FLOAT32, d, row, end);
    }
}

static int run_dots(const void *x, long kind, long rows, long width, long stride, const float *queries, long count,
                    float *y, float *squares, int threads) {
    struct dots dots = {.x = x, .kind = kind, .rows = rows, .width = width, .stride = stride, .queries = queries,
                        .count = count, .y = y, .squares = squares};
    team_run(dots_work, &dots, threads);
    return 0;
}
