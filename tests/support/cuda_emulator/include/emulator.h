// CUDA's language on a CPU: enough of it to run this project's kernels in one thread of the host.
//
// A block's threads are fibers. Each runs until it must wait for others, at __syncthreads or a warp's exchange of values;
// then the next one runs. Blocks run one after the other, those of even number with threads in order, those of odd number
// in reverse: a missing barrier shows in one of the two. Memory shared by a block holds NaN when the block begins, and an
// asynchronous copy arrives only when it is waited for.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ thread_local  // also at block scope, and with extern

struct uint3 {
    unsigned x, y, z;
};
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

constexpr int WARP = 32;
constexpr size_t STACK = 128 << 10;
constexpr size_t SHARED = 227 << 10;  // of a block on sm_90

struct Copy {
    void* to;
    const void* from;
    size_t size, valid;
};

struct Fiber {
    uint3 thread;
    unsigned linear;
    bool started = false, done = false;
    long blocked_at = -1;  // generation of the barrier it waits for
    bool at_warp = false;
    ucontext_t context;
    jmp_buf resume;
    std::vector<char> stack;
    std::vector<Copy> copies;               // not yet committed
    std::deque<std::vector<Copy>> pending;  // committed groups, oldest first
};

struct Barrier {
    long generation = 0;
    unsigned arrived = 0;
};

struct Exchange {
    alignas(16) unsigned char slots[WARP][64];
    Barrier barrier;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Exchange> warps;
    Barrier barrier;
    unsigned alive = 0;
    jmp_buf scheduler;
    ucontext_t home;
    void (*body)(void*) = nullptr;
    void* data = nullptr;
};

inline thread_local Block* block = nullptr;
inline thread_local Fiber* fiber = nullptr;
inline thread_local uint3 block_index;
inline thread_local dim3 block_size, grid_size;
inline thread_local const char* problem = nullptr;

inline void yield() {
    if (_setjmp(fiber->resume) == 0) _longjmp(block->scheduler, 1);
}

inline unsigned lane() { return fiber->linear % WARP; }
inline Exchange& warp() { return block->warps[fiber->linear / WARP]; }

inline unsigned lanes_of_warp() {
    unsigned first = fiber->linear / WARP * WARP, all = block->fibers.size();
    return all - first < WARP ? all - first : WARP;
}

// Until everybody who should be here is here.
inline void wait(Barrier& barrier, unsigned expected, bool of_warp) {
    long generation = barrier.generation;
    if (++barrier.arrived == expected) {
        barrier.arrived = 0;
        ++barrier.generation;
        return;
    }
    fiber->at_warp = of_warp;
    fiber->blocked_at = generation;
    while (barrier.generation == generation) yield();
    fiber->blocked_at = -1;
}

inline void wait_for_warp() { wait(warp().barrier, lanes_of_warp(), true); }

template <class T>
T exchange(T value, unsigned from) {
    static_assert(sizeof(T) <= 64);
    Exchange& w = warp();
    std::memcpy(w.slots[lane()], &value, sizeof(T));
    wait_for_warp();
    T result;
    std::memcpy(&result, w.slots[from < lanes_of_warp() ? from : lane()], sizeof(T));
    wait_for_warp();
    return result;
}

inline void entry() {
    block->body(block->data);
    fiber->done = true;
    --block->alive;
    _longjmp(block->scheduler, 1);
}

inline void run_fiber(Fiber& f) {
    fiber = &f;
    if (_setjmp(block->scheduler)) return;
    if (f.started) _longjmp(f.resume, 1);
    f.started = true;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.data();
    f.context.uc_stack.ss_size = f.stack.size();
    f.context.uc_link = nullptr;
    makecontext(&f.context, entry, 0);
    setcontext(&f.context);
}

// Whether a fiber can go on: not waiting, or what it waited for has happened.
inline bool ready(const Fiber& f) {
    if (f.done) return false;
    if (f.blocked_at < 0) return true;
    const Barrier& barrier = f.at_warp ? block->warps[f.linear / WARP].barrier : block->barrier;
    return barrier.generation != f.blocked_at;
}

inline bool run_block(Block& b, bool reverse) {
    block = &b;
    size_t count = b.fibers.size();
    b.alive = count;
    b.barrier = {};
    for (auto& w : b.warps) w.barrier = {};
    for (auto& f : b.fibers) {
        f.started = f.done = false;
        f.blocked_at = -1;
        f.copies.clear();
        f.pending.clear();
    }
    while (b.alive) {
        bool progress = false;
        for (size_t i = 0; i < count; ++i) {
            Fiber& f = b.fibers[reverse ? count - 1 - i : i];
            if (!ready(f)) continue;
            run_fiber(f);
            progress = true;
        }
        if (!progress) {
            problem = "threads of a block wait for each other for ever: a barrier that not all of them reach";
            return false;
        }
    }
    for (auto& f : b.fibers)
        if (!f.copies.empty() || !f.pending.empty()) {
            problem = "a thread ended before its asynchronous copies had arrived";
            return false;
        }
    return true;
}

inline void arrive(std::vector<Copy>& group) {
    for (const Copy& copy : group) {
        std::memcpy(copy.to, copy.from, copy.valid);
        std::memset(static_cast<char*>(copy.to) + copy.valid, 0, copy.size - copy.valid);
    }
}

}  // namespace emulator

// Of a kernel that says `extern __shared__ … shared_memory[]`.
alignas(128) inline thread_local unsigned char emulated_shared_memory[emulator::SHARED];
#define shared_memory emulated_shared_memory

#define threadIdx (emulator::fiber->thread)
#define blockIdx (emulator::block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)
#define warpSize 32

inline void __syncthreads() { emulator::wait(emulator::block->barrier, emulator::block->fibers.size(), false); }
inline void __syncwarp(unsigned = ~0u) { emulator::wait_for_warp(); }

template <class T>
T __shfl_sync(unsigned, T value, int from, int = 32) {
    return emulator::exchange(value, from);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
    return emulator::exchange(value, emulator::lane() ^ mask);
}
template <class T>
T __shfl_down_sync(unsigned, T value, unsigned delta, int = 32) {
    return emulator::exchange(value, emulator::lane() + delta);
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

template <class... A>
const char* launch(void (*kernel)(A...), const unsigned* grid, const unsigned* size, size_t shared, void** args) {
    if (shared > SHARED) return "more shared memory than a block can have";
    if (size[0] * size[1] * size[2] > 1024) return "more than 1024 threads in a block";
    static thread_local Block b;
    size_t count = size[0] * size[1] * size[2];
    b.fibers.resize(count);
    b.warps.resize((count + WARP - 1) / WARP);
    block_size = {size[0], size[1], size[2]};
    grid_size = {grid[0], grid[1], grid[2]};
    for (size_t i = 0; i < count; ++i) {
        Fiber& f = b.fibers[i];
        f.linear = i;
        f.thread = {unsigned(i % size[0]), unsigned(i / size[0] % size[1]), unsigned(i / size[0] / size[1])};
        f.stack.resize(STACK);
    }
    struct Data {
        void (*kernel)(A...);
        void** args;
    } data{kernel, args};
    b.data = &data;
    b.body = [](void* p) {
        auto* d = static_cast<Data*>(p);
        call(d->kernel, d->args, std::index_sequence_for<A...>{});
    };
    problem = nullptr;
    unsigned number = 0;
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x) {
                block_index = {x, y, z};
                std::memset(emulated_shared_memory, 0xff, shared);
                if (!run_block(b, number++ % 2)) {
                    b = Block();  // its fibers hang; begin the next launch with new ones
                    return problem;
                }
            }
    return nullptr;
}

// One letter and the size in bytes of each parameter: p8 a pointer, i4 an integer, f4 a float.
template <class... A>
const char* signature(void (*)(A...)) {
    static thread_local std::string text;
    text.clear();
    ((text += std::is_pointer_v<A> ? 'p' : std::is_floating_point_v<A> ? 'f' : std::is_integral_v<A> ? 'i' : '?',
      text += std::to_string(sizeof(A)) + " "),
     ...);
    return text.c_str();
}

}  // namespace emulator
