// The derivative of attention by its queries, without the N×M matrix, and what the one by keys and values needs of rows.
//
//     m_i = max_j s·q_i·k_j,   l_i = Σ_j e^(s·q_i·k_j - m_i),   P_ij = e^(s·q_i·k_j - m_i) / l_i,   D_i = g_i · o_i
//     ∂L/∂q_i = s Σ_j P_ij (g_i·v_j - D_i) k_j          g: the gradient by the output o
//
// The scores are computed anew, as in attention_tiles.cu, once for m and l and once more for the sum. Operations: 8·N·M·d
// per head, on the float32 units. Bytes: q, o, g and the result once, k three and v two times for each TILE queries.
//
// One block per head and TILE queries. Where a query may not look, its score has no derivative.
#include "attention_back.cuh"

template <int DIM>
__global__ void __launch_bounds__(THREADS, 2)
attention_back_queries(float* __restrict__ by_q, float* __restrict__ largest, float* __restrict__ inverse,
                       float* __restrict__ mean, const float* __restrict__ q, const float* __restrict__ k,
                       const float* __restrict__ v, const float* __restrict__ out, const float* __restrict__ g,
                       const unsigned char* __restrict__ mask, int queries, int keys, int tiles, int heads, int size,
                       BACK_STRIDES, long long mask_batch, long long mask_query, float scale) {
    extern __shared__ __align__(128) unsigned char shared_memory[];
    float* query_tile = reinterpret_cast<float*>(shared_memory);
    float* above = query_tile + TILE * (DIM + PAD);
    float* tile = above + TILE * (DIM + PAD);
    float* weights = tile + TILE * (DIM + PAD);

    int first = blockIdx.x % tiles * TILE, head = blockIdx.x / tiles % heads, item = blockIdx.x / tiles / heads;
    int row = threadIdx.x / SIDE * EACH, column = threadIdx.x % SIDE;
    q += item * qb + head * qh;
    k += item * kb + head * kh;
    v += item * vb + head * vh;
    if (mask) mask += item * mask_batch;

    fetch<DIM>(query_tile, q, qn, first, queries, size);
    fetch<DIM>(above, g + item * gb + head * gh, gn, first, queries, size);
    fetch<DIM>(tile, out + item * ob + head * oh, on, first, queries, size);
    __syncthreads();
    float highest[EACH], sum[EACH] = {}, along[EACH] = {}, result[EACH][DIM / SIDE] = {};
#pragma unroll
    for (int r = 0; r < EACH; ++r) {
        highest[r] = minus_infinity();
        for (int i = column; i < DIM; i += SIDE)
            along[r] += above[(row + r) * (DIM + PAD) + i] * tile[(row + r) * (DIM + PAD) + i];
        along[r] = sum_of_lanes<SIDE>(along[r]);
    }
    __syncthreads();

    for (int start = 0; start < keys; start += TILE) {
        fetch<DIM>(tile, k, kn, start, keys, size);
        __syncthreads();
        float scores[EACH][EACH];
        dots<DIM>(scores, query_tile, tile);
#pragma unroll
        for (int r = 0; r < EACH; ++r) {
            int query = first + row + r;
            float now = highest[r];
#pragma unroll
            for (int c = 0; c < EACH; ++c) {
                int key = start + column + c * SIDE;
                scores[r][c] *= scale;
                if (key >= keys) scores[r][c] = minus_infinity();
                else if (query < queries && !may_look(mask, mask_query, query, key)) scores[r][c] = lowest();
                now = fmaxf(now, scores[r][c]);
            }
            now = max_of_lanes<SIDE>(now);
            sum[r] *= expf(highest[r] - now);
            highest[r] = now;
#pragma unroll
            for (int c = 0; c < EACH; ++c) sum[r] += expf(scores[r][c] - now);
        }
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < EACH; ++r) sum[r] = 1.0f / sum_of_lanes<SIDE>(sum[r]);

    for (int start = 0; start < keys; start += TILE) {
        float scores[EACH][EACH], by_probs[EACH][EACH];
        fetch<DIM>(tile, v, vn, start, keys, size);
        __syncthreads();
        dots<DIM>(by_probs, above, tile);
        __syncthreads();
        fetch<DIM>(tile, k, kn, start, keys, size);
        __syncthreads();
        dots<DIM>(scores, query_tile, tile);
#pragma unroll
        for (int r = 0; r < EACH; ++r)
#pragma unroll
            for (int c = 0; c < EACH; ++c) {
                int query = first + row + r, key = start + column + c * SIDE;
                bool counts = query < queries && key < keys && may_look(mask, mask_query, query, key);
                float prob = counts ? expf(scale * scores[r][c] - highest[r]) * sum[r] : 0.0f;
                scores[r][c] = prob * (by_probs[r][c] - along[r]);
            }
        keep(weights, scores);
        __syncthreads();
        add_rows<DIM>(result, weights, tile);
        __syncthreads();
    }

    long long stride = static_cast<long long>(heads) * size;
    put<DIM>(by_q + item * queries * stride + head * size, stride, first, queries, size, scale, result);
    long long place = (static_cast<long long>(item) * heads + head) * queries + first + row;
#pragma unroll
    for (int r = 0; r < EACH; ++r)
        if (column == 0 && first + row + r < queries) {
            largest[place + r] = highest[r];
            inverse[place + r] = sum[r];
            mean[place + r] = along[r];
        }
}
