/* Products of pairs by Intel's AMX, whose registers are tiles: up to 16 rows of up to 64 bytes.
 *
 *     sums[r, o] = sum_k x[r, k] panel[k, o]        TILE rows r, TILE pairs k and LANES outputs o an instruction
 *
 * TDPBF16PS sums up the products of the pairs' first numbers, and those of the second ones, and adds both sums to a
 * third tile: 4 TILE TILE LANES operations on three tiles of 1 KB. It is in volume 2 of the Intel 64 and IA-32
 * Architectures Software Developer's Manual.
 *
 * All tiles are whole, and configured once. Whoever fills x and the panel puts zeros behind their last pairs, and as
 * rows do not meet, it does not matter what lies behind the last of x: nobody looks at what it becomes. */
#include "simd.h"

#define TILE 16
#define PAIR_ROWS TILE         /* that go through a panel together */
#define PAIR_STEP TILE         /* pairs that are multiplied together */
#define ROWS_BEHIND (TILE - 1) /* that are read behind the last */

/* Of the tiles 0 to 2 (sums), 3 (x) and 4 to 6 (the panel): the operand of LDTILECFG. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16]; /* of a row */
    uint8_t rows[16];
} CONFIGURATION = {
    .palette = 1,
    .bytes = {4 * LANES, 4 * LANES, 4 * LANES, 4 * TILE, 4 * LANES, 4 * LANES, 4 * LANES},
    .rows = {TILE, TILE, TILE, TILE, TILE, TILE, TILE},
};
_Static_assert(sizeof CONFIGURATION == 64 && VECTORS == 3, "as LDTILECFG reads it, for as many sums as there are");

/* Around the products of a thread: between tasks its tiles keep their shape, afterwards nobody has to save them. */
static void pairs_begin(void) { _tile_loadconfig(&CONFIGURATION); }
static void pairs_end(void) { _tile_release(); }

static void multiply_pairs(long rows, long vectors, const float *x, long x_stride, const float *panel,
                           long panel_stride, long depth, float *sums, long sums_stride) {
    (void)rows;
    __asm__ volatile("" ::: "memory"); /* all is written: GCC 12 does not know that _tile_loadd reads memory */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    for (long k = 0; k < depth; k += TILE, x += TILE, panel += TILE * panel_stride) {
        _tile_loadd(3, x, 4 * x_stride);
        _tile_loadd(4, panel, 4 * panel_stride);
        _tile_dpbf16ps(0, 3, 4);
        if (vectors < 2) continue;
        _tile_loadd(5, panel + LANES, 4 * panel_stride);
        _tile_dpbf16ps(1, 3, 5);
        if (vectors < 3) continue;
        _tile_loadd(6, panel + 2 * LANES, 4 * panel_stride);
        _tile_dpbf16ps(2, 3, 6);
    }
    _tile_stored(0, sums, 4 * sums_stride);
    if (vectors > 1) _tile_stored(1, sums + LANES, 4 * sums_stride);
    if (vectors > 2) _tile_stored(2, sums + 2 * LANES, 4 * sums_stride);
}
