// The softmax of scaled and masked scores, for attention by two products of stacks of matrices.
//
//     p_ij = e^(s·a_ij - max_j) / Σ_j e^(s·a_ij - max_j)        a_ij: where the mask forbids, the lowest float32
//
// Bytes per score: read 4, write the size of T (1 more for a mask of its own). Operations: one exponential and about
// five more. One warp per row, which it keeps in registers up to 32·KEPT scores; a longer one is read three times, the
// last two from L2. P may be A itself when T is float.
#include "common.cuh"

constexpr int KEPT = 16;

struct Row {
    const float* scores;
    const unsigned char* mask;
    float scale;
    __device__ __forceinline__ float at(int j) const { return mask && !mask[j] ? lowest() : scale * scores[j]; }
};

// scores, probs: (batch, heads, queries, keys) without gaps; mask: strides in bytes, 0 where it is the same for all
template <class T>
__global__ void __launch_bounds__(128)
softmax(T* probs, const float* scores, const unsigned char* mask, int rows, int heads, int queries, int keys,
        long long mask_batch, long long mask_query, float scale) {
    int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    int lane = threadIdx.x % WARP;
    long long first = row * static_cast<long long>(keys);
    if (mask) mask += row / queries / heads * mask_batch + row % queries * mask_query;
    Row a{scores + first, mask, scale};
    probs += first;

    float kept[KEPT], largest = minus_infinity();
#pragma unroll
    for (int n = 0; n < KEPT; ++n) {
        int j = lane + n * WARP;
        kept[n] = j < keys ? a.at(j) : minus_infinity();
        largest = fmaxf(largest, kept[n]);
    }
    for (int j = lane + KEPT * WARP; j < keys; j += WARP) largest = fmaxf(largest, a.at(j));
    largest = max_of_lanes(largest);

    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < KEPT; ++n) {
        kept[n] = expf(kept[n] - largest);
        sum += kept[n];
    }
    for (int j = lane + KEPT * WARP; j < keys; j += WARP) sum += expf(a.at(j) - largest);
    float factor = 1.0f / sum_of_lanes(sum);

#pragma unroll
    for (int n = 0; n < KEPT; ++n) {
        int j = lane + n * WARP;
        if (j < keys) probs[j] = from_float<T>(kept[n] * factor);
    }
    for (int j = lane + KEPT * WARP; j < keys; j += WARP) probs[j] = from_float<T>(expf(a.at(j) - largest) * factor);
}
