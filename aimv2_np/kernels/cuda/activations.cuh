// The activation functions of network/activations.py, by the same names, and their slopes, of gradients/activations.py.
#pragma once

// φ(x) = e^(-x²/2) / √(2π)
__device__ __forceinline__ float density(float x) { return expf(-0.5f * x * x) * 0.39894228040143268f; }

// Of x/2 (1 + tanh u), u = f (x + 0.044715 x³)
__device__ __forceinline__ float slope_of_tanh(float x, float factor) {
    float t = tanhf(factor * x * (1.0f + 0.044715f * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * factor * (1.0f + 3.0f * 0.044715f * x * x);
}

struct Silu {
    // e^-x may overflow to infinity, which gives the limit, zero.
    static __device__ __forceinline__ float of(float x) { return x / (1.0f + expf(-x)); }
    static __device__ __forceinline__ float slope(float x) {
        float s = 1.0f / (1.0f + expf(-x));
        return s + x * s * (1.0f - s);
    }
};

struct Gelu {
    static __device__ __forceinline__ float of(float x) { return x * (0.5f * (1.0f + erff(x * 0.70710678118654752f))); }
    static __device__ __forceinline__ float slope(float x) {
        return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) + x * density(x);
    }
};

struct GeluTanh {
    static __device__ __forceinline__ float of(float x) {
        return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * (x * x * x))));
    }
    static __device__ __forceinline__ float slope(float x) {
        return slope_of_tanh(x, 0.79788456080286536f);
    }
};

struct GeluFast {
    static __device__ __forceinline__ float of(float x) {
        return 0.5f * x * (1.0f + tanhf(0.7978845608f * x * (1.0f + 0.044715f * x * x)));
    }
    static __device__ __forceinline__ float slope(float x) {
        return slope_of_tanh(x, 0.7978845608f);
    }
};

struct Gelu10 {
    static __device__ __forceinline__ float of(float x) { return fminf(fmaxf(Gelu::of(x), -10.0f), 10.0f); }
    static __device__ __forceinline__ float slope(float x) {
        float y = Gelu::of(x);
        return y >= -10.0f && y <= 10.0f ? Gelu::slope(x) : 0.0f;
    }
};

struct Sigmoid {
    static __device__ __forceinline__ float of(float x) { return 1.0f / (1.0f + expf(-x)); }
    static __device__ __forceinline__ float slope(float x) {
        float s = of(x);
        return s * (1.0f - s);
    }
};

struct QuickGelu {
    static __device__ __forceinline__ float of(float x) { return x * Sigmoid::of(1.702f * x); }
    static __device__ __forceinline__ float slope(float x) {
        float s = Sigmoid::of(1.702f * x);
        return s + 1.702f * x * s * (1.0f - s);
    }
};

struct Relu {
    static __device__ __forceinline__ float of(float x) { return fmaxf(x, 0.0f); }
    static __device__ __forceinline__ float slope(float x) { return x > 0.0f ? 1.0f : 0.0f; }
};

struct Relu2 {
    static __device__ __forceinline__ float of(float x) { return Relu::of(x) * Relu::of(x); }
    static __device__ __forceinline__ float slope(float x) { return 2.0f * Relu::of(x); }
};

struct Relu6 {
    static __device__ __forceinline__ float of(float x) { return fminf(fmaxf(x, 0.0f), 6.0f); }
    static __device__ __forceinline__ float slope(float x) { return x > 0.0f && x < 6.0f ? 1.0f : 0.0f; }
};

struct Hardswish {
    static __device__ __forceinline__ float of(float x) { return x * Relu6::of(x + 3.0f) / 6.0f; }
    static __device__ __forceinline__ float slope(float x) {
        return x <= -3.0f ? 0.0f : x >= 3.0f ? 1.0f : (2.0f * x + 3.0f) / 6.0f;
    }
};

struct LeakyRelu {
    static __device__ __forceinline__ float of(float x) { return x > 0.0f ? x : 0.01f * x; }
    static __device__ __forceinline__ float slope(float x) { return x > 0.0f ? 1.0f : 0.01f; }
};

struct Linear {
    static __device__ __forceinline__ float of(float x) { return x; }
    static __device__ __forceinline__ float slope(float x) { return 1.0f; }
};

struct Mish {
    // ln(1 + e^x) without overflow
    static __device__ __forceinline__ float of(float x) {
        return x * tanhf(fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))));
    }
    static __device__ __forceinline__ float slope(float x) {
        float t = tanhf(fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))));
        return t + x * (1.0f - t * t) * Sigmoid::of(x);
    }
};

struct Laplace {
    static __device__ __forceinline__ float of(float x) {
        return 0.5f * (1.0f + erff((x - 0.707107f) / (0.282095f * 1.41421356237309505f)));
    }
    static __device__ __forceinline__ float slope(float x) {
        return density((x - 0.707107f) / 0.282095f) / 0.282095f;
    }
};

struct Tanh {
    static __device__ __forceinline__ float of(float x) { return tanhf(x); }
    static __device__ __forceinline__ float slope(float x) {
        float t = tanhf(x);
        return 1.0f - t * t;
    }
};
