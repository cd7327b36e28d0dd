"""One-line faults in the CUDA sources, and the test that catches each."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.kernels.cuda import (
    test_attention,
    test_attention_back,
    test_embedding_back,
    test_encoder,
    test_gated,
    test_gated_back,
    test_large,
    test_patches,
    test_rms_norm,
    test_rms_norm_back,
)


class Fault(NamedTuple):
    """`old`, which occurs once in the source, replaced by `new`; `test(cupy, **case)` must fail."""

    file: str
    old: str
    new: str
    test: Callable[..., None]
    case: Mapping[str, Any] = MappingProxyType({})  # one of the test's own parametrisation
    quick: bool = False  # tried in every run; the others with --hypothesis-profile=long


def attention(
    way: str, dtype: str, queries: int, keys: int, d: int = 128
) -> tuple[Callable[..., None], dict[str, Any]]:
    return test_attention.test_the_ends_of_tiles, {"way": way, "dtype": dtype, "queries": queries, "keys": keys, "d": d}


TENSOR_CORES = attention("tensor cores", "float16", 63, 129)
WIDE = attention("tensor cores, 128 rows", "float16", 63, 129)
PARTLY = attention("tensor cores", "float16", 63, 129, 72)
TILES = attention("tiles", "float16", 63, 129)
PARTLY_TILES = attention("tiles", "float16", 63, 129, 72)
PRODUCTS = attention("products", "float32", 63, 129)
LONG_ROWS = attention("products", "float32", 1, 200)
PACKED = test_encoder.test_a_pack_is_its_sequences_one_by_one, {"dtype": "float16"}
BIASES = test_encoder.test_blocks_are_the_textbook, {"dtype": "float16", "changes": test_encoder.BIASES, "stack": True}
SEVERAL = test_attention.test_several_pictures_and_masks_that_forbid_all, {"dtype": "float16", "way": "tensor cores"}


def one_query(keys: int, d: int) -> tuple[Callable[..., None], dict[str, Any]]:
    return test_attention.test_one_query, {"dtype": "float16", "keys": keys, "d": d}


def rms_norm(size: int) -> tuple[Callable[..., None], dict[str, Any]]:
    return test_rms_norm.test_long_rows, {"dtype": "float16", "size": size}


HALVES = test_gated.test_halves_of_one_product, {"dtype": "float16", "size": 2816}


def activation(name: str) -> tuple[Callable[..., None], dict[str, Any]]:
    return test_gated.test_every_activation, {"name": name}


CORES, TILED, ONE = "attention_tensor_cores.cu", "attention_tiles.cu", "attention_one_query.cu"
PROBLEM = "attention_problem.cuh"

# Barriers between what was read and what is written over it, and the other way round.
BARRIERS = [
    Fault(CORES, "__syncthreads();       // and until all warps have read the keys", "", *TENSOR_CORES, quick=True),
    Fault(CORES, "__syncthreads();       // and until all warps have read the keys", "", *WIDE),
    Fault(CORES, "__syncthreads();       // and until all warps have read the values before them", "", *TENSOR_CORES),
    Fault(CORES, "__syncthreads();       // and until all warps have read the values before them", "", *WIDE),
    Fault(CORES, "wait_for_copies<0>();\n        __syncthreads();\n#pragma unroll\n        for (int m",
          "wait_for_copies<0>();\n#pragma unroll\n        for (int m", *TENSOR_CORES),
    Fault(CORES, "load_queries(q_part[m][step], m, step);\n        __syncthreads();",
          "load_queries(q_part[m][step], m, step);", *TENSOR_CORES),
    Fault(CORES, "wait_for_copies<0>();  // for the keys", "wait_for_copies<1>();", *TENSOR_CORES),
    Fault(CORES, "wait_for_copies<0>();  // for the values", "wait_for_copies<1>();", *TENSOR_CORES),
    Fault(TILED, "__syncthreads();\n        fetch", "fetch", *TILES, quick=True),
    Fault(TILED, "p.v, of_token[2], first, KEYS, p.keys, size);\n        __syncthreads();",
          "p.v, of_token[2], first, KEYS, p.keys, size);", *TILES),
    Fault(TILED, "p.k, of_token[1], first, KEYS, p.keys, size);\n        __syncthreads();",
          "p.k, of_token[1], first, KEYS, p.keys, size);", *TILES),
    Fault(TILED, "__syncthreads();\n    }\n", "}\n", *TILES),
    Fault(ONE, "    __syncthreads();\n", "", *one_query(256, 128)),
    Fault("common.cuh", "__syncthreads();", "", *rms_norm(1024)),
]  # fmt: skip

# Who takes part in an exchange between lanes, and with whom.
LANES = [
    Fault("common.cuh", "ALL_LANES = 0xffffffffu", "ALL_LANES = 0x0000ffffu", *rms_norm(1024), quick=True),
    Fault("common.cuh", "x += __shfl_xor_sync(ALL_LANES, x, step)", "x += __shfl_xor_sync(ALL_LANES, x, 1)",
          *rms_norm(1024)),
    Fault("common.cuh", "if (lane == 0) partial[warp] = x;", "if (warp == 0) partial[lane] = x;", *rms_norm(1024)),
    Fault("common.cuh", "lane < warps ? partial[lane] : 0.0f", "partial[lane]", *rms_norm(1024)),
    Fault(CORES, "max_of_lanes<4>", "max_of_lanes<2>", *TENSOR_CORES),
    Fault(CORES, "sum_of_lanes<4>", "sum_of_lanes<8>", *TENSOR_CORES),
    Fault(TILED, "max_of_lanes<COLUMN_GROUPS>", "max_of_lanes<4>", *TILES),
    Fault("softmax.cu", "largest = max_of_lanes(largest);", "", *PRODUCTS),
    Fault("softmax.cu", "for (int j = lane + KEPT * WARP; j < keys; j += WARP) largest = fmaxf(largest, a.at(j));", "",
          test_attention.test_growing_scores, {"dtype": "float32", "keys": 700, "slope": 60}),
]  # fmt: skip

# The ends of rows, tiles and grids.
TAILS = [
    Fault(CORES, "if (j >= keys)", "if (j > keys)", *TENSOR_CORES),
    Fault(CORES, "left = c * PIECE < size ? rows - first - row : 0", "left = c * PIECE < size ? ROWS : 0", *PARTLY),
    Fault(CORES, "left = c * PIECE < size ? rows - first - row : 0", "left = rows - first - row", *PARTLY),
    Fault(CORES, "if (whole && !mask) return;", "if (!mask) return;", *TENSOR_CORES),
    Fault(CORES, "if (query >= p.queries) continue;", "", *TENSOR_CORES),
    Fault(CORES, "if (column < size)", "if (column <= size)", *PARTLY),
    Fault(TILED, "if (key >= p.keys) scores", "if (key > p.keys) scores", *TILES),
    Fault(TILED, "&& column < size;", ";", *PARTLY_TILES),
    Fault(TILED, "if (start + j < size) to", "to", *PARTLY_TILES),
    Fault(ONE, "scores[u] = first + u < keys ?", "scores[u] = first + u <= keys ?", *one_query(31, 128)),
    Fault("softmax.cu", "if (row >= rows) return;", "", *PRODUCTS),
    Fault("softmax.cu", "kept[n] = j < keys ? a.at(j)", "kept[n] = j <= keys ? a.at(j)", *LONG_ROWS),
    Fault("rms_norm.cu", "if (i < size) write(", "write(", *rms_norm(1024)),
    Fault("rms_norm.cu", "again = KEPT * step", "again = (KEPT + 1) * step", *rms_norm(9001)),
]  # fmt: skip

# What is read and written 16 bytes at a time begins at a multiple of them.
ALIGNMENT = [
    Fault(CORES, "(c ^ row % 8) * PIECE", "(c ^ row % 8) * PIECE + row % 2", *TENSOR_CORES),
    Fault(TILED, "EACH = 4, PAD = 4", "EACH = 4, PAD = 3", *TILES),
    Fault("rms_norm.cu", "first = threadIdx.x * WIDTH", "first = threadIdx.x * WIDTH + (WIDTH > 1)", *rms_norm(1024)),
    Fault("gated.cu", "gate + row * gate_stride", "gate + 1 + row * gate_stride", *HALVES),
]  # fmt: skip

# Indices: which row, head, sequence or pixel; and how far they reach.
INDICES = [
    Fault(PROBLEM, "head * heads[1]", "head * heads[1] / 2", *TENSOR_CORES),
    Fault(PROBLEM, "number * batch[1]", "number * batch[0]", *SEVERAL),
    Fault(PROBLEM, "starts[item + 1] - starts[item]", "starts[item + 1]", *PACKED),
    Fault(PROBLEM, "first * tokens[2]", "first * tokens[2] / 2", *PACKED),
    Fault(PROBLEM, "mask + item * mask_batch", "mask", *SEVERAL),
    Fault(PROBLEM, "head * heads[1] + first * tokens[1]", "head * heads[1] + int(first) * int(tokens[1])",
          test_large.test_packed_attention_of_many_pictures, {"way": "tiles"}),
    Fault(CORES, "place<DIM>(lane / 16 * 8 + lane % 8, lane / 8 % 2)",
          "place<DIM>(lane / 8 % 2 * 8 + lane % 8, lane / 8 % 2)", *TENSOR_CORES),
    Fault(CORES, "(first_row + m * 16) * DIM + (down", "(m * 16) * DIM + (down", *TENSOR_CORES),
    Fault(CORES, "(first_row + m * 16) * DIM + (down", "first_row * DIM + (down", *WIDE),
    Fault(CORES, "from + (first + row) * stride", "from + row * stride", *TENSOR_CORES),
    Fault(CORES, "query * of_token[3] + column", "query * of_token[0] + column",
          test_large.test_attention_of_many_pictures, {"way": "tensor cores"}),
    Fault(TILED, "probs[(row + r) * (KEYS + PAD) + column + c * COLUMN_GROUPS] = e",
          "probs[(row + r) * (KEYS + PAD) + column * EACH + c] = e", *TILES),
    Fault(ONE, "head = blockIdx.x % heads", "head = blockIdx.x / heads", *one_query(31, 128)),
    Fault(ONE, "v += starts[item] * vn", "v += starts[item] * int(vn)", test_large.test_pooling_of_many_pictures,
          {"packed": True}),
    Fault("rms_norm.cu", "long long row = blockIdx.x", "int row = blockIdx.x", test_large.test_rms_norm_of_many_rows,
          quick=True),
    Fault("softmax.cu", "static_cast<long long>(keys)", "keys", test_large.test_softmax_of_many_scores),
    Fault("gated.cu", "up + row * up_stride", "up + int(row) * int(up_stride)", test_large.test_gated_of_many_rows),
    Fault("patches.cu", "token * static_cast<long long>(size)", "token * size",
          test_large.test_patches_of_many_pictures),
]  # fmt: skip

# What is computed: scales, signs, the order of operands.
NUMBERS = [
    Fault(CORES, "scale * LOG2_E", "scale", *TENSOR_CORES),
    Fault(CORES, "sum[r] *= factor;", "", *TENSOR_CORES),
    Fault(CORES, "scores[n][i] = lowest();", "scores[n][i] = minus_infinity();", *SEVERAL),
    Fault(CORES, "pack<T>(scores[m][n][0], scores[m][n][1])", "pack<T>(scores[m][n][1], scores[m][n][0])",
          *TENSOR_CORES),
    Fault(CORES, "(scores[m][2 * n + 1], a[m], {b[2], b[3]})", "(scores[m][2 * n + 1], a[m], {b[3], b[2]})",
          *TENSOR_CORES),
    Fault(CORES, "(scores[m][2 * n + 1], a[m], {b[2], b[3]})", "(scores[m][2 * n + 1], a[0], {b[2], b[3]})", *WIDE),
    Fault(TILED, "sum[r] *= factor;", "", *TILES),
    Fault(TILED, "scores[r][c] *= scale;", "", *TILES),
    Fault(TILED, "a[r].w * b[c].w", "a[r].w * b[c].z", *TILES),
    Fault(ONE, "sum *= factor;", "", *one_query(256, 128)),
    Fault(ONE, "total += sums[w] * expf(maxima[w] - highest)", "total += sums[w]", *one_query(256, 128)),
    Fault("softmax.cu", "scale * scores[j]", "scores[j]", *PRODUCTS),
    Fault("softmax.cu", "!mask[j]", "mask[j]", *PRODUCTS),
    Fault("rms_norm.cu", "total / size + eps", "total / size - eps",
          test_rms_norm.test_small_numbers, {"dtype": "float32", "scale": 3e-3}),
    Fault("rms_norm.cu", "        store<WIDTH>(x + i, v);\n", "", *BIASES),
    Fault("gated.cu", "ACTIVATION::of(to_float(g.at[j])) * to_float(u.at[j])",
          "ACTIVATION::of(to_float(u.at[j])) * to_float(g.at[j])", *HALVES, quick=True),
    Fault("activations.cuh", "x / (1.0f + expf(-x))", "x / (1.0f + expf(x))", *HALVES),
    Fault("activations.cuh", "0.044715f * (x * x * x)", "0.044715f * (x * x)", *activation("gelu_new")),
    Fault("activations.cuh", "x * Sigmoid::of(1.702f * x)", "x * Sigmoid::of(1.602f * x)", *activation("quick_gelu")),
    Fault("patches.cu", "i / pw % ph, k", "i / pw % pw, k", test_patches.test_patches_that_are_not_square, quick=True),
]  # fmt: skip

BACK, BY_QUERIES, BY_KEYS = "attention_back.cuh", "attention_back_queries.cu", "attention_back_keys.cu"
HEADS_OF_100: Any = (test_attention_back.test_heads_of_any_size, {"size": 100})
VIEWS: Any = (test_attention_back.test_views, {"tokens": 65})
GATED_BACK: Any = (test_gated_back.test_several_rows, {"hidden_act": "gelu"})
RMS_BACK: Any = (test_rms_norm_back.test_long_rows, {"dtype": "float16"})
ROWS_BACK: Any = (
    test_embedding_back.test_against_a_sum_over_rows, {"dtype": "float32", "count": 70, "size": 300, "rows": 3},
)  # fmt: skip

# Of the way back.
BACKWARD = [
    Fault(BACK, "&& column < size;", ";", *HEADS_OF_100),
    Fault(BACK, "place < rows && number < size", "place < rows", *HEADS_OF_100),
    Fault(BACK, "x[r].w * y[c].w", "x[r].w * y[c].z", *HEADS_OF_100),
    Fault(BY_QUERIES, "along[r] = sum_of_lanes<SIDE>(along[r]);", "", *HEADS_OF_100),
    Fault(BY_QUERIES, "if (key >= keys) scores", "if (key > keys) scores", *HEADS_OF_100),
    Fault(BY_QUERIES, "sum[r] *= expf(highest[r] - now);", "", *HEADS_OF_100),
    Fault(BY_QUERIES, "scores[r][c] = lowest();", "scores[r][c] = minus_infinity();", *VIEWS),
    Fault(BY_QUERIES, "dots<DIM>(by_probs, above, tile);\n        __syncthreads();",
          "dots<DIM>(by_probs, above, tile);", *HEADS_OF_100),
    Fault(BY_KEYS, " * inverse[place + query]", "", *HEADS_OF_100),
    Fault(BY_KEYS, " - mean[place + query]", "", *HEADS_OF_100),
    Fault(BY_KEYS, "mask += item * mask_batch;", "mask += 0;", *VIEWS),
    Fault("rms_norm_back.cu", "r * r * r", "r * r", *RMS_BACK),
    Fault("rms_norm_back.cu", "row += gridDim.x", "row += 2 * gridDim.x",
          test_rms_norm_back.test_more_rows_than_blocks),
    Fault("gated_back.cu", "ACTIVATION::slope(a)", "ACTIVATION::of(a)", *GATED_BACK),
    Fault("gated_back.cu", "g[row * stride + i]", "g[i]", *GATED_BACK),
    Fault("activations.cuh", "+ x * density(x)", "- x * density(x)", *GATED_BACK),
    Fault("embedding_back.cu", "sorted[first - 1] == number", "sorted[first - 1] > number", *ROWS_BACK),
]  # fmt: skip

FAULTS = [*BARRIERS, *LANES, *TAILS, *ALIGNMENT, *INDICES, *NUMBERS, *BACKWARD]
