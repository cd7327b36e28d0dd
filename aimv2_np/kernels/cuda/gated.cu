// SwiGLU's activation and product, in one pass over the stacked output of the gate and up projections.
//
//     y_i = act(g_i) · u_i
//
// Bytes per element of s bytes: read 2·s, write s. Operations per element: one exponential, one division and about
// four more for SiLU; memory is the limit, by a factor of about four on an H100.
//
// One block per row, of which a thread computes WIDTH neighbours at once: no index is divided. Rows of g and of u lie
// `stride` elements apart, so that both may be halves of one array (rows, 2·F). Computed in float32, rounded once.
#include "common.cuh"
#include "activations.cuh"

template <class T, int WIDTH, class ACTIVATION>
__global__ void __launch_bounds__(256)
gated(T* __restrict__ y, const T* __restrict__ gate, const T* __restrict__ up, int size, long long gate_stride,
      long long up_stride) {
    long long row = blockIdx.x;
    for (int i = threadIdx.x * WIDTH; i < size; i += blockDim.x * WIDTH) {
        Vector<T, WIDTH> g = load<WIDTH>(gate + row * gate_stride + i);
        Vector<T, WIDTH> u = load<WIDTH>(up + row * up_stride + i);
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) g.at[j] = from_float<T>(ACTIVATION::of(to_float(g.at[j])) * to_float(u.at[j]));
        store<WIDTH>(y + row * size + i, g);
    }
}
