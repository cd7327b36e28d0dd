/* Which instruction sets' kernels this processor can run. build.py compiles set.c for the same ones. */
#include <stddef.h>

#include "kernels.h"

#if defined(__x86_64__)
extern const struct kernels kernels_avx512_bf16, kernels_avx512, kernels_avx2, kernels_plain;
#elif defined(__aarch64__)
extern const struct kernels kernels_neon;
#else
extern const struct kernels kernels_plain;
#endif

/* The i-th that runs here, the fastest first; NULL behind the last. */
__attribute__((visibility("default"))) const struct kernels *aimv2_kernels(int i) {
    const struct kernels *found[4];
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        if (__builtin_cpu_supports("avx512bf16")) found[count++] = &kernels_avx512_bf16;
        found[count++] = &kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[count++] = &kernels_avx2;
#endif
#if defined(__aarch64__)
    found[count++] = &kernels_neon;
#else
    found[count++] = &kernels_plain;
#endif
    return i >= 0 && i < count ? found[i] : NULL;
}

/* The checksum of the kernels.h that this was compiled with: another one may have other structures. */
__attribute__((visibility("default"))) uint32_t aimv2_interface(void) { return INTERFACE; }
