// The patches of pictures as rows, so that embedding them is one matrix product.
//
//     out[b, (r, c), (k, i, j)] = pixels[b, k, r·p + i, c·q + j]
//
// Bytes per pixel: read and write the size of T. Operations: none but those of indices.
//
// One block per patch, whose threads take neighbours along a row of the patch and then its columns: writes are
// contiguous, reads come in runs of a patch's width. Any strides: channels first or last. The numbers of a patch and
// of a pixel in it are of 32 bits, for they are divided; offsets in memory are of 64.
#include "common.cuh"

template <class T>
__global__ void __launch_bounds__(256)
patches(T* __restrict__ out, const T* __restrict__ pixels, int channels, int rows, int columns, int ph, int pw,
        long long stride_b, long long stride_k, long long stride_y, long long stride_x) {
    int token = blockIdx.x, size = channels * ph * pw;
    int c = token % columns, r = token / columns % rows, b = token / columns / rows;
    pixels += b * stride_b + r * ph * stride_y + c * pw * stride_x;
    out += token * static_cast<long long>(size);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        int x = i % pw, y = i / pw % ph, k = i / pw / ph;
        out[i] = pixels[k * stride_k + y * stride_y + x * stride_x];
    }
}
