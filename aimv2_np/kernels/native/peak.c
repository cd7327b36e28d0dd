/* The most that this processor can do: fused multiply-adds of registers.
 *
 *     sum[i] = sum[i] a + b        i < ROWS VECTORS
 *
 * 2 LANES ROWS VECTORS operations a turn, on no bytes. There are as many sums as a product keeps, none of which waits
 * for another: more than any processor has under way. Whatever is measured against this was measured against arithmetic
 * alone, on as many threads, at the clock that the processor has in these minutes. */
#include "simd.h"
#include "team.h"

#define SUMS (ROWS * VECTORS)
#define PEAK_TURNS 4096 /* of a task: some 50 microseconds */

static void peak_work(void *about, struct team *team, int member) {
    const long *tasks = about;
    floats sum[SUMS], a = all(0.999f), b = all(0.001f);
    (void)member;
    for (int i = 0; i < SUMS; i++) sum[i] = all((float)i);
    while (team_claim(team) < *tasks)
        for (long turn = 0; turn < PEAK_TURNS; turn++)
#pragma GCC unroll 24
            for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * a + b;
    for (int i = 1; i < SUMS; i++) sum[0] += sum[i];
    volatile float kept = sum_of(sum[0]); /* or the compiler would leave it all out */
    (void)kept;
}

/* Tasks shared out among threads; returns how many operations these were. */
static double run_peak(long tasks, int threads) {
    team_run(peak_work, &tasks, threads);
    return 2.0 * LANES * SUMS * PEAK_TURNS * (double)(tasks > 0 ? tasks : 0);
}
