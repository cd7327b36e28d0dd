"""`python -m tests.tools.draw_explain_figures` draws the figures of docs/explain.md with the embedded model.

Needs the extra `viz`.
"""

from pathlib import Path

from aimv2_np import Aimv2Model, Aimv2Processor, Aimv2VisionConfig, Aimv2VisionModel, viz
from aimv2_np.data import sample_pictures, tiny_model_path

FOLDER = Path(__file__).parents[2] / "docs" / "explain"
CAPTIONS = ("a large blue star right of a large cyan square", "a large red circle")
PARTS = ("a blue star", "a cyan square", "a red circle")
STAR = (1, 5)  # a patch of the star in the sixth sample picture


def drawings() -> dict[str, viz.Drawing]:
    """Every figure of the page by its name."""
    model, processor = (kind.from_pretrained(tiny_model_path()) for kind in (Aimv2Model, Aimv2Processor))
    pictures = [sample.picture for sample in sample_pictures()]
    picture = pictures[5]
    native = Aimv2VisionModel(Aimv2VisionConfig(
        hidden_size=128, intermediate_size=128, num_hidden_layers=1, num_attention_heads=1, is_native=True,
    ))  # fmt: skip
    return {
        "sheet": viz.draw_explanation(model, processor, picture, CAPTIONS, STAR),
        "attention": viz.draw_patch_attention(model, processor, picture, STAR),
        "rollout": viz.draw_attention_rollout(model, processor, picture, STAR),
        "text": viz.draw_text_attention(model, processor, CAPTIONS[0], head=0),
        "colors": viz.draw_patch_colors(model, processor, pictures[5:7]),
        "similarity": viz.draw_patch_similarity(model, processor, picture, STAR),
        "contributions": viz.draw_caption_contributions(model, processor, picture, PARTS),
        "positions": viz.draw_position_similarity(model),
        "waves": viz.draw_position_waves(native, (16, 32)),
        "residual": viz.draw_residual_stream(model, processor, picture),
        "lens": viz.draw_lens(model, processor, picture, [sample.caption for sample in sample_pictures()[4:]]),
    }


if __name__ == "__main__":
    for name, drawing in drawings().items():
        viz.save_png(drawing, FOLDER / f"{name}.png", overwrite=True)
