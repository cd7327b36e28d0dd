// What ends a launch with an error: what the compiler's sanitizers see, and memory that is not there.
// And what a device does unasked: denormal numbers become zero, shared memory begins as whatever it is.
#pragma once

#include <link.h>
#include <signal.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "scheduler.h"

namespace emulator {

struct Place {  // with which all data of the sanitizers begin
    const char* file;
    unsigned line, column;
};

[[noreturn]] inline void fail_at(const void* data, const char* what) {
    auto place = static_cast<const Place*>(data);
    fail("%s at %s:%u", what, place->file, place->line);
}

}  // namespace emulator

// -fsanitize=… calls these; the launch ends, where the sanitizers' own library would print and go on.
extern "C" {
void __ubsan_handle_add_overflow_abort(void* data, void*, void*) { emulator::fail_at(data, "a sum overflows"); }
void __ubsan_handle_sub_overflow_abort(void* data, void*, void*) { emulator::fail_at(data, "a difference overflows"); }
void __ubsan_handle_mul_overflow_abort(void* data, void*, void*) { emulator::fail_at(data, "a product overflows"); }
void __ubsan_handle_negate_overflow_abort(void* data, void*) { emulator::fail_at(data, "a negation overflows"); }
void __ubsan_handle_divrem_overflow_abort(void* data, void*, void*) { emulator::fail_at(data, "a division overflows"); }
void __ubsan_handle_shift_out_of_bounds_abort(void* data, void*, void*) {
    emulator::fail_at(data, "a shift is too far");
}
void __ubsan_handle_out_of_bounds_abort(void* data, void*) {
    emulator::fail_at(data, "an index is outside of its array");
}
void __ubsan_handle_type_mismatch_v1_abort(void* data, void* address) {
    emulator::fail_at(data, address ? "an address is not aligned to the size of what is read or written there"
                                    : "a null pointer is followed");
}
}

namespace emulator {

inline void on_bad_address(int, siginfo_t* info, void*) {
    fail("memory is read or written where there is none, at address %p", info->si_addr);
}

// While it lives, a wild address ends the launch instead of the process.
struct CatchBadAddresses {
    struct sigaction segv, bus;
    CatchBadAddresses() {
        struct sigaction ours = {};
        ours.sa_sigaction = on_bad_address;
        ours.sa_flags = SA_SIGINFO | SA_NODEFER;
        sigaction(SIGSEGV, &ours, &segv);
        sigaction(SIGBUS, &ours, &bus);
    }
    ~CatchBadAddresses() {
        sigaction(SIGSEGV, &segv, nullptr);
        sigaction(SIGBUS, &bus, nullptr);
    }
};

// While it lives, denormal float32 operands and results count as zero: CuPy compiles with -ftz=true.
struct FlushToZero {
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    FlushToZero() { _mm_setcsr(before | 0x8040); }
    ~FlushToZero() { _mm_setcsr(before); }
#elif defined(__aarch64__)
    unsigned before = __builtin_aarch64_get_fpcr();
    FlushToZero() { __builtin_aarch64_set_fpcr(before | 1u << 24); }
    ~FlushToZero() { __builtin_aarch64_set_fpcr(before); }
#endif
};

struct Bytes {
    unsigned char* first;
    size_t count;
};

// All __shared__ variables: they, and nothing else, are this library's thread-local memory.
inline Bytes thread_local_memory() {
    Bytes found{};
    auto visit = [](dl_phdr_info* info, size_t, void* result) {
        auto holds_us = [&](const ElfW(Phdr)& part) {
            uintptr_t offset = reinterpret_cast<uintptr_t>(&problem) - info->dlpi_addr;
            return part.p_type == PT_LOAD && offset - part.p_vaddr < part.p_memsz;
        };
        Bytes tls{};
        bool ours = false;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
            const ElfW(Phdr)& part = info->dlpi_phdr[i];
            ours = ours || holds_us(part);
            if (part.p_type == PT_TLS) tls = {static_cast<unsigned char*>(info->dlpi_tls_data), part.p_memsz};
        }
        if (ours) *static_cast<Bytes*>(result) = tls;
        return int(ours);
    };
    dl_iterate_phdr(visit, &found);
    return found;
}

}  // namespace emulator
