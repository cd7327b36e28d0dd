"""Products in int8, by ONNX Runtime's own quantiser."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from aimv2_np.files.atomic import refuse_existing

# What says that a graph is ready for the quantiser, which else advises to make it so.
READY = {"onnx.quant.pre_process": "onnxruntime.quant"}


def require() -> None:
    """ImportError where there is no quantiser."""
    if find_spec("onnxruntime") is None:
        raise ImportError("int8 needs onnxruntime, which is not installed: pip install 'aimv2-np[onnx]'")


def quantised(write: Callable[[Path], None], path: Path, overwrite: bool) -> None:
    """Have a float32 graph written and make `path` of it, whose products with weights are in int8.

    A weight has a factor for each of its outputs; what it is multiplied with is rounded to uint8 as it comes, a factor
    and a zero point for all. The weights keep to seven bits: processors without VNNI add products up in pairs in 16
    bits, where those of eight bits overflow, without a word.

    Args:
        write: writes the float32 graph to the path it is given, and its weights beside it where they are large.
        path: the file to write; `<path>.data` is a second one where the float32 graph has it.
        overwrite: replace files that are there.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:100]}.") as folder:
        whole, narrow = Path(folder, "float32", path.name), Path(folder, "int8", path.name)
        for file in (whole, narrow):
            file.parent.mkdir()
        write(whole)
        beside = whole.with_name(f"{whole.name}.data").exists()
        quantize_dynamic(
            whole, narrow, op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True,
            weight_type=QuantType.QInt8, use_external_data_format=beside,
        )  # fmt: skip
        made = sorted(narrow.parent.iterdir(), reverse=True)  # the graph last: it is whole when it is there
        for file in made:
            refuse_existing(path.with_name(file.name), overwrite)
        for file in made:
            file.replace(path.with_name(file.name))
