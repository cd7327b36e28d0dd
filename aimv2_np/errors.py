"""The one exception type of our own."""


class CheckpointError(ValueError):
    """A file exists but does not fit: corrupt, of another layout, or with tensors the configuration does not expect."""
