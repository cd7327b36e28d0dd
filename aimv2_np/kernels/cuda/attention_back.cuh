// What both kernels of attention's way back have in common: tiles of 32 tokens in shared memory, and products of them.
//
// 16 × 16 threads, of which each has 2 × 2 scores of a tile (2 rows; columns 16 apart) and 2 × DIM/16 numbers of a sum of
// rows. Rows in shared memory are DIM + 4 long, so that the rows that neighbours read together lie in different banks.
#pragma once
#include "common.cuh"

constexpr int TILE = 32, PAD = 4, SIDE = 16, THREADS = SIDE * SIDE, EACH = 2;

// Rows `first` to `first + TILE` of (rows, size), filled up with zeros.
template <int DIM>
__device__ __forceinline__ void fetch(float* tile, const float* from, long long stride, int first, int rows, int size) {
    for (int i = threadIdx.x; i < TILE * DIM; i += THREADS) {
        int row = i / DIM, column = i % DIM;
        bool inside = first + row < rows && column < size;
        tile[row * (DIM + PAD) + column] = inside ? from[(first + row) * stride + column] : 0.0f;
    }
}

// found[r][c] = a_(row + r) · b_(column + 16 c)
template <int DIM>
__device__ __forceinline__ void dots(float (&found)[EACH][EACH], const float* a, const float* b) {
    int row = threadIdx.x / SIDE * EACH, column = threadIdx.x % SIDE;
#pragma unroll
    for (int r = 0; r < EACH; ++r)
#pragma unroll
        for (int c = 0; c < EACH; ++c) found[r][c] = 0.0f;
#pragma unroll 2
    for (int i = 0; i < DIM; i += 4) {
        float4 x[EACH], y[EACH];
#pragma unroll
        for (int r = 0; r < EACH; ++r) {
            x[r] = *reinterpret_cast<const float4*>(a + (row + r) * (DIM + PAD) + i);
            y[r] = *reinterpret_cast<const float4*>(b + (column + r * SIDE) * (DIM + PAD) + i);
        }
#pragma unroll
        for (int r = 0; r < EACH; ++r)
#pragma unroll
            for (int c = 0; c < EACH; ++c)
                found[r][c] += x[r].x * y[c].x + x[r].y * y[c].y + x[r].z * y[c].z + x[r].w * y[c].w;
    }
}

// sums_row += Σ_j weights[row][j] tile_j
template <int DIM>
__device__ __forceinline__ void add_rows(float (&sums)[EACH][DIM / SIDE], const float* weights, const float* tile) {
    int row = threadIdx.x / SIDE * EACH, column = threadIdx.x % SIDE;
#pragma unroll 2
    for (int j = 0; j < TILE; ++j) {
        float value[DIM / SIDE];
#pragma unroll
        for (int n = 0; n < DIM / SIDE; ++n) value[n] = tile[j * (DIM + PAD) + column + n * SIDE];
#pragma unroll
        for (int r = 0; r < EACH; ++r) {
            float weight = weights[(row + r) * (TILE + PAD) + j];
#pragma unroll
            for (int n = 0; n < DIM / SIDE; ++n) sums[r][n] += weight * value[n];
        }
    }
}

// weights[row][column] = found
__device__ __forceinline__ void keep(float* weights, const float (&found)[EACH][EACH]) {
    int row = threadIdx.x / SIDE * EACH, column = threadIdx.x % SIDE;
#pragma unroll
    for (int r = 0; r < EACH; ++r)
#pragma unroll
        for (int c = 0; c < EACH; ++c) weights[(row + r) * (TILE + PAD) + column + c * SIDE] = found[r][c];
}

// factor · sums, as rows `first` … of (rows, size), which lie `stride` apart
template <int DIM>
__device__ __forceinline__ void put(float* to, long long stride, int first, int rows, int size, float factor,
                                    const float (&sums)[EACH][DIM / SIDE]) {
    int row = threadIdx.x / SIDE * EACH, column = threadIdx.x % SIDE;
#pragma unroll
    for (int r = 0; r < EACH; ++r)
#pragma unroll
        for (int n = 0; n < DIM / SIDE; ++n) {
            int place = first + row + r, number = column + n * SIDE;
            if (place < rows && number < size) to[place * stride + number] = factor * sums[r][n];
        }
}

// Where a query may look: mask is null where it may look everywhere.
__device__ __forceinline__ bool may_look(const unsigned char* mask, long long mask_query, int query, int key) {
    return !mask || mask[query * mask_query + key];
}

// The strides of q, k, v, out and of the gradient by out, in elements: the batch's, the heads', the tokens'.
#define BACK_STRIDES                                                                                              \
    long long qb, long long kb, long long vb, long long ob, long long gb, long long qh, long long kh,            \
        long long vh, long long oh, long long gh, long long qn, long long kn, long long vn, long long on,        \
        long long gn
