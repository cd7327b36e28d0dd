"""File formats that hold tensors: safetensors and MessagePack, mapped into memory or written tensor by tensor."""
