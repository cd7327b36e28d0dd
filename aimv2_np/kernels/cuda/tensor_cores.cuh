// Tensor cores, and the ways in and out of shared memory that belong to them, for 16-bit elements on sm_80 and later.
//
// What is PTX here, tests that run kernels on a CPU bring along in C++ (tests/support/cuda_emulator).
#pragma once

#ifdef __CUDACC__

// d (16×8) += a (16×16) · b (16×8). Of each matrix a lane holds pairs of neighbours in a row of a and d, in a column of
// b; with g = lane / 4 and t = lane % 4:
//     a[0]: (g, 2t)   a[1]: (g + 8, 2t)   a[2]: (g, 2t + 8)   a[3]: (g + 8, 2t + 8)
//     b[0]: (2t, g)   b[1]: (2t + 8, g)          d[0], d[1]: (g, 2t), (g, 2t + 1)   d[2], d[3]: the same of row g + 8
template <class T>
__device__ __forceinline__ void multiply_add_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

template <>
__device__ __forceinline__ void multiply_add_16x8x16<__half>(float (&d)[4], const unsigned (&a)[4],
                                                             const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ __forceinline__ void multiply_add_16x8x16<__nv_bfloat16>(float (&d)[4], const unsigned (&a)[4],
                                                                    const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two numbers of type T in one register, `low` at the lower address.
template <class T>
__device__ __forceinline__ unsigned pack(float low, float high);

template <>
__device__ __forceinline__ unsigned pack<__half>(float low, float high) {
    unsigned d;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
}

template <>
__device__ __forceinline__ unsigned pack<__nv_bfloat16>(float low, float high) {
    unsigned d;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
}

// 2^x, to two units in the last place; denormal results become zero, which is far below what counts in a softmax.
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ unsigned shared_address(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// Four 8×8 matrices from shared memory; lanes 8m … 8m + 7 name the rows of matrix m. Lane 4r + c gets (r, 2c), (r, 2c + 1).
__device__ __forceinline__ void load_matrices(unsigned (&d)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same, of the transposed matrices: lane 4r + c gets (2c, r), (2c + 1, r).
__device__ __forceinline__ void load_matrices_transposed(unsigned (&d)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// 16 bytes from global to shared memory while the thread goes on; all but the first `valid` become zero.
__device__ __forceinline__ void copy_async(void* to, const void* from, unsigned valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid)
                 : "memory");
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most GROUPS of the committed groups of this thread's copies are under way.
template <int GROUPS>
__device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}

#endif
