// Attention of one query per head, without a mask: the pooling head.
//
//     out = Σ_j e^(s·q·k_j - m) v_j / Σ_j e^(s·q·k_j - m),    m = max_j s·q·k_j
//
// Bytes per head: 2·s·M·d, each key and value once. Operations: 4·M·d. Memory is the limit by far.
//
// One block per head. Each of its warps takes TOGETHER keys at a time with a running maximum; a lane holds WIDTH
// neighbours of d, PARTS times. At the end the warps' sums are put together in shared memory.
#include "common.cuh"
#include "attention_problem.cuh"

constexpr int WARPS = 8, TOGETHER = 4, LARGEST = 256;  // of d

template <class T, int WIDTH>
__global__ void __launch_bounds__(32 * WARPS)
attention_one_query(T* __restrict__ out, const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                    const int* __restrict__ starts, int keys, int heads, int size, STRIDES, float scale) {
    constexpr int PARTS = LARGEST / (WARP * WIDTH);
    __shared__ float maxima[WARPS], sums[WARPS], results[WARPS][LARGEST];
    int head = blockIdx.x % heads, item = blockIdx.x / heads, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (starts) {
        k += starts[item] * kn;
        v += starts[item] * vn;
        keys = starts[item + 1] - starts[item];
    } else {
        k += item * kb;
        v += item * vb;
    }
    k += head * kh;
    v += head * vh;
    q += item * qb + head * qh;
    out += item * ob + head * oh;

    float query[PARTS][WIDTH] = {}, result[PARTS][WIDTH] = {}, largest = minus_infinity(), sum = 0.0f;
#pragma unroll
    for (int part = 0; part < PARTS; ++part) {
        int i = (part * WARP + lane) * WIDTH;
        if (i >= size) continue;
        Vector<T, WIDTH> x = load<WIDTH>(q + i);
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) query[part][j] = to_float(x.at[j]);
    }

    for (int first = warp * TOGETHER; first < keys; first += WARPS * TOGETHER) {
        float scores[TOGETHER], highest = largest;
#pragma unroll
        for (int u = 0; u < TOGETHER; ++u) {
            float dot = 0.0f;
#pragma unroll
            for (int part = 0; part < PARTS; ++part) {
                int i = (part * WARP + lane) * WIDTH;
                if (i >= size || first + u >= keys) continue;
                Vector<T, WIDTH> x = load<WIDTH>(k + (first + u) * kn + i);
#pragma unroll
                for (int j = 0; j < WIDTH; ++j) dot += query[part][j] * to_float(x.at[j]);
            }
            scores[u] = dot;
        }
#pragma unroll
        for (int u = 0; u < TOGETHER; ++u) {
            scores[u] = first + u < keys ? scale * sum_of_lanes(scores[u]) : minus_infinity();
            highest = fmaxf(highest, scores[u]);
        }
        float factor = expf(largest - highest);
        largest = highest;
        sum *= factor;
#pragma unroll
        for (int part = 0; part < PARTS; ++part)
#pragma unroll
            for (int j = 0; j < WIDTH; ++j) result[part][j] *= factor;
#pragma unroll
        for (int u = 0; u < TOGETHER; ++u) {
            float e = expf(scores[u] - largest);
            sum += e;
#pragma unroll
            for (int part = 0; part < PARTS; ++part) {
                int i = (part * WARP + lane) * WIDTH;
                if (i >= size || first + u >= keys) continue;
                Vector<T, WIDTH> x = load<WIDTH>(v + (first + u) * vn + i);
#pragma unroll
                for (int j = 0; j < WIDTH; ++j) result[part][j] += e * to_float(x.at[j]);
            }
        }
    }

#pragma unroll
    for (int part = 0; part < PARTS; ++part)
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) results[warp][(part * WARP + lane) * WIDTH + j] = result[part][j];
    if (lane == 0) {
        maxima[warp] = largest;
        sums[warp] = sum;
    }
    __syncthreads();
    float highest = minus_infinity(), total = 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) highest = fmaxf(highest, maxima[w]);
#pragma unroll
    for (int w = 0; w < WARPS; ++w) total += sums[w] * expf(maxima[w] - highest);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        float x = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) x += results[w][i] * expf(maxima[w] - highest);
        out[i] = from_float<T>(x / total);
    }
}
