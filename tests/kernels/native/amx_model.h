/* A processor with AMX in software: what kernels/native/tiles.c and choose.c ask of one, on any x86-64.
 *
 * Compiled with `-include` this file, the same sources call these functions where they would have called the
 * compiler's. The tile instructions do what volume 2 of the Intel 64 and IA-32 Architectures Software Developer's
 * Manual says, and end the process with a sentence where the processor would raise an exception. AMX_MODEL_LACKS takes
 * something away: a feature (tile, bf16), the system's support (state, permission), or the right results (sums). */
#ifndef AMX_MODEL_H
#define AMX_MODEL_H

#include <cpuid.h>
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MODEL static inline __attribute__((unused))

MODEL int amx_lacks(const char *what) {
    const char *lacks = getenv("AMX_MODEL_LACKS");
    return lacks && !strcmp(lacks, what);
}
MODEL void amx_must(int holds, const char *exception, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s: %s\n", exception, what);
    abort();
}

/* ---- tiles ---- */

struct amx_configuration { /* the 64 bytes of LDTILECFG */
    uint8_t palette, start_row, reserved[14];
    uint16_t colsb[8], more_colsb[8];
    uint8_t rows[8], more_rows[8];
};
static _Thread_local struct amx_configuration amx_now; /* palette 0: none */
static _Thread_local uint8_t amx_tiles[8][16][64];

MODEL void amx_release(void) {
    memset(&amx_now, 0, sizeof amx_now);
    memset(amx_tiles, 0, sizeof amx_tiles);
}
MODEL void amx_loadconfig(const void *memory) {
    static const uint8_t zeros[16];
    struct amx_configuration c;
    memcpy(&c, memory, sizeof c);
    amx_must(c.palette <= 1, "#GP", "there are palettes 0 and 1");
    amx_must(!memcmp(c.reserved, zeros, 14), "#GP", "reserved bytes are zero");
    amx_must(!memcmp(c.more_colsb, zeros, 16) && !memcmp(c.more_rows, zeros, 8), "#GP", "there are eight tiles");
    amx_must(c.start_row == 0, "model", "no instruction is continued that was interrupted");
    for (int i = 0; i < 8; i++) {
        amx_must(c.rows[i] <= 16, "#GP", "a tile has up to 16 rows");
        amx_must(c.colsb[i] <= 64, "#GP", "a row has up to 64 bytes");
        amx_must(!c.rows[i] == !c.colsb[i], "#GP", "a tile has rows and bytes, or neither");
    }
    amx_release();
    if (c.palette) amx_now = c;
}

/* The tile, which must have been configured. */
MODEL int amx_tile(int tile) {
    amx_must(amx_now.palette, "#UD", "there is no configuration");
    amx_must(tile >= 0 && tile < 8 && amx_now.rows[tile], "#UD", "the tile is not configured");
    return tile;
}
MODEL void amx_zero(int tile) { memset(amx_tiles[amx_tile(tile)], 0, sizeof amx_tiles[0]); }
MODEL void amx_load(int tile, const void *from, long stride) {
    amx_zero(tile); /* what lies beyond its rows and bytes */
    for (int r = 0; r < amx_now.rows[tile]; r++)
        memcpy(amx_tiles[tile][r], (const char *)from + r * stride, amx_now.colsb[tile]);
}
MODEL void amx_store(int tile, void *to, long stride) {
    for (int r = 0; r < amx_now.rows[amx_tile(tile)]; r++)
        memcpy((char *)to + r * stride, amx_tiles[tile][r], amx_now.colsb[tile]);
}

MODEL float amx_flushed(float x) { return fabsf(x) < FLT_MIN ? copysignf(0, x) : x; }
/* The i-th bfloat16 number of a row. */
MODEL float amx_half(const uint8_t *row, int i) {
    uint32_t bits = (uint32_t)row[2 * i] << 16 | (uint32_t)row[2 * i + 1] << 24;
    float x;
    memcpy(&x, &bits, 4);
    return amx_flushed(x);
}
MODEL void amx_dpbf16ps(int sums, int a, int b) {
    amx_must(sums != a && a != b && b != sums, "#UD", "three different tiles");
    amx_tile(sums), amx_tile(a), amx_tile(b);
    const uint16_t *colsb = amx_now.colsb;
    const uint8_t *rows = amx_now.rows;
    amx_must(!(colsb[sums] % 4 || colsb[a] % 4 || colsb[b] % 4), "#UD", "rows are of whole pairs");
    amx_must(rows[sums] == rows[a], "#UD", "the sums have as many rows as the first factor");
    amx_must(colsb[sums] == colsb[b], "#UD", "the sums have as many columns as the second factor");
    amx_must(colsb[a] / 4 == rows[b], "#UD", "the first factor has as many pairs in a row as the second one has rows");
    for (int m = 0; m < rows[sums]; m++)
        for (int n = 0; n < colsb[sums] / 4; n++) {
            float each[2] = {0, 0}, sum;
            for (int k = 0; k < colsb[a] / 4; k++)
                for (int i = 0; i < 2; i++)
                    each[i] = amx_flushed(fmaf(amx_half(amx_tiles[a][m], 2 * k + i),
                                               amx_half(amx_tiles[b][k], 2 * n + i), each[i]));
            memcpy(&sum, &amx_tiles[sums][m][4 * n], 4);
            sum = amx_flushed(amx_flushed(sum) + amx_flushed(each[0] + each[1]));
            if (m == 7 && n == 3 && amx_lacks("sums")) sum += 1;
            memcpy(&amx_tiles[sums][m][4 * n], &sum, 4);
        }
    /* Beyond the rows and bytes of the sums are zeros: they have been since it was configured. */
}

/* ---- the processor, and the system ---- */

MODEL int amx_cpuid(unsigned leaf, unsigned subleaf, unsigned *a, unsigned *b, unsigned *c, unsigned *d) {
    if (!__get_cpuid_count(leaf, subleaf, a, b, c, d)) return 0;
    if (leaf == 7 && subleaf == 0) {
        *d = (*d & ~(1u << 22 | 1u << 24)) | (unsigned)!amx_lacks("bf16") << 22 | (unsigned)!amx_lacks("tile") << 24;
    }
    return 1;
}
/* XCR0: as if the system kept the tiles, and their configuration. */
MODEL unsigned long long amx_xgetbv(unsigned index) {
    amx_must(index == 0, "model", "XCR0 only");
    return amx_lacks("state") ? 0x20007 : 0x60007;
}
MODEL long amx_syscall(long number, long request, long feature) {
    amx_must(number == SYS_arch_prctl && request == 0x1023 && feature == 18, "model", "only the tiles are asked for");
    return amx_lacks("permission") ? -1 : 0;
}

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig amx_loadconfig
#define _tile_release amx_release
#define _tile_zero amx_zero
#define _tile_loadd amx_load
#define _tile_stored amx_store
#define _tile_dpbf16ps amx_dpbf16ps
#define __get_cpuid_count amx_cpuid
#undef _xgetbv
#define _xgetbv amx_xgetbv
#define syscall amx_syscall
#define __builtin_cpu_supports(feature) 1 /* all sets are there, so they are to be compiled for every processor */

#endif
