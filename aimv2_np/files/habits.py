"""What people who come from Transformers pass to `from_pretrained`: it works where it means something here."""

from collections.abc import Mapping
from typing import Any, Final

# A keyword of Transformers → the values of it that change nothing here (None: any), and what to do otherwise.
KEYWORDS: Final[dict[str, tuple[tuple[Any, ...] | None, str]]] = {
    "device_map": ((None, "cpu"), "pass backend='cupy' for a GPU, and device= for its number"),
    "attn_implementation": ((None, "eager"), "leave it out: attention is what Transformers calls 'eager'"),
    "trust_remote_code": (None, ""),  # no code out of a checkpoint is ever run
    "use_safetensors": ((None, True), "leave it out: files that Python would have to unpickle are never read"),
    "low_cpu_mem_usage": (None, ""),  # weights are mapped
    "use_fast": (None, ""),  # there is one tokenizer, and one image processor
    "output_loading_info": ((None, False), "leave it out: tensors that are missing or left over are an error"),
    "quantization_config": ((None,), "leave it out: there are no quantised weights here; float16 is the smallest"),
    "load_in_8bit": ((None, False), "leave it out: there are no quantised weights here; float16 is the smallest"),
    "load_in_4bit": ((None, False), "leave it out: there are no quantised weights here; float16 is the smallest"),
}


def familiar(options: dict[str, Any]) -> dict[str, Any]:
    """The options as they are called here: `torch_dtype` as `dtype`, dtypes of NumPy and PyTorch by their names.

    Raises TypeError for a keyword of `KEYWORDS` whose value would mean something.
    """
    options = dict(options)
    if "torch_dtype" in options:
        options["dtype"] = options.pop("torch_dtype")
    if "dtype" in options:
        options["dtype"] = dtype_name(options["dtype"])
    for name in [name for name in KEYWORDS if name in options]:
        value, (harmless, advice) = options.pop(name), KEYWORDS[name]
        if harmless is not None and not any(value is each or value == each for each in harmless):
            raise TypeError(f"{name} is {value!r:.60}, an option of Transformers'; {advice}")
    return options


def known_options(options: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The options as `familiar` names them; TypeError for one that is no key of the TypedDict `kind`."""
    known = familiar(dict(options))
    if unknown := sorted(known.keys() - kind.__annotations__.keys()):
        raise TypeError(f"an option is {unknown[0]!r}; expected one of {', '.join(kind.__annotations__)}")
    return known


def dtype_name(dtype: Any) -> Any:
    """`numpy.float16`, `numpy.dtype("float16")` and `torch.float16` as "float16"; None as "float32".

    "auto", the dtype that the weights are stored in elsewhere, is refused: what is stored in bfloat16 has no such in
    NumPy. What is no dtype is returned as it is, for others to complain of.
    """
    if dtype is None:
        return "float32"
    if isinstance(dtype, str):
        if dtype == "auto":
            raise ValueError("dtype is 'auto'; expected a name: 'float32' holds every checkpoint's numbers exactly")
        return dtype.removeprefix("torch.")
    name = getattr(dtype, "__name__", None) or getattr(dtype, "name", None) or str(dtype)
    return str(name).removeprefix("torch.") if "float" in str(name) else dtype
