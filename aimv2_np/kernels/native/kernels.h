/* What the kernels of one instruction set do, and the structures that Python fills in: structures.py has their fields.
 *
 * All arrays but weights are of float32, and strides in numbers. */
#ifndef KERNELS_H
#define KERNELS_H

#include <stdint.h>

enum activation { SILU, QUICK_GELU, GELU_TANH, RELU };

enum kind { FLOAT32, BFLOAT16, INT8, ROUNDED, ACROSS, FLOAT16 };

/* W (outputs, inputs) as it lies in the file, its numbers of one kind; b (outputs) or NULL. A row of int8 numbers is
 * times scale[o]. ROUNDED weights are of bfloat16, and what they are multiplied with is rounded to it. ACROSS: W is of
 * float32, and its columns, not its rows, are `stride` apart. FLOAT16 are vectors in files, and no weights. */
struct matrix {
    const void *data;
    const float *bias, *scale;
    long outputs, inputs, stride, kind;
};

struct norm {
    const float *weight;
    double eps;
};

struct layer {
    struct norm norm1, norm2;
    struct matrix q, k, v, out, gate, up, down;
};

/* Queries and keys of one image or text: which rows they are, and who sees whom.
 *
 * Query i looks at key j where j <= i or j < prefix, and mask[i, j] if there is one. prefix = keys: everyone. */
struct sequence {
    long batch;
    long query, queries, key, keys;
    long prefix;
    const uint8_t *mask;
    long mask_stride;
};

/* (B, H, N, d), whose d numbers follow one another. */
struct heads {
    float *data;
    long batch, head, row;
};

/* (B, C, height, width), of any strides, of which rows x columns patches of ph x pw pixels are seen. */
struct pixels {
    const float *data;
    long batch, channels, rows, columns, ph, pw;
    long strides[4];
};

/* All but `peak` return 0, or -1 where there is no memory. */
struct kernels {
    const char *name;
    int (*linear)(const float *x, long rows, long x_stride, const struct matrix *w, float *y, long y_stride,
                  int threads);
    int (*gated)(const float *gate, const float *up, long count, long activation, float *y, int threads);
    int (*rms_norm)(const float *x, long rows, long width, long x_stride, const struct norm *norm, float *y,
                    long y_stride, int threads);
    int (*attention)(const struct heads *q, const struct heads *k, const struct heads *v, long heads, long width,
                     double scale, const struct sequence *sequences, long count, const struct heads *out, int threads);
    int (*layers)(float *x, long rows, long width, const struct layer *layers, long depth, long heads, long activation,
                  const struct sequence *sequences, long count, int threads);
    int (*patches)(const struct pixels *pixels, const struct matrix *w, float *y, int threads); /* y is dense */
    /* y (columns of a, columns of b) = a^T b, of as many rows each */
    int (*transposed)(const float *a, long a_stride, const float *b, long b_stride, long rows, long a_columns,
                      long b_columns, float *y, int threads);
    int (*gated_back)(const float *gate, const float *up, const float *g, long count, long activation, float *by_gate,
                      float *by_up, int threads);
    /* x, g, by_x: (rows, width), dense; by_weight: (width) */
    int (*rms_norm_back)(const float *x, const float *g, long rows, long width, const struct norm *norm, float *by_x,
                         float *by_weight, int threads);
    /* of: q, k, v, what attention made of them, the gradient by that; by: the gradients by q, k, v */
    int (*attention_back)(const struct heads of[5], long heads, long width, double scale,
                          const struct sequence *sequences, long count, const struct heads by[3], int threads);
    /* y (count, rows) = queries (count, width) x^T, and squares (rows): of vectors x of FLOAT32, FLOAT16 or INT8 */
    int (*dots)(const void *x, long kind, long rows, long width, long stride, const float *queries, long count, float *y,
                float *squares, int threads);
    double (*peak)(long tasks, int threads); /* of the processor's arithmetic: how many operations were done */
};

#endif
