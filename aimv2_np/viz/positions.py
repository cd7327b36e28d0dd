"""The position vectors of patches, learned or made of sines and cosines, and how alike they are.

Similarity maps of learned positions: Dosovitskiy et al. 2020 (arXiv:2010.11929), fig. 7, centre. The waves of native
models: `aimv2_np.network.positions.sincos_positions`.
"""

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import to_numpy, widen
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.shapes import NDArray
from aimv2_np.viz.atlas import spread
from aimv2_np.viz.drawing import COSINES, LARGE, MAP, SMALL, Drawing, color_scale, need_matplotlib, panels
from aimv2_np.viz.towers import VisionModel, vision_tower_of

SHOWN = 8  # positions along each axis whose maps are drawn


@own_arithmetic()
def position_vectors(model: VisionModel, grid: tuple[int, int] | None = None) -> NDArray:
    """The position vectors of a grid (rows, columns), by default the model's own: (rows, columns, D).

    A learned table is stretched to another grid, as the model does when it is asked to. ValueError for a grid without
    a patch.
    """
    tower = vision_tower_of(model)
    rows, columns = grid or tower.config.grid
    if rows < 1 or columns < 1:
        raise ValueError(f"grid is {rows} x {columns} patches; expected at least one patch")
    return to_numpy(widen(tower.embeddings.positions((rows, columns)))).reshape(rows, columns, -1)


@own_arithmetic()
def position_similarity(model: VisionModel, grid: tuple[int, int] | None = None) -> NDArray:
    """The cosine of every position with every other: (rows, columns, rows, columns); grid as for `position_vectors`."""
    table = position_vectors(model, grid)
    unit = to_numpy(l2_normalize(table.reshape(-1, table.shape[2])))
    cosines: NDArray = (unit @ unit.T).reshape(*table.shape[:2], *table.shape[:2])
    return cosines


@own_arithmetic()
def draw_position_similarity(model: VisionModel, grid: tuple[int, int] | None = None) -> Drawing:
    """A map for each position (of large grids for 8 x 8 of them): how alike all positions are to it.

    Small maps stand where their positions stand. The array is (rows, columns, rows, columns).
    """
    need_matplotlib()
    cosines = position_similarity(model, grid)
    rows, columns = (spread(size, SHOWN) for size in cosines.shape[:2])
    aspect = cosines.shape[0] / cosines.shape[1]
    figure, axes = panels(len(rows) * len(columns), aspect, columns=len(columns), side=0.8)
    width, height = 0.75 * len(columns) * min(1, 1 / aspect), 0.75 * len(rows) * min(1, aspect)
    figure.set_size_inches(max(3.0, width) + 1.1, max(2.0, height) + 0.6)
    low = float(cosines.min())
    for ax, (r, c) in zip(axes, ((r, c) for r in rows for c in columns), strict=True):
        image = ax.imshow(cosines[r, c], cmap=COSINES, vmin=low, vmax=1, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        if c == columns[0]:
            ax.set_ylabel(f"{r}", fontsize=SMALL, rotation=0, ha="right", va="center")
        if r == rows[-1]:
            ax.set_xlabel(f"{c}", fontsize=SMALL)
    figure.supxlabel("column of the patch", fontsize=SMALL + 1)
    figure.supylabel("row of the patch", fontsize=SMALL + 1)
    color_scale(figure, image, axes, "cosine of positions")
    return Drawing(cosines, figure)


@own_arithmetic()
def draw_position_waves(model: VisionModel, grid: tuple[int, int] | None = None) -> Drawing:
    """The four parts of a native model's positions: sines and cosines of the column, then of the row.

    A line of an image is one number of the vector, from the fastest wave at the top to the slowest. The array is
    (rows, columns, D); ValueError for a model with a learned table.
    """
    need_matplotlib()
    if vision_tower_of(model).embeddings.position_embedding is not None:
        raise ValueError(
            "model has a learned table of positions; expected a native model, whose positions are waves; "
            "draw_position_similarity shows tables"
        )
    table = position_vectors(model, grid)
    quarter = table.shape[2] // 4
    figure, axes = panels(4, columns=2, side=2.8)
    parts = (("sin(c·ω)", "column c"), ("cos(c·ω)", "column c"), ("sin(r·ω)", "row r"), ("cos(r·ω)", "row r"))
    for i, (ax, (title, along)) in enumerate(zip(axes, parts, strict=True)):
        wave = (table[0] if i < 2 else table[:, 0])[:, i * quarter : (i + 1) * quarter]  # (columns or rows, D/4)
        edges = (-0.5, len(wave) - 0.5, (i + 1) * quarter - 0.5, i * quarter - 0.5)
        image = ax.imshow(wave.T, cmap=MAP, vmin=-1, vmax=1, aspect="auto", extent=edges, interpolation="nearest")
        ax.set_title(title, fontsize=LARGE)
        ax.set_xlabel(along, fontsize=SMALL)
        ax.set_ylabel("number of the vector", fontsize=SMALL)
        ax.tick_params(labelsize=SMALL)
    color_scale(figure, image, axes, "value")
    return Drawing(table, figure)
