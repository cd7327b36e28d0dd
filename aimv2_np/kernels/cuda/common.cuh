// Element types, vectors of up to 16 bytes, and sums over the threads of a warp or a block.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float minus_infinity() { return __int_as_float(0xff800000); }
// The score of a key that a mask forbids: a row in which all are forbidden still has a softmax, the mean.
__device__ __forceinline__ float lowest() { return -3.402823466e38f; }

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(unsigned char x) { return static_cast<float>(x); }

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
    return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

// WIDTH neighbours in memory, read and written at once; of more than one, the address is aligned to their size.
template <class T, int WIDTH>
struct alignas(sizeof(T) * WIDTH) Vector {
    T at[WIDTH];
};

template <int WIDTH, class T>
__device__ __forceinline__ Vector<T, WIDTH> load(const T* p) {
    return *reinterpret_cast<const Vector<T, WIDTH>*>(p);
}

template <int WIDTH, class T>
__device__ __forceinline__ void store(T* p, const Vector<T, WIDTH>& v) {
    *reinterpret_cast<Vector<T, WIDTH>*>(p) = v;
}

template <int LANES = WARP>
__device__ __forceinline__ float sum_of_lanes(float x) {
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

template <int LANES = WARP>
__device__ __forceinline__ float max_of_lanes(float x) {
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// Of a block of whole warps, at most 32 of them; every thread gets the sum.
__device__ __forceinline__ float sum_of_block(float x) {
    __shared__ float partial[WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = sum_of_lanes(x);
    if (warps == 1) return x;
    if (lane == 0) partial[warp] = x;
    __syncthreads();
    return sum_of_lanes(lane < warps ? partial[lane] : 0.0f);
}
