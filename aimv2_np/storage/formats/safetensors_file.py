"""One safetensors file, mapped into memory: tensors are used where they lie."""

from typing import BinaryIO

from aimv2_np.storage.formats.header import TensorEntry, read_header
from aimv2_np.storage.formats.mapped import MappedFile


class SafetensorsFile(MappedFile):
    """The tensors of one safetensors file; see `MappedFile`."""

    def _read_places(self, file: BinaryIO) -> tuple[dict[str, TensorEntry], dict[str, str]]:
        return read_header(file, self.path)
