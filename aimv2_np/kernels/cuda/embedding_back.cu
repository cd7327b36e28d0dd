// The derivative of looking up rows of a table: what comes back for each of its rows, summed up in one order.
//
//     ∂L/∂U_v = Σ_{n: i_n = v} g_n          i: the numbers of the rows that were taken, g: the gradients by them
//
// Bytes for N rows of D elements: read 4·N·D and 16·N, write 4·D for each row that was taken. Operations: N·D.
//
// The numbers come sorted, with where each of them stood: a block for each place of that order, which does nothing
// unless a number begins there. A row that was taken often is summed by one block; no two add to the same number, so that
// the bits are the same in every run.
#include "common.cuh"

template <class T>
__global__ void __launch_bounds__(256)
embedding_back(T* __restrict__ by_table, const T* __restrict__ g, const long long* __restrict__ sorted,
               const long long* __restrict__ order, int count, int size) {
    int first = blockIdx.x;
    long long number = sorted[first];
    if (first > 0 && sorted[first - 1] == number) return;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        T sum = 0;
        for (int n = first; n < count && sorted[n] == number; ++n) sum += g[order[n] * size + i];
        by_table[number * size + i] = sum;
    }
}
