"""Layers are imported under jaxtyping's hook: every call in every test is checked against its shape annotations."""

from hypothesis import settings
from jaxtyping import install_import_hook

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=4000)
settings.load_profile("default")

with install_import_hook(["aimv2_np.layers"], "beartype.beartype"):
    import aimv2_np  # noqa: F401
