/* Which instruction set's kernels this processor can run. */
#include <stddef.h>
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__)
extern const struct kernels kernels_avx512, kernels_avx2;
#endif
extern const struct kernels kernels_plain;

/* The i-th that runs here, the fastest first; NULL behind the last. */
const struct kernels *aimv2_kernels(int i) {
    const struct kernels *found[4] = {NULL};
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) found[count++] = &kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[count++] = &kernels_avx2;
#endif
    found[count++] = &kernels_plain;
    return i >= 0 && i < count ? found[i] : NULL;
}
