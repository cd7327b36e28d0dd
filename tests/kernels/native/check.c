/* Every kernel of every instruction set that this processor has, against plain loops in double: for the sanitizers, and
 * for processors that are emulated. tests/tools/check_kernels.py compiles and runs it.
 *
 * Arrays are exactly as large as they must be, so that the address sanitizer sees every number too many that is read.
 * Any number of threads must give the same bits. Prints the names of the instruction sets; an argument is the only one. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels.h"

#define COUNT(array) ((long)(sizeof(array) / sizeof *(array)))
#define UNTOUCHED 12345.0f

extern const struct kernels *aimv2_kernels(int i);

static const struct kernels *c;
static const int THREADS[] = {1, 0, 2, 5};

/* ---- arrays ---- */

static void *taken[256];
static int takes;

static void *take(long bytes) {
    void *memory = malloc((size_t)bytes);
    if ((!memory && bytes) || takes == 256) abort();
    return taken[takes++] = memory;
}
static void release(void) {
    while (takes) free(taken[--takes]);
}

static float number(void) { /* in [-1, 1) */
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(state >> 32) * 0x1p-31f;
}
static float *numbers(long count) {
    float *x = take(4 * count);
    for (long i = 0; i < count; i++) x[i] = number();
    return x;
}
static float *untouched(long count) {
    float *x = take(4 * count);
    for (long i = 0; i < count; i++) x[i] = UNTOUCHED;
    return x;
}

static const long BYTES[] = {[FLOAT32] = 4, [BFLOAT16] = 2, [INT8] = 1, [ROUNDED] = 2, [FLOAT16] = 2};

static float rounded(float x) { /* to bfloat16 */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&x, &bits, 4);
    return x;
}

static struct matrix matrix(long outputs, long inputs, long gap, int bias, long kind) {
    long stride = inputs + gap, count = outputs * stride - gap;
    struct matrix w = {.outputs = outputs, .inputs = inputs, .stride = stride, .kind = kind};
    if (bias) w.bias = numbers(outputs);
    float *scale = numbers(kind == INT8 ? outputs : 0);
    for (long i = 0; kind == INT8 && i < outputs; i++) scale[i] /= 127;
    w.scale = scale;
    void *data = take(BYTES[kind] * count);
    for (long i = 0; i < count; i++) {
        float x = number() / sqrtf((float)inputs + 1);
        uint32_t bits;
        memcpy(&bits, &x, 4);
        if (kind == BFLOAT16 || kind == ROUNDED) ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
        else if (kind == INT8) ((int8_t *)data)[i] = (int8_t)(127 * x);
        else ((float *)data)[i] = x;
    }
    w.data = data;
    return w;
}
static double weight(const struct matrix *w, long i) { /* of the whole */
    if (w->kind == INT8) return (double)w->scale[i / w->stride] * ((const int8_t *)w->data)[i];
    if (w->kind == FLOAT32) return ((const float *)w->data)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)w->data)[i] << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* ---- what is expected ---- */

static double product(const double *x, const struct matrix *w, long o) {
    double sum = w->bias ? w->bias[o] : 0;
    for (long k = 0; k < w->inputs; k++) sum += (w->kind == ROUNDED ? rounded((float)x[k]) : x[k]) * weight(w, o * w->stride + k);
    return sum;
}
static double activated(long activation, double x) {
    if (activation == RELU) return x > 0 ? x : 0;
    if (activation == GELU_TANH) return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    return x / (1 + exp(activation == QUICK_GELU ? -1.702 * x : -x));
}
static void normed(const double *x, long width, const struct norm *norm, double *y) {
    double sum = 0;
    for (long i = 0; i < width; i++) sum += x[i] * x[i];
    for (long i = 0; i < width; i++) y[i] = norm->weight[i] * x[i] / sqrt(sum / (double)width + norm->eps);
}

/* y of one query, whose keys and values begin at k and v and lie `stride` apart. */
static void attended(const double *q, const double *k, const double *v, long stride, long width, double scale,
                     const struct sequence *s, long query, double *y) {
    double *e = malloc((size_t)s->keys * sizeof *e), largest = -1e30, total = 0;
    for (long j = 0; j < s->keys; j++) {
        int seen = (j <= query || j < s->prefix) && (!s->mask || s->mask[query * s->mask_stride + j]);
        e[j] = 0;
        for (long i = 0; i < width; i++) e[j] += scale * q[i] * k[j * stride + i];
        if (!seen) e[j] = -1e30;
        if (e[j] > largest) largest = e[j];
    }
    for (long j = 0; j < s->keys; j++) total += e[j] = exp(e[j] - largest);
    for (long i = 0; i < width; i++) y[i] = 0;
    for (long j = 0; j < s->keys; j++)
        for (long i = 0; i < width; i++) y[i] += e[j] / total * v[j * stride + i];
    free(e);
}

static void must(int holds, const char *what, long index, double found, double expected) {
    if (holds) return;
    fprintf(stderr, "%s, %s, [%ld]: %.9g; expected %.9g\n", c->name, what, index, found, expected);
    exit(1);
}
static double tolerance = 2e-5;
static void near(const char *what, float found, double expected, long index) {
    must(fabs(found - expected) <= tolerance * (1 + fabs(expected)), what, index, found, expected);
}
/* The first time, keep what came out; later it must be the same. */
static void same(const char *what, const float *y, float **first, long count) {
    if (!*first) *first = memcpy(take(4 * count), y, 4 * (size_t)count);
    for (long i = 0; i < count; i++) must(!memcmp(y + i, *first + i, 4), what, i, y[i], (*first)[i]);
}
static double *widened(const float *x, long count) {
    double *y = take(8 * count);
    for (long i = 0; i < count; i++) y[i] = x[i];
    return y;
}

/* ---- checks ---- */

static void check_linear(long rows, long inputs, long outputs, long gap, int bias, long kind) {
    struct matrix w = matrix(outputs, inputs, gap, bias, kind);
    long x_stride = inputs + gap, y_stride = outputs + gap, count = rows ? rows * y_stride - gap : 0;
    float *x = numbers(rows ? rows * x_stride - gap : 0), *first = NULL;
    for (int t = 0; t < COUNT(THREADS); t++) {
        float *y = untouched(count);
        must(!c->linear(x, rows, x_stride, &w, y, y_stride, THREADS[t]), "linear", -1, -1, 0);
        same("linear, threads", y, &first, count);
    }
    double *wide = widened(x, rows ? rows * x_stride - gap : 0);
    for (long i = 0; i < count; i++) {
        long r = i / y_stride, o = i % y_stride;
        near("linear", first[i], o < outputs ? product(wide + r * x_stride, &w, o) : UNTOUCHED, i);
    }
    release();
}

/* Pictures whose colours are neighbours (`colours`) or not, from top to bottom or (`flipped`) from bottom to top. */
static void check_patches(const long shape[4], long ph, long pw, long outputs, int colours, int flipped, long kind) {
    long batch = shape[0], channels = shape[1], height = shape[2], width = shape[3], size = channels * height * width;
    struct matrix w = matrix(outputs, channels * ph * pw, 0, 1, kind);
    struct pixels p = {.batch = batch, .channels = channels, .rows = height / ph, .columns = width / pw, .ph = ph,
                       .pw = pw, .strides = {size, height * width, width, 1}};
    if (colours) memcpy(p.strides, (long[]){size, 1, width * channels, channels}, sizeof p.strides);
    float *data = numbers(batch * size), *first = NULL;
    if (flipped) data += (height - 1) * p.strides[2], p.strides[2] *= -1;
    p.data = data;
    long tokens = p.rows * p.columns, count = batch * tokens * outputs;
    for (int t = 0; t < COUNT(THREADS); t++) {
        float *y = untouched(count);
        must(!c->patches(&p, &w, y, THREADS[t]), "patches", -1, -1, 0);
        same("patches, threads", y, &first, count);
    }
    double *x = take(8 * w.inputs);
    for (long i = 0; i < count; i++) {
        long token = i / outputs % tokens, row = token / p.columns * ph, column = token % p.columns * pw;
        for (long k = 0; k < w.inputs && i % outputs == 0; k++)
            x[k] = data[i / outputs / tokens * p.strides[0] + k / pw / ph * p.strides[1] +
                        (row + k / pw % ph) * p.strides[2] + (column + k % pw) * p.strides[3]];
        near("patches", first[i], product(x, &w, i % outputs), i);
    }
    release();
}

static void check_gated(long count, long activation) {
    float *gate = numbers(count), *up = numbers(count), *first = NULL;
    for (long i = 0; i < count; i++) gate[i] *= i % 3 ? 4 : 200;
    for (int t = 0; t < COUNT(THREADS); t++) {
        float *y = untouched(count);
        must(!c->gated(gate, up, count, activation, y, THREADS[t]), "gated", -1, -1, 0);
        same("gated, threads", y, &first, count);
    }
    for (long i = 0; i < count; i++) near("gated", first[i], activated(activation, gate[i]) * up[i], i);
    release();
}

static void check_rms_norm(long rows, long width, long gap) {
    struct norm norm = {.weight = numbers(width), .eps = 1e-5};
    long stride = width + gap, count = rows ? rows * stride - gap : 0;
    float *x = numbers(count), *first = NULL;
    for (int t = 0; t < COUNT(THREADS); t++) {
        float *y = untouched(count);
        must(!c->rms_norm(x, rows, width, stride, &norm, y, stride, THREADS[t]), "rms_norm", -1, -1, 0);
        same("rms_norm, threads", y, &first, count);
    }
    double *wide = widened(x, count), *y = take(8 * width);
    for (long i = 0; i < count; i++) {
        if (i % stride == 0) normed(wide + i, width, &norm, y);
        near("rms_norm", first[i], i % stride < width ? y[i % stride] : UNTOUCHED, i);
    }
    release();
}

/* (batch, tokens, heads, width) in memory. The sequences of a batch item are its own. */
static void check_attention(long batch, long heads, long queries, long keys, long width, long prefix, int masked) {
    long row = heads * width, count = batch * queries * row, key_count = batch * keys * row;
    float *data[3] = {numbers(count), numbers(key_count), numbers(key_count)}, *first = NULL;
    struct heads q = {data[0], queries * row, width, row}, k = {data[1], keys * row, width, row}, v = k;
    v.data = data[2];
    uint8_t *mask = take(queries * keys);
    for (long i = 0; i < queries * keys; i++) mask[i] = i >= keys && number() > 0; /* the first query sees nothing */
    struct sequence *s = take(batch * (long)sizeof *s);
    for (long b = 0; b < batch; b++)
        s[b] = (struct sequence){.batch = b, .queries = queries, .keys = keys, .prefix = prefix,
                                 .mask = masked ? mask : NULL, .mask_stride = keys};
    for (int t = 0; t < COUNT(THREADS); t++) {
        struct heads out = {untouched(count), queries * row, width, row};
        must(!c->attention(&q, &k, &v, heads, width, 2, s, batch, &out, THREADS[t]), "attention", -1, -1, 0);
        same("attention, threads", out.data, &first, count);
    }
    double *wide[3] = {widened(data[0], count), widened(data[1], key_count), widened(data[2], key_count)};
    double *y = take(8 * width);
    for (long i = 0; i < count; i++) {
        long b = i / (queries * row), n = i / row % queries, head = i % row / width;
        long from = b * keys * row + head * width;
        if (i % width == 0) attended(wide[0] + i, wide[1] + from, wide[2] + from, row, width, 2, &s[b], n, y);
        near("attention", first[i], y[i % width], i);
    }
    release();
}

/* Numbers of float16 are those of the list: of every kind that there is. */
static void check_dots(long rows, long width, long queries, long gap, long kind) {
    static const uint16_t halves[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0xb555, 0x4200};
    static const double values[] = {0, -0.0, 0x1p-24, -0x1.ff8p-15, 0x1p-14, 1, -0x1.554p-2, 3};
    long stride = width + gap, count = rows ? rows * stride - gap : 0;
    char *x = take(BYTES[kind] * count);
    double *wide = take(8 * count), size = 1 + sqrt((double)width);
    for (long i = 0; i < count; i++) {
        long which = (long)(8 * (number() + 1) / 2) % 8;
        float single = number();
        int8_t byte = (int8_t)(127 * number());
        wide[i] = kind == FLOAT16 ? values[which] : kind == INT8 ? byte : (double)single;
        memcpy(x + BYTES[kind] * i, kind == FLOAT16 ? (void *)&halves[which] : kind == INT8 ? (void *)&byte : (void *)&single,
               (size_t)BYTES[kind]);
    }
    float *w = numbers(queries * width), *first[2] = {NULL, NULL};
    for (int t = 0; t < COUNT(THREADS); t++) {
        float *y[2] = {untouched(queries * rows), untouched(rows)};
        must(!c->dots(x, kind, rows, width, stride, w, queries, y[0], y[1], THREADS[t]), "dots", -1, -1, 0);
        same("dots, threads", y[0], &first[0], queries * rows);
        same("dots, threads, squares", y[1], &first[1], rows);
    }
    double unit = size * (kind == INT8 ? 127 : 3);
    for (long r = 0; r < rows; r++) {
        double square = 0;
        for (long k = 0; k < width; k++) square += wide[r * stride + k] * wide[r * stride + k];
        near("dots, squares", first[1][r], square, r);
        for (long q = 0; q < queries; q++) {
            double sum = 0;
            for (long k = 0; k < width; k++) sum += w[q * width + k] * wide[r * stride + k];
            near("dots", (float)(first[0][q * rows + r] / unit), sum / unit, q * rows + r);
        }
    }
    release();
}

/* ---- derivatives ---- */

static void check_transposed(long rows, long a_columns, long b_columns, long gap) {
    long a_stride = a_columns + gap, b_stride = b_columns + gap, count = a_columns * b_columns;
    float *a = numbers(rows * a_stride - gap), *b = numbers(rows * b_stride - gap), *first = NULL;
    for (int t = 0; t < COUNT(THREADS); t++) {
        float *y = untouched(count);
        must(!c->transposed(a, a_stride, b, b_stride, rows, a_columns, b_columns, y, THREADS[t]), "transposed", -1, -1, 0);
        same("transposed, threads", y, &first, count);
    }
    for (long i = 0; i < count; i++) {
        double sum = 0;
        for (long r = 0; r < rows; r++) sum += (double)a[r * a_stride + i / b_columns] * b[r * b_stride + i % b_columns];
        near("transposed", first[i], sum, i);
    }
    release();
}

/* The slope of the activation by differences, which RELU has none of at 0, where no number is. */
static void check_gated_back(long count, long activation) {
    float *gate = numbers(count), *up = numbers(count), *g = numbers(count), *first[2] = {NULL, NULL};
    for (long i = 0; i < count; i++) gate[i] *= i % 3 ? 4 : 200;
    for (int t = 0; t < COUNT(THREADS); t++) {
        float *y[2] = {untouched(count), untouched(count)};
        must(!c->gated_back(gate, up, g, count, activation, y[0], y[1], THREADS[t]), "gated_back", -1, -1, 0);
        for (int i = 0; i < 2; i++) same("gated_back, threads", y[i], &first[i], count);
    }
    for (long i = 0; i < count; i++) {
        double slope = (activated(activation, gate[i] + 1e-6) - activated(activation, gate[i] - 1e-6)) / 2e-6;
        near("gated_back, by the gate", first[0][i], slope * up[i] * g[i], i);
        near("gated_back, by what it multiplies", first[1][i], activated(activation, gate[i]) * g[i], i);
    }
    release();
}

static void check_rms_norm_back(long rows, long width) {
    struct norm norm = {.weight = numbers(width), .eps = 1e-5};
    float *x = numbers(rows * width), *g = numbers(rows * width), *first[2] = {NULL, NULL};
    for (int t = 0; t < COUNT(THREADS); t++) {
        float *y[2] = {untouched(rows * width), untouched(width)};
        must(!c->rms_norm_back(x, g, rows, width, &norm, y[0], y[1], THREADS[t]), "rms_norm_back", -1, -1, 0);
        same("rms_norm_back, threads", y[0], &first[0], rows * width);
        same("rms_norm_back, threads, by the weight", y[1], &first[1], width);
    }
    double *by_weight = take(8 * width);
    for (long i = 0; i < width; i++) by_weight[i] = 0;
    for (long i = 0; i < rows * width; i++) {
        const float *row = x + i / width * width, *above = g + i / width * width;
        double squares = 0, along = 0;
        for (long j = 0; j < width; j++) squares += (double)row[j] * row[j];
        for (long j = 0; j < width; j++) along += (double)above[j] * norm.weight[j] * row[j];
        double r = 1 / sqrt(squares / (double)width + norm.eps);
        near("rms_norm_back", first[0][i],
             r * norm.weight[i % width] * g[i] - r * r * r * along / (double)width * x[i], i);
        by_weight[i % width] += r * x[i] * g[i];
    }
    for (long i = 0; i < width; i++) near("rms_norm_back, by the weight", first[1][i], by_weight[i], i);
    release();
}

/* The gradients by q, k and v of one query, added up; arrays as in `attended`, above: by what came out. */
static void attended_back(const double *q, const double *k, const double *v, const double *above, long stride, long width,
                          double scale, const struct sequence *s, long query, double *by_q, double *by_k, double *by_v) {
    double *e = malloc((size_t)s->keys * sizeof *e), largest = -1e30, total = 0, mean = 0;
    int *seen = malloc((size_t)s->keys * sizeof *seen);
    for (long j = 0; j < s->keys; j++) {
        seen[j] = (j <= query || j < s->prefix) && (!s->mask || s->mask[query * s->mask_stride + j]);
        e[j] = 0;
        for (long i = 0; i < width; i++) e[j] += scale * q[i] * k[j * stride + i];
        if (!seen[j]) e[j] = -1e30;
        if (e[j] > largest) largest = e[j];
    }
    for (long j = 0; j < s->keys; j++) total += e[j] = exp(e[j] - largest);
    for (long j = 0; j < s->keys; j++)
        for (long i = 0; i < width; i++) {
            by_v[j * stride + i] += e[j] / total * above[i];
            mean += e[j] / total * above[i] * v[j * stride + i];
        }
    for (long j = 0; j < s->keys; j++) {
        double by = -mean;
        for (long i = 0; i < width; i++) by += above[i] * v[j * stride + i];
        by *= seen[j] ? scale * e[j] / total : 0;
        for (long i = 0; i < width; i++) {
            by_q[i] += by * k[j * stride + i];
            by_k[j * stride + i] += by * q[i];
        }
    }
    free(seen);
    free(e);
}

static void check_attention_back(long batch, long heads, long queries, long keys, long width, long prefix, int masked) {
    long row = heads * width, counts[5] = {queries, keys, keys, queries, queries}, sizes[5];
    float *first[3] = {NULL, NULL, NULL};
    struct heads of[5], by[3];
    double *wide[5], *expected[3];
    for (int i = 0; i < 5; i++) {
        sizes[i] = batch * counts[i] * row;
        of[i] = (struct heads){numbers(sizes[i]), counts[i] * row, width, row};
    }
    uint8_t *mask = take(queries * keys);
    for (long i = 0; i < queries * keys; i++) mask[i] = i >= keys && number() > 0; /* the first query sees nothing */
    struct sequence *s = take(batch * (long)sizeof *s);
    for (long b = 0; b < batch; b++)
        s[b] = (struct sequence){.batch = b, .queries = queries, .keys = keys, .prefix = prefix,
                                 .mask = masked ? mask : NULL, .mask_stride = keys};
    if (sizes[0] && sizes[1]) c->attention(&of[0], &of[1], &of[2], heads, width, 0.5, s, batch, &of[3], 1);
    for (int t = 0; t < COUNT(THREADS); t++) {
        for (int i = 0; i < 3; i++) by[i] = (struct heads){untouched(sizes[i]), counts[i] * row, width, row};
        must(!c->attention_back(of, heads, width, 0.5, s, batch, by, THREADS[t]), "attention_back", -1, -1, 0);
        for (int i = 0; i < 3; i++) same("attention_back, threads", by[i].data, &first[i], sizes[i]);
    }
    for (int i = 0; i < 5; i++) wide[i] = widened(of[i].data, sizes[i]);
    for (int i = 0; i < 3; i++) {
        expected[i] = take(8 * sizes[i]);
        for (long j = 0; j < sizes[i]; j++) expected[i][j] = 0;
    }
    for (long i = 0; i < sizes[0]; i += width) {
        long b = i / (queries * row), n = i / row % queries, from = b * keys * row + i % row;
        attended_back(wide[0] + i, wide[1] + from, wide[2] + from, wide[4] + i, row, width, 0.5, &s[b], n,
                      expected[0] + i, expected[1] + from, expected[2] + from);
    }
    static const char *names[3] = {"attention_back, q", "attention_back, k", "attention_back, v"};
    for (int i = 0; i < 3; i++)
        for (long j = 0; j < sizes[i]; j++) near(names[i], first[i][j], expected[i][j], j);
    release();
}

#define DEPTH_OF_ALL 2

struct tower {
    struct layer layers[DEPTH_OF_ALL];
    long width, heads, rows, count;
    struct sequence sequences[64];
    float *x;
};

/* Sequences that are each one token longer; weights of the first `kinds`, in turns. */
static struct tower tower(long count, long tokens, long prefix, long kinds) {
    struct tower t = {.width = 40, .heads = 2, .count = count};
    for (long i = 0; i < count; t.rows += tokens + i, i++)
        t.sequences[i] = (struct sequence){.query = t.rows, .queries = tokens + i, .key = t.rows, .keys = tokens + i,
                                           .prefix = prefix < 0 ? tokens + i : prefix};
    for (int i = 0; i < DEPTH_OF_ALL; i++) {
        struct layer *layer = &t.layers[i];
        struct matrix *square[4] = {&layer->q, &layer->k, &layer->v, &layer->out};
        for (int j = 0; j < 4; j++) *square[j] = matrix(t.width, t.width, 0, i, j % kinds);
        long inner = 70 + 30 * i;
        layer->gate = matrix(inner, t.width, 0, i, (i + 2) % kinds);
        layer->up = matrix(inner, t.width, 0, i, (i + 1) % kinds);
        layer->down = matrix(t.width, inner, 0, i, (i + 3) % kinds);
        layer->norm1 = (struct norm){numbers(t.width), 1e-5};
        layer->norm2 = (struct norm){numbers(t.width), 1e-5};
    }
    t.x = numbers(t.rows * t.width);
    return t;
}

static void expected_layer(const struct tower *t, const struct layer *layer, double *x) {
    long width = t->width, d = width / t->heads, inner = layer->gate.outputs;
    double h[256], y[256], *qkv = malloc((size_t)(t->rows * 3 * width) * sizeof *qkv);
    for (long r = 0; r < t->rows; r++) {
        normed(x + r * width, width, &layer->norm1, h);
        for (long o = 0; o < width; o++) {
            qkv[(3 * r + 0) * width + o] = product(h, &layer->q, o);
            qkv[(3 * r + 1) * width + o] = product(h, &layer->k, o);
            qkv[(3 * r + 2) * width + o] = product(h, &layer->v, o);
        }
    }
    for (long n = 0; n < t->count; n++)
        for (long i = 0; i < t->sequences[n].queries; i++) {
            double *first = qkv + 3 * t->sequences[n].query * width, *row = x + (t->sequences[n].query + i) * width;
            for (long head = 0; head < t->heads; head++)
                attended(first + 3 * i * width + head * d, first + width + head * d, first + 2 * width + head * d,
                         3 * width, d, 1 / sqrt((double)d), &t->sequences[n], i, h + head * d);
            for (long o = 0; o < width; o++) row[o] += product(h, &layer->out, o);
        }
    for (long r = 0; r < t->rows; r++) {
        normed(x + r * width, width, &layer->norm2, h);
        for (long o = 0; o < inner; o++)
            y[o] = activated(SILU, product(h, &layer->gate, o)) * product(h, &layer->up, o);
        for (long o = 0; o < width; o++) x[r * width + o] += product(y, &layer->down, o);
    }
    free(qkv);
}

static int run_tower(const struct tower *t, float *x, int threads) {
    return c->layers(x, t->rows, t->width, t->layers, DEPTH_OF_ALL, t->heads, SILU, t->sequences, t->count, threads);
}

static void check_layers(long count, long tokens, long prefix, long kinds) {
    struct tower t = tower(count, tokens, prefix, kinds);
    long size = t.rows * t.width;
    float *first = NULL;
    for (int i = 0; i < COUNT(THREADS); i++) {
        float *x = memcpy(take(4 * size), t.x, 4 * (size_t)size);
        must(!run_tower(&t, x, THREADS[i]), "layers", -1, -1, 0);
        same("layers, threads", x, &first, size);
    }
    double *x = widened(t.x, size);
    for (int i = 0; i < DEPTH_OF_ALL; i++) expected_layer(&t, &t.layers[i], x);
    if (kinds > ROUNDED) tolerance = 1e-2; /* a number between two of bfloat16 may be rounded to either */
    for (long i = 0; i < size; i++) near("layers", first[i], x[i], i);
    tolerance = 2e-5;
    release();
}

/* ---- threads, processes, memory ---- */

static int fewer; /* threads that the system still gives, when positive less one */
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *argument) {
    if (fewer && --fewer == 0) return fewer = 1, EAGAIN;
    return __real_pthread_create(thread, attr, start, argument);
}

struct call {
    const struct tower *tower;
    float *x;
};
static void *call(void *argument) {
    struct call *it = argument;
    return run_tower(it->tower, it->x, 3) ? argument : NULL;
}

static void check_calls(void) {
    struct tower t = tower(5, 9, -1, INT8 + 1);
    long size = t.rows * t.width;
    float *first = NULL, *x = memcpy(take(4 * size), t.x, 4 * (size_t)size);
    run_tower(&t, x, 1);
    same("", x, &first, size);
    struct call calls[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        calls[i] = (struct call){&t, memcpy(take(4 * size), t.x, 4 * (size_t)size)};
        if (pthread_create(&threads[i], NULL, call, &calls[i])) abort();
    }
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        must(!failed, "four calls at once", -1, -1, 0);
        same("four calls at once", calls[i].x, &first, size);
    }
    for (int given = 0; given < 3; given++) {
        memcpy(x, t.x, 4 * (size_t)size);
        fewer = given + 1;
        must(!run_tower(&t, x, 4), "fewer threads", given, -1, 0);
        fewer = 0;
        same("fewer threads than asked for", x, &first, size);
    }
    pid_t child = fork();
    memcpy(x, t.x, 4 * (size_t)size);
    run_tower(&t, x, 3);
    same("after fork", x, &first, size);
    if (child == 0) _exit(0);
    int status = -1;
    waitpid(child, &status, 0);
    must(status == 0, "in the child", -1, status, 0);
    struct matrix deep = matrix(1, 1100, 0, 0, FLOAT32); /* so many inputs that sums of all rows are kept */
    must(c->linear(x, 1L << 46, 0, &deep, x, 0, 1) == -1, "no memory", -1, 0, -1);
    struct matrix wide = {.data = x, .outputs = 1, .inputs = 1L << 46};
    struct pixels pixel = {.data = x, .batch = 1, .channels = 1, .rows = 1, .columns = 1, .ph = wide.inputs, .pw = 1};
    must(c->patches(&pixel, &wide, x, 1) == -1, "no memory for patches", -1, 0, -1);
    must(c->transposed(x, 0, x, 0, 1L << 46, 1, 1, x, 1) == -1, "no memory to transpose", -1, 0, -1);
    must(c->rms_norm_back(x, x, 1L << 50, 1, NULL, x, x, 1) == -1, "no memory for a norm's sums", -1, 0, -1);
    struct sequence endless = {.keys = 1L << 46};
    must(c->attention_back((struct heads[5]){0}, 1, 1, 1, &endless, 1, (struct heads[3]){0}, 1) == -1,
         "no memory for attention's", -1, 0, -1);
    release();
}

/* -------- */

static void check_all(void) {
    static const long linears[][4] = {{1, 1, 1, 0}, {0, 5, 7, 0}, {3, 0, 50, 1}, {5, 17, 16, 3}, {8, 64, 48, 0},
                                      {13, 47, 100, 0}, {130, 40, 53, 1}, {200, 33, 145, 0}, {9, 1100, 50, 0},
                                      {70, 2049, 5, 2}};
    for (long i = 0; i < COUNT(linears); i++)
        for (long kind = FLOAT32; kind <= ROUNDED; kind++)
            check_linear(linears[i][0], linears[i][1], linears[i][2], linears[i][3], i % 2 == 0, kind);
    static const long patches[][7] = {{1, 1, 1, 1, 1, 1, 1},      {2, 3, 29, 43, 14, 14, 50}, {0, 3, 4, 4, 2, 2, 5},
                                      {1, 3, 5, 9, 7, 2, 5}, /* of which no patch fits */
                                      {3, 2, 40, 33, 2, 1, 17},   {1, 4, 36, 20, 17, 16, 33}};
    for (long i = 0; i < COUNT(patches); i++)
        for (long kind = FLOAT32; kind <= ROUNDED; kind++)
            check_patches(patches[i], patches[i][4], patches[i][5], patches[i][6], i % 2, kind % 2, kind);
    static const long counts[] = {0, 1, 15, 16, 33, 4096, 9001};
    for (long i = 0; i < COUNT(counts); i++)
        for (long activation = SILU; activation <= RELU; activation++) check_gated(counts[i], activation);
    static const long norms[][3] = {{0, 5, 0}, {1, 1, 0}, {3, 5, 2}, {40, 64, 0}, {70, 131, 1}};
    for (long i = 0; i < COUNT(norms); i++) check_rms_norm(norms[i][0], norms[i][1], norms[i][2]);
    static const long attentions[][7] = {
        {1, 1, 1, 1, 1, 1, 0},     {2, 3, 5, 17, 20, 17, 0},  {1, 2, 17, 17, 64, 0, 0},   {3, 1, 30, 30, 80, 7, 0},
        {2, 2, 9, 21, 16, 21, 1},  {0, 2, 3, 3, 4, 3, 0},     {2, 1, 0, 3, 4, 3, 0},      {1, 1, 300, 300, 8, 300, 0},
        {1, 1, 613, 613, 12, 0, 0}, {1, 1, 20, 590, 8, 590, 1}, {1, 2, 400, 400, 8, 350, 0}};
    for (long i = 0; i < COUNT(attentions); i++) {
        const long *a = attentions[i];
        check_attention(a[0], a[1], a[2], a[3], a[4], a[5], (int)a[6]);
    }
    static const long stored[] = {FLOAT32, FLOAT16, INT8};
    static const long vectors[][4] = {{0, 5, 2, 0}, {1, 1, 1, 0}, {3, 0, 1, 0}, {5, 17, 5, 3}, {70, 47, 1, 0},
                                      {131, 64, 9, 1}, {4, 300, 4, 0}};
    for (long i = 0; i < COUNT(vectors); i++)
        for (long j = 0; j < COUNT(stored); j++)
            check_dots(vectors[i][0], vectors[i][1], vectors[i][2], vectors[i][3], stored[j]);
    static const long turned[][4] = {{1, 1, 1, 0}, {17, 5, 7, 3}, {64, 48, 50, 0}, {70, 33, 145, 1}, {1100, 9, 20, 2}};
    for (long i = 0; i < COUNT(turned); i++) check_transposed(turned[i][0], turned[i][1], turned[i][2], turned[i][3]);
    for (long i = 0; i < COUNT(counts); i++)
        for (long activation = SILU; activation <= RELU; activation++) check_gated_back(counts[i], activation);
    for (long i = 0; i < COUNT(norms); i++) check_rms_norm_back(norms[i][0], norms[i][1]);
    static const long backs[][7] = {{1, 1, 1, 1, 1, 1, 0},  {2, 3, 5, 17, 20, 17, 0}, {1, 2, 17, 17, 64, 0, 0},
                                    {3, 1, 30, 30, 80, 7, 0}, {2, 2, 9, 21, 16, 21, 1}, {0, 2, 3, 3, 4, 3, 0},
                                    {1, 1, 150, 70, 12, 70, 0}, {1, 1, 200, 200, 8, 90, 0}};
    for (long i = 0; i < COUNT(backs); i++) {
        const long *a = backs[i];
        check_attention_back(a[0], a[1], a[2], a[3], a[4], a[5], (int)a[6]);
    }
    check_layers(0, 1, -1, INT8 + 1);
    check_layers(1, 1, -1, INT8 + 1);
    check_layers(3, 12, 0, INT8 + 1);
    check_layers(2, 75, -1, INT8 + 1);
    check_layers(3, 40, 0, ROUNDED + 1);
    check_layers(25, 60, 5, INT8 + 1); /* in several parts */
    check_calls();
    for (long i = 0; i < COUNT(THREADS); i++)
        must(c->peak(5, THREADS[i]) == 5 * c->peak(1, 1), "peak", THREADS[i], -1, 0);
}

int main(int count, char **asked) {
    const char *between = "";
    for (int i = 0; (c = aimv2_kernels(i)); i++) {
        if (count > 1 && strcmp(c->name, asked[1])) continue;
        check_all();
        printf("%s%s", between, c->name);
        between = " ";
        fflush(stdout);
    }
    printf("\n");
    return 0;
}
