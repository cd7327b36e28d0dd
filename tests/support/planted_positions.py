"""Faults of positions: name → what it is to be called, and the methods of `Port` it overrides."""

import numpy as np

from tests.support.faulty import bfloat16, embedded, of_positions, of_waves, waves
from tests.support.port import Port


def stretched(weights):
    """Rows, then columns, each by `weights(old, new)`, a matrix (new, old)."""

    def method(self, table, grid, rows, columns):
        cube = np.einsum("Rr,rcd->Rcd", weights(grid[0], rows), table.reshape(*grid, -1))
        return np.einsum("Cc,Rcd->RCd", weights(grid[1], columns), cube).reshape(rows * columns, -1).astype(table.dtype)

    return {"stretch": method}


def sampled(kernel, reach):
    """Weights of a kernel between centres; beyond the edge the last sample counts again."""

    def weights(old, new):
        result = np.zeros((new, old))
        for i in range(new):
            x = (i + 0.5) * old / new - 0.5
            for j in range(int(np.floor(x)) - reach + 1, int(np.floor(x)) + reach + 1):
                result[i, min(max(j, 0), old - 1)] += kernel(abs(x - j))
        return result / result.sum(1, keepdims=True)

    return weights


def mitchell(s):
    return (7 * s**3 - 12 * s**2 + 16 / 3) / 6 if s < 1 else (-7 / 3 * s**3 + 12 * s**2 - 20 * s + 32 / 3) / 6


def areas(old, new):
    """Adaptive average pooling."""
    result = np.zeros((new, old))
    for i in range(new):
        first, last = i * old // new, -(-(i + 1) * old // new)
        result[i, first:last] = 1 / (last - first)
    return result


def along_tokens(self, table, grid, rows, columns):
    x = np.clip((np.arange(rows * columns) + 0.5) * len(table) / (rows * columns) - 0.5, 0, len(table) - 1)
    low = np.minimum(np.floor(x).astype(int), len(table) - 2)
    part = (x - low)[:, None].astype(table.dtype)
    return (1 - part) * table[low] + part * table[low + 1]


def sequence(rows, columns, size):
    angles = np.arange(rows * columns)[:, None] * 10000.0 ** (-np.arange(size // 2) / (size // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def of_square(rows, columns, size):
    side = int(np.ceil((rows * columns) ** 0.5))
    return waves(side, side, size)[: rows * columns]


def narrow_waves(narrow):
    def positions(rows, columns, size):
        omega = narrow((10000.0 ** (-np.arange(size // 4) / (size // 4))).astype(np.float32)).astype(np.float64)
        row, column = (np.ravel(axis)[:, None] * omega for axis in np.indices((rows, columns)))
        return np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], axis=1)

    return of_positions(positions)


# fmt: off
EITHER = {
    "positions halved": ("positions_scaled", embedded(lambda x, p: x + p / 2)),
    "positions by √D": ("positions_scaled", embedded(lambda x, p: x + p / np.float32(p.shape[1] ** 0.5))),
    "channels reversed": ("positions_channels", embedded(lambda x, p: x + p[:, ::-1])),
    "first position for all": ("positions_shifted", embedded(lambda x, p: x + p[:1])),
}
LEARNED = {"halves exchanged": ("positions_channels", embedded(lambda x, p: x + np.roll(p, p.shape[1] // 2, 1)))}
NATIVE = {
    "waves of one row": ("positions_1d", of_positions(sequence)),
    "square grid": ("positions_transposed", of_positions(of_square)),
    "frequencies in float16": ("positions_rounded", narrow_waves(np.float16)),
    "frequencies in bfloat16": ("positions_rounded", narrow_waves(bfloat16)),
    "base 1e6": ("positions_base", of_waves(base=1e6)),
    "step 1/2": ("positions_step", of_waves(step=0.5)),
}
STRETCHES = {
    "Mitchell": ("wrong_interpolation", stretched(sampled(mitchell, 2))),
    "Lanczos": ("wrong_interpolation", stretched(sampled(lambda s: np.sinc(s) * np.sinc(s / 3), 3))),
    "a = -1": ("wrong_interpolation", stretched(sampled(lambda s: Port.cubic(s, -1.0), 2))),
    "area": ("wrong_interpolation", stretched(areas)),
    "along the tokens": ("wrong_interpolation", {"stretch": along_tokens}),
    "tiled": ("positions_sliced", {
        "stretch": lambda self, table, grid, r, c: (
            np.tile(table.reshape(*grid, -1), (2, 2, 1))[:r, :c].reshape(r * c, -1)
        )
    }),
    "tiled by rows": ("positions_sliced", {"stretch": lambda self, table, grid, r, c: np.tile(table, (9, 1))[: r * c]}),
    "padded with zeros": ("positions_sliced", {
        "stretch": lambda self, table, grid, r, c: (
            np.pad(table.reshape(*grid, -1), [(0, r - grid[0]), (0, c - grid[1]), (0, 0)]).reshape(r * c, -1)
        )
    }),
}
TEXTS = {
    "positions halved": ("positions_scaled", {
        "token_positions": lambda self, table, ids, padding: table[: ids.shape[1]] / 2
    }),
}
# fmt: on
