"""An ONNX graph, run by ONNX Runtime with its intermediate tensors exposed as outputs."""

import json
import os
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from aimv2_np.recording.adapters.onnx_graph import module_outputs
from aimv2_np.recording.recording import Recording
from aimv2_np.recording.writer import RecordingWriter, WriterOptions

# The domain of ONNX Runtime's own convolutions, whose channels lie in blocks: no other program reads these arrays.
BLOCKED = "com.microsoft.nchwc"
AT_A_TIME = 32  # outputs that are fetched by one run of the graph: bounds the memory, and each run costs a forward


def record_onnx(
    model: Any,
    inputs: Mapping[str, Any],
    path: str | os.PathLike[str],
    include: str | Iterable[str] = "*",
    quantised_from: str | os.PathLike[str] | None = None,
    **options: Unpack[WriterOptions],
) -> Recording:
    """Run an ONNX model and write the floating-point tensors of its graph to `path`, by their names in the graph.

    Exporters name a tensor after its module and operator, `/encoder/layers.0/ffn/down_proj/MatMul_output_0`, all but
    the graph's outputs, which have names of their own. From a file, these are recorded under both, and the recording
    says which tensor is the output of which module: the last one that leaves it. For graphs of the newer exporter
    (`dynamo=True`), whose tensors have names such as `linear_3`, that is all that tells what they are.

    Args:
        model: the path of an .onnx file, all of whose tensors are exposed (this needs the `onnx` package); or an
            `onnxruntime.InferenceSession`, whose outputs are recorded.
        inputs: input of the graph → array; floats are brought to the dtype that the graph expects.
        path: the safetensors file to write.
        include: a glob or several; only matching names are recorded, and computed.
        quantised_from: the .onnx file that a quantiser made `model` of. It keeps the names of tensors, and loses which
            modules they are of where the newer exporter wrote that: then this file tells.
        options: statistics, whole, slices, overwrite and metadata of `RecordingWriter`.

    Raises:
        ImportError: onnxruntime (or onnx, for a path) is not installed.
        FileNotFoundError: there is no such model.
        ValueError: inputs that the graph does not have, or no name matches `include`.
        FileExistsError: `path` is there and `overwrite` is not set.
    """
    session, outputs, second = _expose(Path(model)) if isinstance(model, str | os.PathLike) else (model, {}, {})
    arrays = _inputs(session, inputs)
    with RecordingWriter(path, source="onnxruntime", include=include, **options) as writer:
        versions = {"onnxruntime": import_module("onnxruntime").__version__}
        writer.metadata = {"backend": "onnxruntime", "versions": json.dumps(versions)} | writer.metadata
        for name, array in arrays.items():
            writer.add_input(name, array)
        floats = _floats(session)
        if quantised_from is not None:
            graph = _load(Path(quantised_from)).graph
            outputs = module_outputs(graph.node, [out.name for out in graph.output], floats)
        named = {name: _names(writer, name, second, outputs) for name in floats}
        names = [name for name in floats if named[name]]
        for start in range(0, len(names), AT_A_TIME):
            group = names[start : start + AT_A_TIME]
            for name, array in zip(group, session.run(group, arrays), strict=True):
                for recorded in named[name]:
                    writer.add(recorded, array)
        modules = {module: value for module, value in outputs.items() if value in writer.order}
        if modules:
            writer.metadata["modules"] = json.dumps(modules)
    return Recording.load(path)


def _names(writer: RecordingWriter, name: str, second: Mapping[str, str], outputs: Mapping[str, str]) -> list[str]:
    """The names under which a tensor is recorded: its own, where they are wanted, else those of modules that are."""
    own = [one for one in dict.fromkeys((second.get(name, name), name)) if writer.wants(one)]
    return own or [module for module, value in outputs.items() if value == name and writer.wants(module)]


def _floats(session: Any) -> list[str]:
    return [out.name for out in session.get_outputs() if "float" in out.type or "double" in out.type]


def _load(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; expected an .onnx model")
    try:
        return import_module("onnx").load(str(path), load_external_data=False)
    except ImportError as error:
        raise ImportError(f"recording an ONNX file needs onnx and onnxruntime: pip install both ({error})") from error


def _expose(path: Path) -> tuple[Any, dict[str, str], dict[str, str]]:
    """A session of the graph in a file with every node's outputs added to its outputs, in order of execution.

    And which of them is the output of which module; and the second names of what were outputs before, by the node that
    computes them.
    """
    graph = _load(path)
    onnx, onnxruntime = import_module("onnx"), import_module("onnxruntime")
    final = {out.name: out for out in graph.graph.output}
    second = {}
    del graph.graph.output[:]
    for node in graph.graph.node:
        for i, name in enumerate(node.output):
            if name and node.op_type != "Constant" and (node.domain != BLOCKED or node.op_type == "ReorderOutput"):
                graph.graph.output.append(final.get(name) or onnx.ValueInfoProto(name=name))
            if name in final and node.name.startswith("/"):
                second[name] = f"{node.name}_output_{i}"
    settings = onnxruntime.SessionOptions()
    # As written: a fused node has no intermediate tensors.
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 3
    settings.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent.absolute())
    )
    providers = onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(graph.SerializeToString(), settings, providers=providers)
    return session, module_outputs(graph.graph.node, final, _floats(session)), second


def _inputs(session: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    wanted = {node.name: node.type for node in session.get_inputs()}
    if wanted.keys() != inputs.keys():
        raise ValueError(f"inputs are {', '.join(sorted(inputs))}; the graph expects {', '.join(sorted(wanted))}")
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    return {
        name: array.astype(kinds.get(wanted[name], array.dtype), copy=False) if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }
