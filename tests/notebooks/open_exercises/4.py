x = activations["embeddings"]
for layer in vision.encoder.layers:
    x = x + layer.attention(layer.rms_norm1(x))
    hidden = layer.ffn.gate_proj(layer.rms_norm2(x))
    x = x + layer.ffn.down_proj(np.maximum(hidden, 0) * layer.ffn.up_proj(layer.rms_norm2(x)))
answer = f"{np.linalg.norm(vision.rms_norm(x) - activations['rms_norm']) / np.linalg.norm(activations['rms_norm']):.2f}"
