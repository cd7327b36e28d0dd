// The derivative of attention by its keys and values, without the N×M matrix.
//
//     P_ij = e^(s·q_i·k_j - m_i) / l_i,    ∂L/∂v_j = Σ_i P_ij g_i,    ∂L/∂k_j = s Σ_i P_ij (g_i·v_j - D_i) q_i
//
// m, 1/l and D are what attention_back_queries.cu found for each row. Operations: 8·N·M·d per head, on the float32 units.
// Bytes: k, v and the results once, q two times and g once for each TILE keys.
//
// One block per head and TILE keys: no two blocks add to the same number, so that the bits are the same in every run.
#include "attention_back.cuh"

template <int DIM>
__global__ void __launch_bounds__(THREADS, 2)
attention_back_keys(float* __restrict__ by_k, float* __restrict__ by_v, const float* __restrict__ largest,
                    const float* __restrict__ inverse, const float* __restrict__ mean, const float* __restrict__ q,
                    const float* __restrict__ k, const float* __restrict__ v, const float* __restrict__ g,
                    const unsigned char* __restrict__ mask, int queries, int keys, int tiles, int heads, int size,
                    BACK_STRIDES, long long mask_batch, long long mask_query, float scale) {
    extern __shared__ __align__(128) unsigned char shared_memory[];
    float* key_tile = reinterpret_cast<float*>(shared_memory);
    float* value_tile = key_tile + TILE * (DIM + PAD);
    float* tile = value_tile + TILE * (DIM + PAD);
    float* weights = tile + TILE * (DIM + PAD);

    int first = blockIdx.x % tiles * TILE, head = blockIdx.x / tiles % heads, item = blockIdx.x / tiles / heads;
    int row = threadIdx.x / SIDE * EACH, column = threadIdx.x % SIDE;
    q += item * qb + head * qh;
    g += item * gb + head * gh;
    if (mask) mask += item * mask_batch;
    long long place = (static_cast<long long>(item) * heads + head) * queries;

    fetch<DIM>(key_tile, k + item * kb + head * kh, kn, first, keys, size);
    fetch<DIM>(value_tile, v + item * vb + head * vh, vn, first, keys, size);
    float keys_sum[EACH][DIM / SIDE] = {}, values_sum[EACH][DIM / SIDE] = {};

    for (int start = 0; start < queries; start += TILE) {
        float probs[EACH][EACH], by_scores[EACH][EACH];
        fetch<DIM>(tile, q, qn, start, queries, size);
        __syncthreads();
        dots<DIM>(probs, key_tile, tile);
#pragma unroll
        for (int r = 0; r < EACH; ++r)
#pragma unroll
            for (int c = 0; c < EACH; ++c) {
                int query = start + column + c * SIDE, key = first + row + r;
                bool inside = query < queries && key < keys;
                float score = inside && !may_look(mask, mask_query, query, key) ? lowest() : scale * probs[r][c];
                probs[r][c] = inside ? expf(score - largest[place + query]) * inverse[place + query] : 0.0f;
            }
        keep(weights, probs);
        __syncthreads();
        fetch<DIM>(tile, g, gn, start, queries, size);
        __syncthreads();
        dots<DIM>(by_scores, value_tile, tile);
        add_rows<DIM>(values_sum, weights, tile);
#pragma unroll
        for (int r = 0; r < EACH; ++r)
#pragma unroll
            for (int c = 0; c < EACH; ++c) {
                int query = start + column + c * SIDE, key = first + row + r;
                bool counts = query < queries && key < keys && may_look(mask, mask_query, query, key);
                by_scores[r][c] = counts ? probs[r][c] * (by_scores[r][c] - mean[place + query]) : 0.0f;
            }
        __syncthreads();
        keep(weights, by_scores);
        fetch<DIM>(tile, q, qn, start, queries, size);
        __syncthreads();
        add_rows<DIM>(keys_sum, weights, tile);
        __syncthreads();
    }

    long long stride = static_cast<long long>(heads) * size;
    put<DIM>(by_k + item * keys * stride + head * size, stride, first, keys, size, scale, keys_sum);
    put<DIM>(by_v + item * keys * stride + head * size, stride, first, keys, size, 1.0f, values_sum);
}
