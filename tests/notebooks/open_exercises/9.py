from aimv2_np.data.world import COLORS, SHAPES

said = [f"a small {color} {shape}" for color in COLORS for shape in SHAPES]
texts = processor(text=said, padding=True)


def winner(levels):
    moved = pixels - levels * np.sign(by_pixel) * level
    return said[model(pixel_values=moved, **texts).logits_per_image[0].argmax()]


assert winner(0) == "a small red circle"
answer = str(next(levels for levels in range(1, 50) if winner(levels) != winner(0)))
