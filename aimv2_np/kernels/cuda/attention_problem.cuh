// Where the queries, keys and values of one head of one sequence lie.
#pragma once

// q, k, v, out: (batch, heads, tokens, size) with any strides but the last, which is 1.
// starts: null, or where each of `batch` sequences begins in one packed row of tokens, and behind them where the last ends.
template <class T>
struct Problem {
    T* out;
    const T *q, *k, *v;
    const unsigned char* mask;
    int queries, keys;

    __device__ __forceinline__ Problem(T* out, const T* q, const T* k, const T* v, const unsigned char* mask,
                                       const int* starts, int queries, int keys, int item, int head,
                                       const long long (&batch)[4], const long long (&heads)[4],
                                       const long long (&tokens)[4], long long mask_batch)
        : out(out), q(q), k(k), v(v), mask(mask ? mask + item * mask_batch : nullptr), queries(queries), keys(keys) {
        long long first = starts ? starts[item] : 0, number = starts ? 0 : item;
        if (starts) this->queries = this->keys = starts[item + 1] - starts[item];
        this->q += number * batch[0] + head * heads[0] + first * tokens[0];
        this->k += number * batch[1] + head * heads[1] + first * tokens[1];
        this->v += number * batch[2] + head * heads[2] + first * tokens[2];
        this->out += number * batch[3] + head * heads[3] + first * tokens[3];
    }
};

// The strides of q, k, v, out, in elements, as a kernel's parameters, and as arrays of four.
#define STRIDES                                                                                                   \
    long long qb, long long kb, long long vb, long long ob, long long qh, long long kh, long long vh,            \
        long long oh, long long qn, long long kn, long long vn, long long on
#define GATHER_STRIDES \
    const long long of_batch[4] = {qb, kb, vb, ob}, of_head[4] = {qh, kh, vh, oh}, of_token[4] = {qn, kn, vn, on}
