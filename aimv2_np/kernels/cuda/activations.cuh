// The activation functions of network/activations.py, by the same names.
#pragma once

struct Silu {
    // e^-x may overflow to infinity, which gives the limit, zero.
    static __device__ __forceinline__ float of(float x) { return x / (1.0f + expf(-x)); }
};

struct Gelu {
    static __device__ __forceinline__ float of(float x) { return x * (0.5f * (1.0f + erff(x * 0.70710678118654752f))); }
};

struct GeluTanh {
    static __device__ __forceinline__ float of(float x) {
        return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * (x * x * x))));
    }
};

struct GeluFast {
    static __device__ __forceinline__ float of(float x) {
        return 0.5f * x * (1.0f + tanhf(0.7978845608f * x * (1.0f + 0.044715f * x * x)));
    }
};

struct Gelu10 {
    static __device__ __forceinline__ float of(float x) { return fminf(fmaxf(Gelu::of(x), -10.0f), 10.0f); }
};

struct Sigmoid {
    static __device__ __forceinline__ float of(float x) { return 1.0f / (1.0f + expf(-x)); }
};

struct QuickGelu {
    static __device__ __forceinline__ float of(float x) { return x * Sigmoid::of(1.702f * x); }
};

struct Relu {
    static __device__ __forceinline__ float of(float x) { return fmaxf(x, 0.0f); }
};

struct Relu2 {
    static __device__ __forceinline__ float of(float x) { return Relu::of(x) * Relu::of(x); }
};

struct Relu6 {
    static __device__ __forceinline__ float of(float x) { return fminf(fmaxf(x, 0.0f), 6.0f); }
};

struct Hardswish {
    static __device__ __forceinline__ float of(float x) { return x * Relu6::of(x + 3.0f) / 6.0f; }
};

struct LeakyRelu {
    static __device__ __forceinline__ float of(float x) { return x > 0.0f ? x : 0.01f * x; }
};

struct Linear {
    static __device__ __forceinline__ float of(float x) { return x; }
};

struct Mish {
    // ln(1 + e^x) without overflow
    static __device__ __forceinline__ float of(float x) {
        return x * tanhf(fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))));
    }
};

struct Laplace {
    static __device__ __forceinline__ float of(float x) {
        return 0.5f * (1.0f + erff((x - 0.707107f) / (0.282095f * 1.41421356237309505f)));
    }
};

struct Tanh {
    static __device__ __forceinline__ float of(float x) { return tanhf(x); }
};
