// What tensor_cores.cuh of the package does in PTX, as the PTX manual describes it (sections 9.7.14 and 9.7.9).
#pragma once

#include "half_types.h"

namespace emulator {

template <class T>
float element(const unsigned* registers, int i) {  // i-th 16-bit number of packed registers
    uint16_t bits = static_cast<uint16_t>(registers[i / 2] >> (16 * (i % 2)));
    T x;
    std::memcpy(&x, &bits, 2);
    return float(x);
}

}  // namespace emulator

inline float exp2_fast(float x) { return std::exp2(x); }

// mma.sync.aligned.m16n8k16.row.col.f32.T.T.f32: d (16×8) += a (16×16) · b (16×8)
template <class T>
void multiply_add_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    using namespace emulator;
    struct Operands {
        unsigned a[4], b[2];
    } mine;
    std::memcpy(mine.a, a, sizeof a);
    std::memcpy(mine.b, b, sizeof b);
    Exchange& w = warp();
    std::memcpy(w.slots[lane()], &mine, sizeof mine);
    wait_for_warp();
    auto of = [&](unsigned from) { return reinterpret_cast<const Operands*>(w.slots[from]); };
    unsigned group = lane() / 4, t = lane() % 4;
    for (int i = 0; i < 4; ++i) {
        unsigned row = group + 8 * (i / 2), column = 2 * t + i % 2;
        for (unsigned k = 0; k < 16; ++k) {
            unsigned owner_a = row % 8 * 4 + k % 8 / 2, register_a = row / 8 + 2 * (k / 8);
            unsigned owner_b = column * 4 + k % 8 / 2, register_b = k / 8;
            d[i] += element<T>(&of(owner_a)->a[register_a], k % 2) * element<T>(&of(owner_b)->b[register_b], k % 2);
        }
    }
    wait_for_warp();
}

namespace emulator {

template <bool TRANSPOSED>
void load_matrices(unsigned (&d)[4], const void* row) {
    if (reinterpret_cast<uintptr_t>(row) % 16) std::abort();  // as the hardware demands
    Exchange& w = warp();
    std::memcpy(w.slots[lane()], &row, sizeof row);
    wait_for_warp();
    for (int m = 0; m < 4; ++m) {
        uint16_t pair[2];
        for (int i = 0; i < 2; ++i) {
            unsigned r = lane() / 4, c = lane() % 4 * 2 + i;
            if (TRANSPOSED) std::swap(r, c);
            const uint16_t* from;
            std::memcpy(&from, w.slots[8 * m + r], sizeof from);
            pair[i] = from[c];
        }
        d[m] = pair[0] | unsigned(pair[1]) << 16;
    }
    wait_for_warp();
}

}  // namespace emulator

// ldmatrix.sync.aligned.m8n8.x4(.trans).shared.b16
inline void load_matrices(unsigned (&d)[4], const void* row) { emulator::load_matrices<false>(d, row); }
inline void load_matrices_transposed(unsigned (&d)[4], const void* row) { emulator::load_matrices<true>(d, row); }

// cp.async.cg.shared.global with `valid` bytes of 16, the rest zero
inline void copy_async(void* to, const void* from, unsigned valid) {
    if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16) std::abort();
    emulator::fiber->copies.push_back({to, from, 16, valid});
}
inline void commit_copies() {
    emulator::fiber->pending.push_back(std::move(emulator::fiber->copies));
    emulator::fiber->copies.clear();
}
template <int GROUPS>
void wait_for_copies() {  // until at most GROUPS of the committed groups are under way
    auto& pending = emulator::fiber->pending;
    while (pending.size() > GROUPS) {
        emulator::arrive(pending.front());
        pending.pop_front();
    }
}

template <class T>
unsigned pack(float low, float high) {
    T a(low), b(high);
    return a.bits | unsigned(b.bits) << 16;
}
