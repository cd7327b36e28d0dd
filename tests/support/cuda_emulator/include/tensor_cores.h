// What tensor_cores.cuh of the package does in PTX, as the PTX manual describes it (sections 9.7.14 and 9.7.9).
#pragma once

#include "half_types.h"
#include "scheduler.h"

namespace emulator {

template <class T>
float element(const unsigned* registers, int i) {  // i-th 16-bit number of packed registers
    uint16_t bits = static_cast<uint16_t>(registers[i / 2] >> (16 * (i % 2)));
    T x;
    std::memcpy(&x, &bits, 2);
    return float(x);
}

inline void arrive(const Copy& copy) {
    std::memcpy(copy.to, copy.from, copy.valid);
    std::memset(static_cast<char*>(copy.to) + copy.valid, 0, 16 - copy.valid);
}

}  // namespace emulator

inline float exp2_fast(float x) { return std::exp2(x); }

namespace emulator {

inline void need_whole_warp() {
    if (lanes_of_warp() != ALL) fail("tensor cores need warps of 32 threads");
}

template <bool TRANSPOSED>
void load_matrices(unsigned (&d)[4], const void* row) {
    using Row = const uint16_t*;
    struct Registers {
        unsigned at[4];
    };
    need_whole_warp();
    if (reinterpret_cast<uintptr_t>(row) % 16) fail("a row of a matrix does not begin at a multiple of 16 bytes");
    auto result = meet<Registers>(ALL, static_cast<Row>(row), [](auto given, auto taken) {
        for (unsigned i = 0; i < WARP; ++i)
            for (unsigned m = 0; m < 4; ++m) {
                unsigned r = i / 4, c = i % 4 * 2;
                uint16_t low = TRANSPOSED ? given(8 * m + c)[r] : given(8 * m + r)[c];
                uint16_t high = TRANSPOSED ? given(8 * m + c + 1)[r] : given(8 * m + r)[c + 1];
                taken(i).at[m] = low | unsigned(high) << 16;
            }
    });
    std::memcpy(d, result.at, sizeof d);
}

}  // namespace emulator

// mma.sync.aligned.m16n8k16.row.col.f32.T.T.f32: d (16×8) += a (16×16) · b (16×8)
template <class T>
void multiply_add_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    using namespace emulator;
    struct Sums {
        float at[4];
    };
    struct Operands {
        unsigned a[4], b[2];
        Sums d;
    } mine;
    std::memcpy(mine.a, a, sizeof a);
    std::memcpy(mine.b, b, sizeof b);
    std::memcpy(mine.d.at, d, sizeof d);
    need_whole_warp();
    Sums result = meet<Sums>(ALL, mine, [](auto given, auto taken) {
        float left[16][16], right[16][8];
        for (unsigned i = 0; i < WARP; ++i) {
            unsigned g = i / 4, t = i % 4;
            const Operands& own = given(i);
            for (unsigned j = 0; j < 8; ++j) left[g + j / 2 % 2 * 8][2 * t + j / 4 * 8 + j % 2] = element<T>(own.a, j);
            for (unsigned j = 0; j < 4; ++j) right[2 * t + j / 2 * 8 + j % 2][g] = element<T>(own.b, j);
        }
        for (unsigned i = 0; i < WARP; ++i)
            for (unsigned j = 0; j < 4; ++j) {
                unsigned row = i / 4 + j / 2 * 8, column = i % 4 * 2 + j % 2;
                float sum = given(i).d.at[j];
                for (unsigned k = 0; k < 16; ++k) sum += left[row][k] * right[k][column];
                taken(i).at[j] = sum;
            }
    });
    std::memcpy(d, result.at, sizeof d);
}

// ldmatrix.sync.aligned.m8n8.x4(.trans).shared.b16
inline void load_matrices(unsigned (&d)[4], const void* row) { emulator::load_matrices<false>(d, row); }
inline void load_matrices_transposed(unsigned (&d)[4], const void* row) { emulator::load_matrices<true>(d, row); }

// cp.async.cg.shared.global with `valid` bytes of 16, the rest zero
inline void copy_async(void* to, const void* from, unsigned valid) {
    using namespace emulator;
    if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16)
        fail("an asynchronous copy begins or ends at an address that is no multiple of 16 bytes");
    if (valid > 16) fail("an asynchronous copy of %u bytes; 16 are the most", valid);
    fiber->copies.push_back({to, from, valid});
    if (block->copies_at_once) arrive(fiber->copies.back());
}
inline void commit_copies() {
    emulator::fiber->pending.push_back(std::move(emulator::fiber->copies));
    emulator::fiber->copies.clear();
}
template <int GROUPS>
void wait_for_copies() {  // until at most GROUPS of the committed groups are under way
    auto& pending = emulator::fiber->pending;
    for (; pending.size() > GROUPS; pending.pop_front())
        for (const emulator::Copy& copy : pending.front())
            if (!emulator::block->copies_at_once) emulator::arrive(copy);
}

template <class T>
unsigned pack(float low, float high) {
    T a(low), b(high);
    return a.bits | unsigned(b.bits) << 16;
}
