// The derivative of SwiGLU's activation and product, by both factors, in one pass.
//
//     y_i = act(a_i) · b_i,    ∂L/∂a_i = act'(a_i) · b_i · g_i,    ∂L/∂b_i = act(a_i) · g_i
//
// Bytes per element: read 12, write 8. Operations per element: one exponential, two divisions and
// about eight more for SiLU; memory is the limit.
//
// One block per row, as in gated.cu. All of it is float32: half precision is widened before.
#include "common.cuh"
#include "activations.cuh"

template <class ACTIVATION>
__global__ void __launch_bounds__(256)
gated_back(float* __restrict__ by_gate, float* __restrict__ by_up, const float* __restrict__ gate,
           const float* __restrict__ up, const float* __restrict__ g, int size, long long gate_stride, long long up_stride, long long stride) {
    long long row = blockIdx.x;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        float a = gate[row * gate_stride + i], above = g[row * stride + i];
        by_gate[row * size + i] = ACTIVATION::slope(a) * up[row * up_stride + i] * above;
        by_up[row * size + i] = ACTIVATION::of(a) * above;
    }
}
