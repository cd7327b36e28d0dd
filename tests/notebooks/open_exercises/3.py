with trace(vision) as seen:
    vision(processor(images=[sample.picture for sample in samples])["pixel_values"])
bits = []
for i in range(4):
    a = seen[f"encoder.layers.{i}.attention.probs"].astype(np.float64)  # (8, 4, 64, 64)
    bits.append(-(a * np.log2(np.maximum(a, 1e-300))).sum(axis=-1).mean())
answer = f"{max(bits):.1f}"
