// A block of threads as fibers of one thread of the host, and how they wait for each other.
//
// A warp runs until all of its lanes wait for other warps, or have ended; then the next warp runs. Which comes first
// depends on the block's seed: warps in order, in reverse or shuffled, or every warp one step at a time. So for any two
// warps there are blocks in which the one is far ahead of the other, and a barrier that is missing shows.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <utility>
#include <vector>

struct uint3 {
    unsigned x, y, z;
};

namespace emulator {

constexpr int WARP = 32;
constexpr size_t STACK = 128 << 10;
constexpr unsigned ALL = 0xffffffffu;

struct Barrier {
    long generation = 0;
    unsigned arrived = 0;
    unsigned mask = 0;                  // of a warp's: the lanes that are to come
    const void* instruction = nullptr;  // and where they meet
};

struct Copy {
    void* to;
    const void* from;
    size_t valid;  // bytes of 16; the others become zero
};

struct Fiber {
    uint3 thread;
    unsigned linear;
    bool started, done;
    const Barrier* waits_for;
    long generation;  // of the barrier when the wait began
    ucontext_t context;
    jmp_buf resume;
    std::vector<char> stack;
    std::vector<Copy> copies;               // not yet committed
    std::deque<std::vector<Copy>> pending;  // committed groups, oldest first
};

constexpr size_t SLOT = 64;

struct Warp {
    Barrier barriers[WARP];  // one for each set of lanes, by its lowest lane
    alignas(16) unsigned char given[WARP][SLOT], taken[WARP][SLOT];
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    Barrier barrier;
    unsigned alive;
    bool copies_at_once;  // an asynchronous copy arrives when it is issued; otherwise when it is waited for
    void (*body)(void*);
    void* data;
};

inline Block* block = nullptr;
inline Fiber* fiber = nullptr;
inline jmp_buf scheduler;
inline char problem[512];  // what went wrong, or an empty text

// Ends the launch; called by a thread of the device.
[[noreturn]] inline void fail(const char* format, ...) {
    va_list rest;
    va_start(rest, format);
    std::vsnprintf(problem, sizeof problem, format, rest);
    va_end(rest);
    _longjmp(scheduler, 1);
}

inline unsigned lane() { return fiber->linear % WARP; }
inline Warp& warp() { return block->warps[fiber->linear / WARP]; }

// The lanes that the warp of this thread has: a block need not end with a whole warp.
inline unsigned lanes_of_warp() {
    size_t rest = block->fibers.size() - fiber->linear / WARP * WARP;
    return rest < WARP ? (1u << rest) - 1 : ALL;
}

inline void wait(const Barrier& barrier) {
    fiber->waits_for = &barrier;
    fiber->generation = barrier.generation;
    if (_setjmp(fiber->resume) == 0) _longjmp(scheduler, 1);
    fiber->waits_for = nullptr;
}

inline void release(Barrier& barrier) {
    barrier.arrived = 0;
    ++barrier.generation;
}

inline void wait_for_block() {
    Barrier& barrier = block->barrier;
    if (++barrier.arrived == block->fibers.size())
        release(barrier);
    else
        wait(barrier);
}

// The lanes of `mask` meet. Each gives `mine`; the last to come computes from given(lane) what each takes(lane).
template <class Taken, class Given, class Compute>
Taken meet(unsigned mask, const Given& mine, Compute compute) {
    static_assert(sizeof(Given) <= SLOT && sizeof(Taken) <= SLOT);
    static const char here = 0;
    if (!(mask >> lane() & 1)) fail("lane %u takes part in an exchange whose mask 0x%08x leaves it out", lane(), mask);
    mask &= lanes_of_warp();
    Warp& w = warp();
    Barrier& barrier = w.barriers[__builtin_ctz(mask)];
    if (barrier.arrived && (barrier.mask != mask || barrier.instruction != &here))
        fail("lanes of a warp meet at different instructions, or with masks 0x%08x and 0x%08x", barrier.mask, mask);
    barrier.mask = mask;
    barrier.instruction = &here;
    std::memcpy(w.given[lane()], &mine, sizeof mine);
    if (++barrier.arrived == unsigned(__builtin_popcount(mask))) {
        compute([&](unsigned i) -> const Given& { return *reinterpret_cast<const Given*>(w.given[i]); },
                [&](unsigned i) -> Taken& { return *reinterpret_cast<Taken*>(w.taken[i]); });
        release(barrier);
    } else {
        wait(barrier);
    }
    Taken result;
    std::memcpy(&result, w.taken[lane()], sizeof result);
    return result;
}

inline void entry() {
    block->body(block->data);
    if (!fiber->copies.empty() || !fiber->pending.empty())
        fail("a thread ended before its asynchronous copies had arrived");
    fiber->done = true;
    --block->alive;
    _longjmp(scheduler, 1);
}

inline void run_fiber(Fiber& f) {
    fiber = &f;
    if (_setjmp(scheduler)) return;
    if (f.started) _longjmp(f.resume, 1);
    f.started = true;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.data();
    f.context.uc_stack.ss_size = f.stack.size();
    f.context.uc_link = nullptr;
    makecontext(&f.context, entry, 0);
    setcontext(&f.context);
}

inline bool ready(const Fiber& f) { return !f.done && !(f.waits_for && f.waits_for->generation == f.generation); }

// Every lane that can go on does so until it waits again; whether there was one.
inline bool step(size_t warp, bool reverse) {
    size_t first = warp * WARP, end = first + WARP < block->fibers.size() ? first + WARP : block->fibers.size();
    bool progress = false;
    for (size_t i = first; i < end && !*problem; ++i) {
        Fiber& f = block->fibers[reverse ? first + end - 1 - i : i];
        if (!ready(f)) continue;
        run_fiber(f);
        progress = true;
    }
    return progress;
}

// The numbers of the warps in the order of the block's seed.
inline std::vector<size_t> order_of_warps(size_t count, unsigned kind, unsigned seed) {
    std::vector<size_t> order(count);
    for (size_t i = 0; i < count; ++i) order[i] = kind == 1 ? count - 1 - i : i;
    for (size_t i = count; kind == 2 && i > 1; --i) {
        seed = seed * 1664525u + 1013904223u;  // Numerical Recipes' generator
        std::swap(order[i - 1], order[(seed >> 16) % i]);
    }
    return order;
}

inline void run_block(Block& b, unsigned seed) {
    block = &b;
    b.alive = b.fibers.size();
    b.barrier = {};
    b.copies_at_once = seed % 2;
    for (auto& w : b.warps)
        for (auto& barrier : w.barriers) barrier = {};
    for (auto& f : b.fibers) {
        f.started = f.done = false;
        f.waits_for = nullptr;
    }
    unsigned kind = seed / 2 % 4;
    std::vector<size_t> order = order_of_warps(b.warps.size(), kind, seed);
    while (b.alive) {
        bool progress = false;
        for (size_t i : order)
            while (step(i, kind == 1)) {
                if (*problem) return;
                progress = true;
                if (kind == 3) break;  // one step of each in turn
            }
        if (!progress) {
            std::strcpy(problem, "threads wait for each other for ever: not all reach a barrier or an exchange");
            return;
        }
    }
}

}  // namespace emulator
