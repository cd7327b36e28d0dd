"""`python -m tests.tools.write_parameters` writes the table of parameters in docs/equations.md, counted on models."""

import re
from pathlib import Path
from typing import Any

from aimv2_np import Aimv2TextConfig, Aimv2TextModel, Aimv2VisionModel
from aimv2_np.bench.flops import products, total_flops
from aimv2_np.bench.models import configuration

PAGE = Path(__file__).parents[2] / "docs" / "equations.md"
TABLE = re.compile(r"(\| \| large \| huge .*\n\|[-:|]+\|\n)((?:\|.*\n)*)")
SIZES = ("large", "huge", "1B", "3B")


def gflop(config: Any, given: dict[str, Any]) -> str:
    return f"{total_flops(products(config, given, 1)) / 1e9:,.0f}"


def column_of_a_size(size: str) -> list[str]:
    """The cells of a vision tower, from top to bottom."""
    configs = {pixels: configuration(f"{size}-{pixels}") for pixels in (224, 336, 448)}
    models = {pixels: Aimv2VisionModel.skeleton(config) for pixels, config in configs.items()}
    config, model = configs[224], models[224]
    block = model.encoder.layers[0]
    embeddings = model.embeddings
    counts = [
        config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads,
        embeddings.patch_embed.num_parameters() + embeddings.rms_norm.num_parameters(),
        *(it.embeddings.position_embedding.num_parameters() for it in models.values()),
        block.attention.num_parameters(), block.ffn.num_parameters(), block.num_parameters(),
        *(it.num_parameters() for it in models.values()),
    ]  # fmt: skip
    return [f"{it:,}" for it in counts] + [gflop(config, {"kind": "pictures", "height": 224, "width": 224})]


def column_of_the_text_tower() -> list[str]:
    config = Aimv2TextConfig()
    model = Aimv2TextModel.skeleton(config)
    block, tables = model.encoder.layers[0], model.embeddings
    counts = [
        config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads,
        tables.token_embedding.num_parameters(), tables.position_embedding.num_parameters(), "", "",
        block.attention.num_parameters(), block.ffn.num_parameters(), block.num_parameters(),
        model.num_parameters(), "", "",
    ]  # fmt: skip
    cells = [f"{it:,}" if it != "" else "" for it in counts]
    return [*cells, gflop(config, {"kind": "texts", "tokens": config.max_position_embeddings})]


ROWS = (
    "blocks $K$", "hidden size $D$", "intermediate size $F$", "heads $H$",
    "patches and norm (2, 3); text: tokens (15)",
    "positions, 224 pixels; text: 77 tokens", "… 336 pixels", "… 448 pixels",
    "attention of a block (10)", "ffn of a block (11)", "a block (7), norms included",
    "**all, 224 pixels; text**", "all, 336 pixels", "all, 448 pixels",
    "GFLOP",
)  # fmt: skip


def table() -> str:
    """The rows of the table as they should be."""
    columns = [*map(column_of_a_size, SIZES), column_of_the_text_tower()]
    return "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in zip(ROWS, *columns, strict=True))


def page(text: str) -> str:
    """The page with the table as it should be."""
    return TABLE.sub(lambda match: match[1] + table(), text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
