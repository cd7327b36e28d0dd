// RMSNorm of each row, with or without a residual that is added first.
//
//     x ← x + r                                  (ADD only; stored)
//     y_i = g_i · x_i / sqrt(Σ_j x_j² / D + ε)
//
// Bytes per row of D elements of s bytes: read s·D, write s·D (ADD: read 2·s·D, write 2·s·D); the gain stays in L2.
// Operations per row: about 4·D. At 3.35 TB/s (H100) memory is the limit by a factor of more than ten.
//
// One block per row. Each thread keeps its part of the row in registers, so that x is read once, up to KEPT vectors;
// what a longer row has beyond that is read again, from L1 or L2. Sums and the division are float32; the result is
// rounded to T before it is multiplied by the gain, as in the textbook.
#include "common.cuh"

constexpr int KEPT = 4;

template <class T, int WIDTH, bool ADD>
__device__ __forceinline__ Vector<T, WIDTH> read(T* x, const T* residual, int i) {
    Vector<T, WIDTH> v = load<WIDTH>(x + i);
    if (ADD) {
        Vector<T, WIDTH> r = load<WIDTH>(residual + i);
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) v.at[j] = from_float<T>(to_float(v.at[j]) + to_float(r.at[j]));
        store<WIDTH>(x + i, v);
    }
    return v;
}

template <class T, int WIDTH>
__device__ __forceinline__ float squares(const Vector<T, WIDTH>& v) {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) sum += to_float(v.at[j]) * to_float(v.at[j]);
    return sum;
}

template <class T, int WIDTH>
__device__ __forceinline__ void write(T* y, const T* gain, int i, Vector<T, WIDTH> v, float factor) {
    Vector<T, WIDTH> g = load<WIDTH>(gain + i);
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) {
        T normalised = from_float<T>(to_float(v.at[j]) * factor);
        v.at[j] = from_float<T>(to_float(g.at[j]) * to_float(normalised));
    }
    store<WIDTH>(y + i, v);
}

// x, y: (rows, D) without gaps, rows = gridDim.x; residual: rows `residual_stride` elements apart (0: one for all).
template <class T, int WIDTH, bool ADD>
__global__ void __launch_bounds__(256)
rms_norm(T* __restrict__ y, T* __restrict__ x, const T* __restrict__ gain, const T* __restrict__ residual,
         int size, int residual_stride, float eps) {
    long long row = blockIdx.x;
    y += row * size;
    x += row * size;
    residual += row * residual_stride;
    int first = threadIdx.x * WIDTH, step = blockDim.x * WIDTH, again = KEPT * step;

    Vector<T, WIDTH> kept[KEPT];
    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < KEPT; ++n) {
        int i = first + n * step;
        if (i < size) {
            kept[n] = read<T, WIDTH, ADD>(x, residual, i);
            sum += squares(kept[n]);
        }
    }
    for (int i = first + again; i < size; i += step) sum += squares(read<T, WIDTH, ADD>(x, residual, i));

    float total = sum_of_block(sum);
    float factor = 1.0f / (sqrtf(total / size + eps) + (total - total));  // NaN where the squares overflowed
#pragma unroll
    for (int n = 0; n < KEPT; ++n) {
        int i = first + n * step;
        if (i < size) write(y, gain, i, kept[n], factor);
    }
    for (int i = first + again; i < size; i += step) write(y, gain, i, load<WIDTH>(x + i), factor);
}
