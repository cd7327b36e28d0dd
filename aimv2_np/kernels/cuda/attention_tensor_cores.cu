// Attention on tensor cores, for 16-bit elements, without the N×N matrix.
//
//     out_i = Σ_j e^(s·q_i·k_j - m_i) v_j / Σ_j e^(s·q_i·k_j - m_i),    m_i = max_j s·q_i·k_j
//
// The sums run over tiles of keys; when a tile raises m_i, what has been summed is scaled down (Milakov & Gimelshein 2018,
// arXiv:1805.02867; the tiling is FlashAttention-2's, Dao 2023, arXiv:2307.08691).
//
// Operations: 4·N·M·d per head. Bytes: q and out once, 2·s·N·d; k and v once per block of ROWS queries, from L2:
// 2·s·M·d·N/ROWS, so 64 operations per byte from L2 with 64 rows, which 5.5 TB/s feed at 350 TFLOP/s.
//
// One block per head and ROWS queries, a warp for each 16 of them. Shared memory holds one tile of keys and one of
// values: the next keys arrive while values are multiplied, and the values while keys are. Rows in shared memory are
// permuted in pieces of 16 bytes (piece c of row r lies at c xor r mod 8), so that eight rows of one column, which is
// what ldmatrix reads, lie in different banks. Scores are kept in units of ln 2, for exp2.
#include "common.cuh"
#include "attention_problem.cuh"
#include "tensor_cores.cuh"

constexpr int KEYS = 64;
constexpr int PIECE = 8;  // elements in 16 bytes
constexpr float LOG2_E = 1.4426950408889634f;

template <class T, int DIM>
__device__ __forceinline__ T* piece(T* tile, int row, int c) {
    return tile + row * DIM + ((c ^ (row % 8)) * PIECE);
}

// Rows `first` … of a matrix into a tile of ROWS rows; rows from `rows` on, and columns from `size` on, become zero.
template <class T, int DIM, int ROWS, int THREADS>
__device__ __forceinline__ void fetch(T* tile, const T* from, long long stride, int first, int rows, int size) {
    constexpr int PIECES = DIM / PIECE;
#pragma unroll
    for (int i = threadIdx.x; i < ROWS * PIECES; i += THREADS) {
        int row = i / PIECES, c = i % PIECES;
        bool inside = first + row < rows && c * PIECE < size;
        copy_async(piece<T, DIM>(tile, row, c), inside ? from + (first + row) * stride + c * PIECE : from,
                   inside ? 16 : 0);
    }
    commit_copies();
}

template <class T, int DIM, int WARPS>
__global__ void __launch_bounds__(32 * WARPS, 2)
attention_tensor_cores(T* __restrict__ out, const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                       const unsigned char* __restrict__ mask, const int* __restrict__ starts, int queries, int keys,
                       int tiles, int heads, int size, STRIDES, long long mask_batch, long long mask_query,
                       float scale) {
    constexpr int ROWS = 16 * WARPS, THREADS = 32 * WARPS, STEPS = DIM / 16;
    extern __shared__ __align__(128) unsigned char shared_memory[];
    T* key_tile = reinterpret_cast<T*>(shared_memory);
    T* value_tile = key_tile + KEYS * DIM;

    int first_query = blockIdx.x % tiles * ROWS, head = blockIdx.x / tiles % heads, item = blockIdx.x / tiles / heads;
    GATHER_STRIDES;
    Problem<T> p(out, q, k, v, mask, starts, queries, keys, item, head, of_batch, of_head, of_token, mask_batch);
    if (first_query >= p.queries) return;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    int matrix = lane / 8, row_of_matrix = lane % 8, group = lane / 4, pair = lane % 4 * 2;

    // The queries of this warp, by way of the shared memory that keys and values will take.
    static_assert(ROWS <= 2 * KEYS, "the queries must fit the memory of the two tiles");
    fetch<T, DIM, ROWS, THREADS>(key_tile, p.q, of_token[0], first_query, p.queries, size);
    wait_for_copies<0>();
    __syncthreads();
    unsigned q_part[STEPS][4];
#pragma unroll
    for (int step = 0; step < STEPS; ++step)
        load_matrices(q_part[step], piece<T, DIM>(key_tile, warp * 16 + matrix % 2 * 8 + row_of_matrix,
                                                  step * 2 + matrix / 2));
    __syncthreads();

    float sum[2] = {0.0f, 0.0f}, largest[2] = {minus_infinity(), minus_infinity()};  // of rows group and group + 8
    float result[DIM / 8][4] = {};
    float unit = scale * LOG2_E;

    fetch<T, DIM, KEYS, THREADS>(key_tile, p.k, of_token[1], 0, p.keys, size);
    for (int first = 0; first < p.keys; first += KEYS) {
        fetch<T, DIM, KEYS, THREADS>(value_tile, p.v, of_token[2], first, p.keys, size);
        wait_for_copies<1>();  // for the keys
        __syncthreads();

        float scores[KEYS / 8][4] = {};
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
#pragma unroll
            for (int n = 0; n < KEYS / 16; ++n) {
                unsigned b[4];
                load_matrices(b, piece<T, DIM>(key_tile, n * 16 + matrix / 2 * 8 + row_of_matrix,
                                               step * 2 + matrix % 2));
                multiply_add_16x8x16<T>(scores[2 * n], q_part[step], {b[0], b[1]});
                multiply_add_16x8x16<T>(scores[2 * n + 1], q_part[step], {b[2], b[3]});
            }
        }
        __syncthreads();
        if (first + KEYS < p.keys)
            fetch<T, DIM, KEYS, THREADS>(key_tile, p.k, of_token[1], first + KEYS, p.keys, size);
        else
            commit_copies();  // an empty group, so that the count of those under way is the same

        float highest[2] = {largest[0], largest[1]};
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[n][i] *= unit;
        if (p.mask || first + KEYS > p.keys) {
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    int key = first + n * 8 + pair + i % 2, query = first_query + warp * 16 + group + i / 2 * 8;
                    if (key >= p.keys)
                        scores[n][i] = minus_infinity();
                    else if (p.mask && query < p.queries && !p.mask[query * mask_query + key])
                        scores[n][i] = lowest();
                }
            }
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) highest[i / 2] = fmaxf(highest[i / 2], scores[n][i]);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            highest[r] = max_of_lanes<4>(highest[r]);
            float factor = exp2_fast(largest[r] - highest[r]);
            largest[r] = highest[r];
            sum[r] *= factor;
#pragma unroll
            for (int n = 0; n < DIM / 8; ++n) {
                result[n][2 * r] *= factor;
                result[n][2 * r + 1] *= factor;
            }
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                scores[n][i] = exp2_fast(scores[n][i] - largest[i / 2]);
                sum[i / 2] += scores[n][i];
            }
        }

        wait_for_copies<1>();  // for the values
        __syncthreads();
#pragma unroll
        for (int step = 0; step < KEYS / 16; ++step) {
            const float(&even)[4] = scores[2 * step], (&odd)[4] = scores[2 * step + 1];
            unsigned a[4] = {pack<T>(even[0], even[1]), pack<T>(even[2], even[3]), pack<T>(odd[0], odd[1]),
                             pack<T>(odd[2], odd[3])};
#pragma unroll
            for (int n = 0; n < DIM / 16; ++n) {
                unsigned b[4];
                load_matrices_transposed(b, piece<T, DIM>(value_tile, step * 16 + matrix % 2 * 8 + row_of_matrix,
                                                          n * 2 + matrix / 2));
                multiply_add_16x8x16<T>(result[2 * n], a, {b[0], b[1]});
                multiply_add_16x8x16<T>(result[2 * n + 1], a, {b[2], b[3]});
            }
        }
        __syncthreads();
    }
    wait_for_copies<0>();

#pragma unroll
    for (int r = 0; r < 2; ++r) {
        float factor = 1.0f / sum_of_lanes<4>(sum[r]);
        int query = first_query + warp * 16 + group + 8 * r;
        if (query >= p.queries) continue;
#pragma unroll
        for (int n = 0; n < DIM / 8; ++n) {
            int column = n * 8 + pair;
            if (column < size)
                *reinterpret_cast<unsigned*>(p.out + query * of_token[3] + column) =
                    pack<T>(result[n][2 * r] * factor, result[n][2 * r + 1] * factor);
        }
    }
}
