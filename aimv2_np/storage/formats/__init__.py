"""File formats that hold tensors: safetensors and MessagePack, mapped into memory and written tensor by tensor.

Here belongs what bytes mean and how numbers change their dtype; which tensors make a model, and what they are called,
belongs to `layouts` and to `storage` itself.
"""
