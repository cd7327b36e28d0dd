// CUDA's language on a CPU: enough of it to run this project's kernels in one thread of the host.
//
// A block's threads are fibers (scheduler.h); blocks run one after the other. Shared memory, static and dynamic, holds
// NaN when a block begins. An asynchronous copy arrives at once in half of the blocks, in the others when it is waited
// for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <type_traits>

#include "checks.h"
#include "scheduler.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ thread_local  // also at block scope, and with extern

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

namespace emulator {

constexpr size_t SHARED = 227 << 10, STATIC_SHARED = 48 << 10;  // of a block on sm_90
constexpr size_t GUARD = 1 << 10;                               // bytes behind dynamic shared memory
constexpr unsigned char PATTERN = 0xff;                         // NaN in every floating type

inline uint3 block_index;
inline dim3 block_size, grid_size;

}  // namespace emulator

// Of a kernel that says `extern __shared__ … shared_memory[]`.
alignas(128) inline thread_local unsigned char emulated_shared_memory[emulator::SHARED + emulator::GUARD];
#define shared_memory emulated_shared_memory

#define threadIdx (emulator::fiber->thread)
#define blockIdx (emulator::block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)
#define warpSize 32

inline void __syncthreads() { emulator::wait_for_block(); }
inline void __syncwarp(unsigned mask = emulator::ALL) {
    emulator::meet<char>(mask, char(0), [](auto, auto) {});
}

namespace emulator {

template <class T>
T exchange(unsigned mask, T value, unsigned from) {
    struct Given {
        T value;
        unsigned from;
    };
    return meet<T>(mask, Given{value, from}, [&](auto given, auto taken) {
        for (unsigned i = 0; i < WARP; ++i) {
            if (!(mask & lanes_of_warp() & 1u << i)) continue;
            unsigned source = given(i).from < WARP ? given(i).from : i;
            if (!(mask & lanes_of_warp() & 1u << source))
                fail("lane %u takes the value of lane %u, which gives none", i, source);
            taken(i) = given(source).value;
        }
    });
}

}  // namespace emulator

template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
    return emulator::exchange(mask, value, from % emulator::WARP);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int flipped) {
    return emulator::exchange(mask, value, emulator::lane() ^ flipped);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
    return emulator::exchange(mask, value, emulator::lane() + delta);
}

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return std::exp(x); }
inline float __int_as_float(int x) {
    float y;
    std::memcpy(&y, &x, 4);
    return y;
}
template <class T>
T __ldg(const T* p) {
    return *p;
}
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
using std::isfinite;

#include "half_types.h"
#include "tensor_cores.h"

namespace emulator {

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<A>*>(args[I])...);
}

inline void shape_block(Block& b, const unsigned* size) {
    size_t count = size[0] * size[1] * size[2];
    b.fibers.resize(count);
    b.warps.resize((count + WARP - 1) / WARP);
    for (unsigned i = 0; i < count; ++i) {
        b.fibers[i].linear = i;
        b.fibers[i].thread = {i % size[0], i / size[0] % size[1], i / size[0] / size[1]};
        b.fibers[i].stack.resize(STACK);
    }
}

// Runs the grid, or only the first and the last `ends` of its blocks; why it could not, or null.
template <class... A>
const char* launch(void (*kernel)(A...), const unsigned* grid, const unsigned* size, size_t dynamic, void** args,
                   unsigned seed, uint64_t ends) {
    unsigned char* volatile touched = emulated_shared_memory;  // the loader makes the thread's memory on first use
    unsigned char* dynamic_memory = touched;
    Bytes shared = thread_local_memory();
    size_t in_front = dynamic_memory - shared.first, statics = shared.count - sizeof emulated_shared_memory;
    if (statics > STATIC_SHARED || statics + dynamic > SHARED) return "more shared memory than a block can have";
    if (size[0] * size[1] * size[2] > 1024) return "more than 1024 threads in a block";
    static Block b;
    shape_block(b, size);
    block_size = {size[0], size[1], size[2]};
    grid_size = {grid[0], grid[1], grid[2]};
    struct Data {
        void (*kernel)(A...);
        void** args;
    } data{kernel, args};
    b.data = &data;
    b.body = [](void* p) {
        auto* d = static_cast<Data*>(p);
        call(d->kernel, d->args, std::index_sequence_for<A...>{});
    };
    *problem = 0;
    FlushToZero flush;
    CatchBadAddresses until_the_end;
    uint64_t plane = uint64_t(grid[0]) * grid[1], blocks = plane * grid[2];
    for (uint64_t i = 0; i < blocks && !*problem; ++i) {
        if (ends && i == ends && blocks > 2 * ends) i = blocks - ends;
        block_index = {unsigned(i % grid[0]), unsigned(i / grid[0] % grid[1]), unsigned(i / plane)};
        unsigned char* end = dynamic_memory + dynamic;
        std::memset(shared.first, PATTERN, in_front + dynamic + GUARD);
        std::memset(dynamic_memory + sizeof emulated_shared_memory, PATTERN, statics - in_front);
        run_block(b, seed + unsigned(i));
        if (!*problem && std::any_of(end, end + GUARD, [](unsigned char byte) { return byte != PATTERN; }))
            std::strcpy(problem, "a block wrote behind its dynamic shared memory");
    }
    if (*problem) b = Block();  // its fibers hang; begin the next launch with new ones
    return *problem ? problem : nullptr;
}

// One letter and the size in bytes of each parameter: p8 a pointer, i4 an integer, f4 a float.
template <class... A>
const char* signature(void (*)(A...)) {
    static std::string text;
    text.clear();
    ((text += std::is_pointer_v<A> ? 'p' : std::is_floating_point_v<A> ? 'f' : std::is_integral_v<A> ? 'i' : '?',
      text += std::to_string(sizeof(A)) + " "),
     ...);
    return text.c_str();
}

}  // namespace emulator
