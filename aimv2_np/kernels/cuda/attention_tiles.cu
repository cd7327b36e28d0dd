// Attention in float32 arithmetic, for any element type and any size of head, without the N×N matrix.
//
//     out_i = Σ_j e^(s·q_i·k_j - m_i) v_j / Σ_j e^(s·q_i·k_j - m_i),    m_i = max_j s·q_i·k_j
//
// The sums run over tiles of keys, as in attention_tensor_cores.cu. Operations: 4·N·M·d per head, on the float32 units.
// Bytes: q and out once, k and v once per block of ROWS queries.
//
// One block per head and ROWS queries; 16 × 8 threads, each of which computes 4 × 4 scores of a tile (4 rows; keys 8
// apart) and 4 × DIM/8 numbers of the result. Per four elements of d, it reads 8 vectors of 16 bytes for 64 multiply-adds.
// Rows in shared memory are DIM + 4 long, so that the 8 keys that neighbours read together lie in different banks. Keys
// and values take turns in one tile. Heads of another size than DIM are filled up with zeros.
#include "common.cuh"
#include "attention_problem.cuh"

constexpr int ROWS = 64, KEYS = 32, THREADS = 128, COLUMN_GROUPS = 8, EACH = 4, PAD = 4;

template <class T, int DIM, int WIDTH>
__device__ __forceinline__ void fetch(float* tile, const T* from, long long stride, int first, int count, int rows,
                                      int size) {
    for (int i = threadIdx.x * WIDTH; i < count * DIM; i += THREADS * WIDTH) {
        int row = i / DIM, column = i % DIM;
        bool inside = first + row < rows && column < size;
        Vector<T, WIDTH> x;
        if (inside) x = load<WIDTH>(from + (first + row) * stride + column);
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) tile[row * (DIM + PAD) + column + j] = inside ? to_float(x.at[j]) : 0.0f;
    }
}

__device__ __forceinline__ float4 four(const float* p) { return *reinterpret_cast<const float4*>(p); }

template <class T, int DIM, int WIDTH>
__global__ void __launch_bounds__(THREADS, 2)
attention_tiles(T* __restrict__ out, const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                const unsigned char* __restrict__ mask, const int* __restrict__ starts, int queries, int keys,
                int tiles, int heads, int size, STRIDES, long long mask_batch, long long mask_query, float scale) {
    constexpr int PARTS = DIM / (4 * COLUMN_GROUPS);  // vectors of four columns of the result, of each thread
    extern __shared__ __align__(128) unsigned char shared_memory[];
    float* query_tile = reinterpret_cast<float*>(shared_memory);
    float* tile = query_tile + ROWS * (DIM + PAD);
    float* probs = tile + KEYS * (DIM + PAD);

    int first_query = blockIdx.x % tiles * ROWS, head = blockIdx.x / tiles % heads, item = blockIdx.x / tiles / heads;
    GATHER_STRIDES;
    Problem<T> p(out, q, k, v, mask, starts, queries, keys, item, head, of_batch, of_head, of_token, mask_batch);
    if (first_query >= p.queries) return;
    int row = threadIdx.x / COLUMN_GROUPS * EACH, column = threadIdx.x % COLUMN_GROUPS;

    fetch<T, DIM, WIDTH>(query_tile, p.q, of_token[0], first_query, ROWS, p.queries, size);
    float sum[EACH] = {}, largest[EACH];
    float4 result[EACH][PARTS] = {};
#pragma unroll
    for (int r = 0; r < EACH; ++r) largest[r] = minus_infinity();

    for (int first = 0; first < p.keys; first += KEYS) {
        fetch<T, DIM, WIDTH>(tile, p.k, of_token[1], first, KEYS, p.keys, size);
        __syncthreads();
        float scores[EACH][EACH] = {};
#pragma unroll 4
        for (int i = 0; i < DIM; i += 4) {
            float4 a[EACH], b[EACH];
#pragma unroll
            for (int r = 0; r < EACH; ++r) {
                a[r] = four(query_tile + (row + r) * (DIM + PAD) + i);
                b[r] = four(tile + (column + r * COLUMN_GROUPS) * (DIM + PAD) + i);
            }
#pragma unroll
            for (int r = 0; r < EACH; ++r)
#pragma unroll
                for (int c = 0; c < EACH; ++c)
                    scores[r][c] += a[r].x * b[c].x + a[r].y * b[c].y + a[r].z * b[c].z + a[r].w * b[c].w;
        }

#pragma unroll
        for (int r = 0; r < EACH; ++r) {
            int query = first_query + row + r;
            float highest = largest[r];
#pragma unroll
            for (int c = 0; c < EACH; ++c) {
                int key = first + column + c * COLUMN_GROUPS;
                scores[r][c] *= scale;
                if (p.mask && query < p.queries && key < p.keys && !p.mask[query * mask_query + key])
                    scores[r][c] = lowest();
                if (key >= p.keys) scores[r][c] = minus_infinity();
                highest = fmaxf(highest, scores[r][c]);
            }
            highest = max_of_lanes<COLUMN_GROUPS>(highest);
            float factor = expf(largest[r] - highest);
            largest[r] = highest;
            sum[r] *= factor;
#pragma unroll
            for (int part = 0; part < PARTS; ++part) {
                result[r][part].x *= factor;
                result[r][part].y *= factor;
                result[r][part].z *= factor;
                result[r][part].w *= factor;
            }
#pragma unroll
            for (int c = 0; c < EACH; ++c) {
                float e = expf(scores[r][c] - highest);
                sum[r] += e;
                probs[(row + r) * (KEYS + PAD) + column + c * COLUMN_GROUPS] = e;
            }
        }
        __syncthreads();
        fetch<T, DIM, WIDTH>(tile, p.v, of_token[2], first, KEYS, p.keys, size);
        __syncthreads();
#pragma unroll 2
        for (int j = 0; j < KEYS; ++j) {
            float4 value[PARTS];
#pragma unroll
            for (int part = 0; part < PARTS; ++part)
                value[part] = four(tile + j * (DIM + PAD) + (column + part * COLUMN_GROUPS) * 4);
#pragma unroll
            for (int r = 0; r < EACH; ++r) {
                float e = probs[(row + r) * (KEYS + PAD) + j];
#pragma unroll
                for (int part = 0; part < PARTS; ++part) {
                    result[r][part].x += e * value[part].x;
                    result[r][part].y += e * value[part].y;
                    result[r][part].z += e * value[part].z;
                    result[r][part].w += e * value[part].w;
                }
            }
        }
        __syncthreads();
    }

#pragma unroll
    for (int r = 0; r < EACH; ++r) {
        float factor = 1.0f / sum_of_lanes<COLUMN_GROUPS>(sum[r]);
        int query = first_query + row + r;
        if (query >= p.queries) continue;
        T* to = p.out + query * of_token[3];
#pragma unroll
        for (int part = 0; part < PARTS; ++part) {
            int start = (column + part * COLUMN_GROUPS) * 4;
            const float values[4] = {result[r][part].x, result[r][part].y, result[r][part].z, result[r][part].w};
#pragma unroll
            for (int j = 0; j < 4; ++j)
                if (start + j < size) to[start + j] = from_float<T>(values[j] * factor);
        }
    }
}
