/* Vectors of the widest kind that the compiler is told to use, written once for all instruction sets.
 *
 * LANES floats fit a register, and ROWS x VECTORS registers of sums leave enough of them for operands:
 *
 *     AVX-512   16 lanes, 32 registers, 8 x 3 sums
 *     AVX2       8 lanes, 16 registers, 4 x 3 sums
 *     NEON       4 lanes, 32 registers, 8 x 3 sums
 *     other      4 lanes, 4 x 3 sums: what SSE2 has; elsewhere the compiler makes of it what it can
 */
#ifndef SIMD_H
#define SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) || defined(TILES) /* the second by itself only where tests model it */
#define LANES 16
#define ROWS 8
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#define ROWS 4
#elif defined(__ARM_NEON)
#define LANES 4
#define ROWS 8
#else
#define LANES 4
#define ROWS 4
#endif
#define VECTORS 3
#define PANEL (VECTORS * LANES) /* outputs that a product makes together */

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES))); /* of which bits may be shifted out */
typedef floats loose __attribute__((aligned(4), may_alias)); /* anywhere in memory */

#define INLINE static inline __attribute__((always_inline))

INLINE floats load(const float *from) { return *(const loose *)from; }
INLINE void store(float *to, floats x) { *(loose *)to = x; }
INLINE floats all(float x) { return x - (floats){0}; }
INLINE floats where(ints condition, floats yes, floats no) {
    return (floats)(((ints)yes & condition) | ((ints)no & ~condition));
}
INLINE floats larger(floats a, floats b) { return where(a > b, a, b); } /* of NaN and b: b */

/* The first `count` of LANES floats, or all of them where there are more; the others are zero, all if count < 1. */
INLINE floats load_some(const float *from, long count) {
    if (count >= LANES) return load(from);
    floats x = {0};
    if (count > 0) memcpy(&x, from, 4 * (size_t)count);
    return x;
}
INLINE void store_some(float *to, floats x, long count) {
    if (count >= LANES) store(to, x);
    else memcpy(to, &x, 4 * (size_t)count);
}

/* LANES numbers of two bytes, the upper halves of floats, or of one byte, as floats. */
INLINE floats widen_halves(const uint16_t *from) {
    uint16_t x __attribute__((vector_size(2 * LANES)));
    memcpy(&x, from, sizeof x);
    return (floats)(__builtin_convertvector(x, words) << 16);
}
INLINE floats widen_bytes(const int8_t *from) {
#if defined(__AVX512F__) /* of the general form below GCC 12 makes sixty instructions */
    ints x = (ints)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from));
#elif LANES == 8
    ints x = (ints)_mm256_cvtepi8_epi32(_mm_loadu_si64(from));
#else
    int8_t bytes __attribute__((vector_size(LANES)));
    memcpy(&bytes, from, sizeof bytes);
    ints x = __builtin_convertvector(bytes, ints);
#endif
    return __builtin_convertvector(x, floats);
}

/* LANES numbers of float16 as floats. Those below 2^-14 are whole numbers times 2^-24, and never denormal floats. */
INLINE floats widen_float16(const uint16_t *from) {
#if defined(__AVX512F__)
    return (floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#else
    uint16_t x __attribute__((vector_size(2 * LANES)));
    memcpy(&x, from, sizeof x);
    words bits = __builtin_convertvector(x, words), size = bits & 0x7fff;
    floats tiny = __builtin_convertvector((ints)size, floats) * 0x1p-24f;
    floats wide = where((ints)size < 0x400, tiny, (floats)((size << 13) + (112u << 23)));
    words infinite = (words)((ints)size >= 0x7c00) & 0x7f800000;
    return (floats)((words)wide | infinite | (bits & 0x8000) << 16);
#endif
}

/* A pair of such numbers in a lane, the first in its lower half: */
INLINE floats same_pair(const float *pair) {
    uint32_t bits;
    memcpy(&bits, pair, 4);
    return (floats)((words){0} + bits);
}
/* sum + the products of both, in float32. */
INLINE floats add_pairs(floats sum, floats x, floats w) {
#if defined(__AVX512BF16__)
    return (floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)w);
#else
    sum += (floats)((words)x & 0xffff0000) * (floats)((words)w & 0xffff0000);
    return sum + (floats)((words)x << 16) * (floats)((words)w << 16);
#endif
}

INLINE float sum_of(floats x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}
INLINE float largest_of(floats x) {
    float largest = x[0];
    for (int i = 1; i < LANES; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

/* e^x for x <= 0, to a unit in the last place; 0 below -60, where its products could be denormal numbers.
 *
 * x = n ln 2 + r with |r| <= ln 2 / 2; e^r by the polynomial of Cephes' expf (Moshier 1989), 2^n by its bits. */
INLINE floats exp_of(floats x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number, which its last bits then are */
    floats shifted = x * 1.44269504f + magic;
    floats n = shifted - magic;
    floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
    floats p = ((((r * 1.9875691500e-4f + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r +
                1.6666665459e-1f) * r + 0.5f;
    floats e = (p * (r * r) + r) + 1.0f;
    words power = (words)shifted << 23; /* of the magic number's bits, only the whole number's survive */
    return (floats)((ints)(e * (floats)(power + (127u << 23))) & ~(x < -60.0f));
}

/* Perfect shuffles: the lanes of a and b in turns. */
#if LANES == 16
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define TURNS_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define TURNS_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#define TURNS_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define TURNS_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#define TURNS_LOW 0, 4, 1, 5
#define TURNS_HIGH 2, 6, 3, 7
#endif
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else /* GCC has that one from version 12 on */
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ints){__VA_ARGS__})
#endif

/* The numbers of a and those of b behind them as pairs, rounded to nearest, ties to even; NaN stays NaN. */
INLINE floats pairs_of(floats a, floats b) {
#if defined(__AVX512BF16__)
    return (floats)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
#else
    floats even = SHUFFLE(a, b, EVEN), odd = SHUFFLE(a, b, ODD);
    words low = (words)even, high = (words)odd;
    low = (low + 0x7fff + ((low >> 16) & 1)) >> 16 | ((words)(even != even) & 0x7fc0);
    high = ((high + 0x7fff + ((high >> 16) & 1)) & 0xffff0000) | ((words)(odd != odd) & 0x7fc00000);
    return (floats)(low | high);
#endif
}

/* Transpose LANES x LANES numbers in registers: log2(LANES) perfect shuffles of the rows' first and second half. */
INLINE void transpose(floats x[LANES]) {
    floats y[LANES];
#pragma GCC unroll 4
    for (int width = 1; width < LANES; width *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < LANES / 2; i++) {
            y[2 * i] = SHUFFLE(x[i], x[i + LANES / 2], TURNS_LOW);
            y[2 * i + 1] = SHUFFLE(x[i], x[i + LANES / 2], TURNS_HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) x[i] = y[i];
    }
}

#endif
