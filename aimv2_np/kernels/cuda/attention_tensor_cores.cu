// Attention on tensor cores, for 16-bit elements, without the N×N matrix.
//
//     out_i = Σ_j e^(s·q_i·k_j - m_i) v_j / Σ_j e^(s·q_i·k_j - m_i),    m_i = max_j s·q_i·k_j
//
// The sums run over tiles of keys; when a tile raises m_i, what has been summed is scaled down (Milakov & Gimelshein 2018,
// arXiv:1805.02867; the tiling is FlashAttention-2's, Dao 2023, arXiv:2307.08691).
//
// Operations: 4·N·M·d per head. Bytes: q and out once, 2·s·N·d; k and v once per block of ROWS queries, from L2:
// 2·s·M·d·N/ROWS, so ROWS operations per byte from L2 with s = 2. 128 rows at 350 TFLOP/s ask for 2.7 TB/s, 64 for 5.5.
//
// One block per head and ROWS queries, of which each warp computes 16 or 32, as one or two MATRICES of 16 rows. Per
// multiply-add, a warp of 16 rows reads 1/8 byte of shared memory: each of the keys and values serves 16 rows. A warp of
// 32 rows reads 1/16, and 1/32 more for q where registers cannot hold it during the product with the keys.
//
// Shared memory holds one tile of keys and one of values: the values arrive while keys are multiplied, the next keys
// while values are. Rows in shared memory are permuted in pieces of 16 bytes (piece c of row r lies at c xor r mod 8), so
// that eight rows of one column, which is what ldmatrix reads, lie in different banks. Scores are kept in units of ln 2,
// for exp2.
#include "common.cuh"
#include "attention_problem.cuh"
#include "tensor_cores.cuh"

constexpr int WARPS = 4, KEYS = 64;
constexpr int PIECE = 8;  // elements in 16 bytes
constexpr float LOG2_E = 1.4426950408889634f;

// Where piece c of a row begins in a tile.
template <int DIM>
__device__ __forceinline__ int place(int row, int c) {
    return row * DIM + (c ^ row % 8) * PIECE;
}

// Rows `first` … of a matrix into a tile of ROWS rows; rows from `rows` on, and columns from `size` on, become zero.
// Each thread copies one piece of every EVERY-th row: the same piece, for EVERY is a multiple of 8.
template <class T, int DIM, int ROWS>
__device__ __forceinline__ void fetch(T* tile, const T* from, long long stride, int first, int rows, int size) {
    constexpr int PIECES = DIM / PIECE, EVERY = WARPS * WARP / PIECES;
    static_assert(EVERY % 8 == 0 && ROWS % EVERY == 0);
    int row = threadIdx.x / PIECES, c = threadIdx.x % PIECES, left = c * PIECE < size ? rows - first - row : 0;
    const T* source = from + (first + row) * stride + c * PIECE;
    T* to = tile + place<DIM>(row, c);
#pragma unroll
    for (int i = 0; i < ROWS; i += EVERY) {
        copy_async(to + i * DIM, i < left ? source : from, i < left ? 16 : 0);
        source += EVERY * stride;
    }
    commit_copies();
}

// Scale the scores of a tile, and give those of keys that may not be seen, or that there are not, the least value.
// `query` and `key` are those of this lane's first score; in a whole tile all keys are there.
__device__ __forceinline__ void restrict_scores(float (&scores)[KEYS / 8][4], float unit, int query, int queries,
                                                int key, int keys, bool whole, const unsigned char* mask,
                                                long long mask_query) {
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) scores[n][i] *= unit;
    if (whole && !mask) return;
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int j = key + n * 8 + i % 2, row = query + i / 2 * 8;
            if (j >= keys)
                scores[n][i] = minus_infinity();
            else if (mask && row < queries && !mask[row * mask_query + j])
                scores[n][i] = lowest();
        }
    }
}

// Scores become e^(score - largest); what has been summed is scaled down to a largest score that has risen.
template <int DIM>
__device__ __forceinline__ void soften(float (&scores)[KEYS / 8][4], float (&result)[DIM / 8][4], float (&sum)[2],
                                       float (&largest)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        float highest = largest[r];
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n) highest = fmaxf(highest, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
        highest = max_of_lanes<4>(highest);
        float factor = exp2_fast(largest[r] - highest);
        largest[r] = highest;
        sum[r] *= factor;
#pragma unroll
        for (int n = 0; n < DIM / 8; ++n) {
            result[n][2 * r] *= factor;
            result[n][2 * r + 1] *= factor;
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
            for (int i = 2 * r; i < 2 * r + 2; ++i) {
                scores[n][i] = exp2_fast(scores[n][i] - highest);
                sum[r] += scores[n][i];
            }
        }
    }
}

template <class T, int DIM, int ROWS>
__global__ void __launch_bounds__(WARPS * WARP, 2)
attention_tensor_cores(T* __restrict__ out, const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                       const unsigned char* __restrict__ mask, const int* __restrict__ starts, int queries, int keys,
                       int tiles, int heads, int size, STRIDES, long long mask_batch, long long mask_query,
                       float scale) {
    constexpr int STEPS = DIM / 16, MATRICES = ROWS / (16 * WARPS);
    constexpr bool KEPT = MATRICES * STEPS <= 8;  // the queries, in 32 registers at most; else in shared memory
    extern __shared__ __align__(128) unsigned char shared_memory[];
    T* query_tile = reinterpret_cast<T*>(shared_memory);
    T* key_tile = query_tile + (KEPT ? 0 : ROWS * DIM);
    T* value_tile = key_tile + KEYS * DIM;

    int first_query = blockIdx.x % tiles * ROWS, head = blockIdx.x / tiles % heads, item = blockIdx.x / tiles / heads;
    GATHER_STRIDES;
    Problem<T> p(out, q, k, v, mask, starts, queries, keys, item, head, of_batch, of_head, of_token, mask_batch);
    if (first_query >= p.queries) return;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, first_row = warp * (16 * MATRICES);
    int group = lane / 4, pair = lane % 4 * 2;
    // Which row of 16×16 numbers this lane names to ldmatrix: of the four 8×8 matrices in it, the second lies below the
    // first, or beside it. xor of 16·i leads to columns 16·i …: it commutes with the permutation.
    int down = place<DIM>(lane % 16, lane / 16), across = place<DIM>(lane / 16 * 8 + lane % 8, lane / 8 % 2);

    auto load_queries = [&](unsigned (&a)[4], int m, int step) {
        load_matrices(a, query_tile + (first_row + m * 16) * DIM + (down ^ step * 16));
    };
    unsigned q_part[KEPT ? MATRICES : 1][KEPT ? STEPS : 1][4];
    fetch<T, DIM, ROWS>(query_tile, p.q, of_token[0], first_query, p.queries, size);
    if constexpr (KEPT) {  // by way of the shared memory that keys and values will take
        static_assert(ROWS <= 2 * KEYS, "the queries must fit the memory of the two tiles");
        wait_for_copies<0>();
        __syncthreads();
#pragma unroll
        for (int m = 0; m < MATRICES; ++m)
#pragma unroll
            for (int step = 0; step < STEPS; ++step) load_queries(q_part[m][step], m, step);
        __syncthreads();
    }

    float sum[MATRICES][2] = {}, largest[MATRICES][2];  // of rows group and group + 8
    float result[MATRICES][DIM / 8][4] = {};
#pragma unroll
    for (int m = 0; m < MATRICES; ++m) largest[m][0] = largest[m][1] = minus_infinity();

    fetch<T, DIM, KEYS>(key_tile, p.k, of_token[1], 0, p.keys, size);
    for (int first = 0; first < p.keys; first += KEYS) {
        wait_for_copies<0>();  // for the keys
        __syncthreads();       // and until all warps have read the values before them
        fetch<T, DIM, KEYS>(value_tile, p.v, of_token[2], first, p.keys, size);

        float scores[MATRICES][KEYS / 8][4] = {};
#pragma unroll KEPT ? STEPS : 2  // fully unrolled, it would need more registers than there are
        for (int step = 0; step < STEPS; ++step) {
            unsigned a[MATRICES][4];
#pragma unroll
            for (int m = 0; m < MATRICES; ++m) {
                if constexpr (KEPT) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) a[m][i] = q_part[m][step][i];
                } else {
                    load_queries(a[m], m, step);
                }
            }
#pragma unroll
            for (int n = 0; n < KEYS / 16; ++n) {
                unsigned b[4];
                load_matrices(b, key_tile + n * 16 * DIM + (across ^ step * 16));
#pragma unroll
                for (int m = 0; m < MATRICES; ++m) {
                    multiply_add_16x8x16<T>(scores[m][2 * n], a[m], {b[0], b[1]});
                    multiply_add_16x8x16<T>(scores[m][2 * n + 1], a[m], {b[2], b[3]});
                }
            }
        }
        unsigned probs[MATRICES][KEYS / 16][4];
#pragma unroll
        for (int m = 0; m < MATRICES; ++m) {
            restrict_scores(scores[m], scale * LOG2_E, first_query + first_row + m * 16 + group, p.queries,
                            first + pair, p.keys, first + KEYS <= p.keys, p.mask, mask_query);
            soften<DIM>(scores[m], result[m], sum[m], largest[m]);
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n) {
                probs[m][n / 2][n % 2 * 2] = pack<T>(scores[m][n][0], scores[m][n][1]);
                probs[m][n / 2][n % 2 * 2 + 1] = pack<T>(scores[m][n][2], scores[m][n][3]);
            }
        }

        wait_for_copies<0>();  // for the values
        __syncthreads();       // and until all warps have read the keys
        if (first + KEYS < p.keys) fetch<T, DIM, KEYS>(key_tile, p.k, of_token[1], first + KEYS, p.keys, size);
#pragma unroll
        for (int step = 0; step < KEYS / 16; ++step) {
#pragma unroll
            for (int n = 0; n < DIM / 16; ++n) {
                unsigned b[4];
                load_matrices_transposed(b, value_tile + step * 16 * DIM + (down ^ n * 16));
#pragma unroll
                for (int m = 0; m < MATRICES; ++m) {
                    multiply_add_16x8x16<T>(result[m][2 * n], probs[m][step], {b[0], b[1]});
                    multiply_add_16x8x16<T>(result[m][2 * n + 1], probs[m][step], {b[2], b[3]});
                }
            }
        }
    }

#pragma unroll
    for (int m = 0; m < MATRICES; ++m) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float factor = 1.0f / sum_of_lanes<4>(sum[m][r]);
            int query = first_query + first_row + m * 16 + group + 8 * r;
            if (query >= p.queries) continue;
#pragma unroll
            for (int n = 0; n < DIM / 8; ++n) {
                int column = n * 8 + pair;
                if (column < size)
                    *reinterpret_cast<unsigned*>(p.out + query * of_token[3] + column) =
                        pack<T>(result[m][n][2 * r] * factor, result[m][n][2 * r + 1] * factor);
            }
        }
    }
}
