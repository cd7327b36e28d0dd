// The patches of pictures as rows, so that embedding them is one matrix product; with the picture's normalisation.
//
//     out[b, (r, c), (k, i, j)] = scale_k · pixels[b, k, r·p + i, c·q + j] + shift_k
//
// Bytes per pixel: read 1 (uint8) to 4, write the size of T. Operations: one multiplication and addition.
//
// One thread per pixel, neighbours along a row of the patch and then its columns: writes are contiguous, reads come in
// runs of a patch's width and use each line of the cache within the block. Any strides: channels first or last.
#include "common.cuh"

template <class S, class T>
__global__ void __launch_bounds__(256)
patches(T* __restrict__ out, const S* __restrict__ pixels, const float* __restrict__ scale,
        const float* __restrict__ shift, long long elements, int channels, int rows, int columns, int ph, int pw,
        long long stride_b, long long stride_k, long long stride_y, long long stride_x) {
    long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (i >= elements) return;
    int size = channels * ph * pw;
    long long token = i / size;
    int within = i % size;
    int x = within % pw, y = within / pw % ph, k = within / pw / ph;
    long long c = token % columns, r = token / columns % rows, b = token / columns / rows;
    float value = to_float(pixels[b * stride_b + k * stride_k + (r * ph + y) * stride_y + (c * pw + x) * stride_x]);
    out[i] = from_float<T>(scale ? scale[k] * value + shift[k] : value);
}
