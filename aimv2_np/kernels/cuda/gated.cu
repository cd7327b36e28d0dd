// SwiGLU's activation and product, in one pass over the stacked output of the gate and up projections.
//
//     y_i = act(g_i) · u_i
//
// Bytes per element of s bytes: read 2·s, write s. Operations per element: one exponential, one division and about
// four more for SiLU; memory is the limit, by a factor of about four on an H100.
//
// Each thread computes WIDTH neighbours. Rows of g and of u lie `stride` elements apart, so that both may be halves of
// one array (rows, 2·F). Computed in float32, rounded once.
#include "common.cuh"
#include "activations.cuh"

template <class T, int WIDTH, class ACTIVATION>
__global__ void __launch_bounds__(256)
gated(T* __restrict__ y, const T* __restrict__ gate, const T* __restrict__ up, long long elements, int size,
      long long gate_stride, long long up_stride) {
    long long i = (blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x) * WIDTH;
    if (i >= elements) return;
    long long row = i / size, column = i % size;
    Vector<T, WIDTH> g = load<WIDTH>(gate + row * gate_stride + column);
    Vector<T, WIDTH> u = load<WIDTH>(up + row * up_stride + column);
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) g.at[j] = from_float<T>(ACTIVATION::of(to_float(g.at[j])) * to_float(u.at[j]));
    store<WIDTH>(y + i, g);
}
