/* Which instruction sets' kernels this processor can run. build.py compiles set.c for the same ones. */
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include "kernels.h"

static const struct kernels *found[5]; /* the fastest first */
static int count;
static const char *wrong; /* the name of a set that would run here, but not compute what it should */

#if defined(__x86_64__)
extern const struct kernels kernels_avx512_amx, kernels_avx512_bf16, kernels_avx512, kernels_avx2, kernels_plain;

/* Whether the processor multiplies bfloat16 in tiles, the system keeps these registers, and this process may use them.
 *
 * For that one has to ask Linux (since 5.16), which refuses where a stack for signals could not hold them. Compilers of
 * that time do not know these features by name. Only where there is AVX-512: then XGETBV is known, too. */
__attribute__((target("xsave"))) static int has_tiles(void) {
#if defined(__linux__)
    const unsigned features = 1u << 22 | 1u << 24; /* AMX-BF16, AMX-TILE */
    const unsigned long long states = 3u << 17;    /* XTILECFG, XTILEDATA */
    const long request = 0x1023, tile_data = 18;   /* ARCH_REQ_XCOMP_PERM */
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & features) == features && (_xgetbv(0) & states) == states &&
           syscall(SYS_arch_prctl, request, tile_data) == 0;
#else
    return 0;
#endif
}

/* Whether both give the same bits for a product of small whole numbers, of which no sum is rounded, whatever its order:
 * larger than a tile each way, of no whole number of tiles, on two threads. */
static int agree(const struct kernels *a, const struct kernels *b) {
    enum { ROWS = 21, INPUTS = 75, OUTPUTS = 53 };
    float x[ROWS * INPUTS], y[2][ROWS * OUTPUTS];
    uint16_t weights[OUTPUTS * INPUTS];
    for (int i = 0; i < ROWS * INPUTS; i++) x[i] = (float)(i * 7 % 17 - 8);
    for (int i = 0; i < OUTPUTS * INPUTS; i++) {
        float weight = (float)(i * 5 % 19 - 9);
        memcpy(&weights[i], (char *)&weight + 2, 2);
    }
    struct matrix w = {.data = weights, .outputs = OUTPUTS, .inputs = INPUTS, .stride = INPUTS, .kind = ROUNDED};
    return !a->linear(x, ROWS, INPUTS, &w, y[0], OUTPUTS, 2) && !b->linear(x, ROWS, INPUTS, &w, y[1], OUTPUTS, 1) &&
           !memcmp(y[0], y[1], sizeof y[0]);
}

static void find(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        if (__builtin_cpu_supports("avx512bf16")) {
            /* Built from Intel's manual, and never run on such a processor: so it has to show what it can. */
            if (has_tiles()) {
                if (agree(&kernels_avx512_amx, &kernels_plain)) found[count++] = &kernels_avx512_amx;
                else wrong = kernels_avx512_amx.name;
            }
            found[count++] = &kernels_avx512_bf16;
        }
        found[count++] = &kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[count++] = &kernels_avx2;
    found[count++] = &kernels_plain;
}
#elif defined(__aarch64__)
extern const struct kernels kernels_neon;
static void find(void) { found[count++] = &kernels_neon; }
#else
extern const struct kernels kernels_plain;
static void find(void) { found[count++] = &kernels_plain; }
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;

#define EXPORTED __attribute__((visibility("default")))

/* The i-th that runs here, the fastest first; NULL behind the last. */
EXPORTED const struct kernels *aimv2_kernels(int i) {
    pthread_once(&once, find);
    return i >= 0 && i < count ? found[i] : NULL;
}

/* The name of the one that computed wrongly when it was tried, and is none of these; NULL if there is none. */
EXPORTED const char *aimv2_wrong(void) {
    pthread_once(&once, find);
    return wrong;
}

/* The checksum of the kernels.h that this was compiled with: another one may have other structures. */
EXPORTED uint32_t aimv2_interface(void) { return INTERFACE; }
