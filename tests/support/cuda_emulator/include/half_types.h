// __half and __nv_bfloat16: 16 bits, converted to float and back, to nearest even.
#pragma once

#include <cstdint>
#include <cstring>

struct __half {
    uint16_t bits;
    __half() = default;
    explicit __half(float x) {
        _Float16 h = static_cast<_Float16>(x);
        std::memcpy(&bits, &h, 2);
    }
    explicit operator float() const {
        _Float16 h;
        std::memcpy(&h, &bits, 2);
        return static_cast<float>(h);
    }
};

struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    explicit __nv_bfloat16(float x) {
        uint32_t u;
        std::memcpy(&u, &x, 4);
        if ((u & 0x7fffffffu) > 0x7f800000u)
            bits = 0x7fff;
        else
            bits = static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
    explicit operator float() const {
        uint32_t u = static_cast<uint32_t>(bits) << 16;
        float x;
        std::memcpy(&x, &u, 4);
        return x;
    }
};

inline float __half2float(__half x) { return float(x); }
inline __half __float2half_rn(float x) { return __half(x); }
inline float __bfloat162float(__nv_bfloat16 x) { return float(x); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return __nv_bfloat16(x); }
