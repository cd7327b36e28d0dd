/* RMSNorm of rows.
 *
 *     y_i = g_i x_i / sqrt(mean_j x_j^2 + eps)
 *
 * 4 D operations on 8 D bytes a row. Where the squares overflow, a row becomes NaN and not zeros.
 */
#include "kernels.h"
#include "simd.h"
#include "team.h"

#define NORM_ROWS 32 /* of a task */

static void rms_norm_row(const float *x, long width, const struct norm *norm, float *y) {
    floats squares[4] = {{0}};
    long i = 0;
    for (; i + 4 * LANES <= width; i += 4 * LANES)
        for (int j = 0; j < 4; j++) {
            floats part = load(x + i + j * LANES);
            squares[j] += part * part;
        }
    for (; i < width; i += LANES) {
        floats part = load_some(x + i, width - i);
        squares[0] += part * part;
    }
    float total = sum_of(squares[0] + squares[1] + (squares[2] + squares[3]));
    float factor = 1 / (__builtin_sqrtf(total / (float)width + (float)norm->eps) + (total - total));
    for (i = 0; i < width; i += LANES)
        store_some(y + i, load_some(x + i, width - i) * factor * load_some(norm->weight + i, width - i), width - i);
}

/* Every thread of the team calls this. */
static void rms_norm_rows(const float *x, long rows, long width, long x_stride, const struct norm *norm, float *y,
                          long y_stride, struct team *team) {
    for (long row; (row = team_claim(team) * NORM_ROWS) < rows;)
        for (long end = row + NORM_ROWS < rows ? row + NORM_ROWS : rows; row < end; row++)
            rms_norm_row(x + row * x_stride, width, norm, y + row * y_stride);
}
