// The derivative of RMSNorm by its rows, and by its gain for some rows at a time.
//
//     r = (Σ_j x_j² / D + ε)^(-1/2),    u = gain ⊙ g,    ∂L/∂x = r u - r³ x Σ_j(u_j x_j) / D,    ∂L/∂gain = Σ r x ⊙ g
//
// Bytes per row of D elements of s bytes: read s·D and 4·D (g), write 4·D; both are read again from L2. Operations per
// row: about 12·D; memory is the limit.
//
// Each block takes every gridDim.x-th row, and adds what those give for the gain in a row of its own, which the caller
// sums up: no two blocks add to the same number. A thread takes the same columns of each row.
#include "common.cuh"

// x, g, by_x: (rows, size) without gaps; by_gain: (gridDim.x, size).
template <class T>
__global__ void __launch_bounds__(256)
rms_norm_back(float* __restrict__ by_x, float* __restrict__ by_gain, const T* __restrict__ x,
              const T* __restrict__ gain, const float* __restrict__ g, int rows, int size, float eps) {
    by_gain += static_cast<long long>(blockIdx.x) * size;
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        long long start = static_cast<long long>(row) * size;
        float squares = 0.0f, along = 0.0f;
        for (int i = threadIdx.x; i < size; i += blockDim.x) {
            float value = to_float(x[start + i]);
            squares += value * value;
            along += to_float(gain[i]) * g[start + i] * value;
        }
        squares = sum_of_block(squares);
        __syncthreads();  // the next sum goes through the same memory
        along = sum_of_block(along);
        __syncthreads();
        float r = 1.0f / sqrtf(squares / size + eps), part = r * r * r * (along / size);
        for (int i = threadIdx.x; i < size; i += blockDim.x) {
            float value = to_float(x[start + i]), above = g[start + i];
            by_x[start + i] = r * to_float(gain[i]) * above - part * value;
            float before = row == blockIdx.x ? 0.0f : by_gain[i];
            by_gain[i] = before + above * r * value;
        }
    }
}
