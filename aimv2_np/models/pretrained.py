"""`PretrainedModel`, the base of the three models: new ones, loading from a checkpoint, and saving."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, Unpack, overload
from zlib import crc32

import numpy as np

from aimv2_np import storage
from aimv2_np.backends.arrays import check_backend
from aimv2_np.config import CONFIG_FILE, Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig, warn_unknown
from aimv2_np.config.base import naming_file
from aimv2_np.errors import a_type
from aimv2_np.files.atomic import atomic_write, make_folder
from aimv2_np.files.habits import known_options
from aimv2_np.files.hub import HubOptions
from aimv2_np.files.json import json_bytes
from aimv2_np.models.loading import fill
from aimv2_np.models.options import ModelOptions, Progress
from aimv2_np.models.outputs import ModelOutput
from aimv2_np.models.running import running
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module, Parameter
from aimv2_np.tree.trace import trace

T = TypeVar("T")
AnyConfig = Aimv2Config | Aimv2VisionConfig | Aimv2TextConfig
Config = TypeVar("Config", Aimv2Config, Aimv2VisionConfig, Aimv2TextConfig)
Network = TypeVar("Network", bound=Module)
Output = TypeVar("Output", bound=ModelOutput)
M = TypeVar("M", bound="AnyModel")


class NetworkPart(Generic[T]):
    """An attribute of a model that is the attribute of that name of its network."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, model: "AnyModel", owner: type) -> T:
        return getattr(model.network, self.name)  # type: ignore[no-any-return]

    def __set__(self, model: "AnyModel", value: T) -> None:
        setattr(model.network, self.name, value)


class TowerPart(Generic[M]):
    """An attribute of a two-tower model: one of its network's towers as a model of its own; arrays are shared.

    Args:
        kind: the tower's class.
        config: the name of its configuration in that of the two-tower model.
    """

    def __init__(self, kind: type[M], config: str) -> None:
        self.kind, self.config = kind, config

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, model: "AnyModel", owner: type) -> M:
        network, known = getattr(model.network, self.name), vars(model).get(self.name)
        if known is None or known.network is not network:
            known = vars(model)[self.name] = self.kind.around(getattr(model.config, self.config), network)
        return known

    def __set__(self, model: "AnyModel", tower: M) -> None:
        setattr(model.network, self.name, tower.network)
        vars(model)[self.name] = tower


@dataclass(init=False, repr=False, eq=False)
class PretrainedModel(Module, Generic[Config, Network, Output]):
    """A network with its configuration. Calling it checks the input, runs the network, and checks the output.

    The paths of its modules and arrays are those of the network, which are the checkpoint's.

    Args:
        config: the model's configuration; None for the defaults.
        seed: of the random weights: matrices, tables and `cls_token` from normal(0, `initializer_range`²), biases zero,
            gains one, as Transformers does. Unlike there, `logit_scale` starts at `logit_scale_init_value`, and the two
            projections use the `initializer_range` of their tower. An array depends on the seed and its own path only.
    """

    config: Config
    network: Network
    # (folder or id, revision), and `prefix` and `final_norm` in a dictionary if given; None if not loaded
    origin: tuple[Any, ...] | None
    left_aside: storage.LeftAside  # name → other arrays of its checkpoint; empty if it was not loaded
    config_class: ClassVar[type[Any]]  # of the configuration
    transparent = "network"

    def __init__(self, config: Config | None = None, seed: int = 0) -> None:
        config = self.config_class() if config is None else config
        if not isinstance(config, self.config_class):
            raise TypeError(
                f"config is {a_type(config)}; expected an {self.config_class.__name__} for {type(self).__name__}"
            )
        filled = self.skeleton(config).map(lambda path, parameter: initial(path, parameter, seed))
        vars(self).update(vars(filled))

    @classmethod
    def around(cls, config: Config, network: Network) -> Self:
        """The model with this configuration and network; arrays are shared."""
        model = cls.__new__(cls)
        model.config, model.network, model.origin = config, network, None
        model.left_aside = storage.LeftAside()
        return model

    @classmethod
    def skeleton(cls, config: Config) -> Self:
        """The model that `config` describes, with a Parameter in the place of every array."""
        return cls.around(config, cls._skeleton(config))

    def map(self, function: Callable[[str, Array], Array], prefix: str = "") -> Self:
        """This model with other arrays: `function(path, array)` in the place of each."""
        return self._with(self.network.map(function, prefix))

    def __copy__(self) -> Self:
        """A model with a network of its own whose parts are shared."""
        return self._with(copy.copy(self.network))

    def _with(self, network: Network) -> Self:
        model = self.around(self.config, network)
        model.origin = self.origin
        return model

    @classmethod
    def _skeleton(cls, config: Config) -> Network:
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Output:
        """Check the input, run the network, and check that the output is finite."""
        raise NotImplementedError

    @overload
    def __call__(self, /, *args: Any, return_dict: Literal[True] = True, **kwargs: Any) -> Output: ...

    @overload
    def __call__(self, /, *args: Any, return_dict: Literal[False], **kwargs: Any) -> tuple[Any, ...]: ...

    @running
    def __call__(self, /, *args: Any, return_dict: bool = True, **kwargs: Any) -> Output | tuple[Any, ...]:
        """Run `forward` with these arguments on the model's device; a trace sees the network's modules.

        `return_dict=False` returns a tuple of the output's values, in which the towers' outputs are tuples too.
        """
        output = self.forward(*args, **kwargs)
        return output if return_dict else output.to_tuple()

    @classmethod
    def from_pretrained(cls, path_or_hub_id: str | PathLike[str], **options: Unpack[ModelOptions]) -> Self:
        """The model in a folder, or of an id on the Hugging Face hub.

        float32 weights are not copied: they stay in the memory-mapped file, so keep it in place while the model lives.

        Args:
            path_or_hub_id: a folder with `config.json` and weights, in any of the layouts of docs/layouts.md, or an id
                such as `"apple/aimv2-large-patch14-224-lit"`. One tower can be loaded out of a two-tower checkpoint.
            backend: where the arrays live, `"numpy"` or `"cupy"`.
            dtype: what the model computes in: `"float32"`, `"float64"`, `"float16"` or, with CuPy, `"bfloat16"`.
            device: with CuPy the number of a GPU; None for the current one.
            progress: called with how many bytes of weights are in place, and of how many.
            prefix: what the model's names begin with, where the checkpoint holds several AIMv2. One alone is found
                wherever it is; what is beside it is in `left_aside`.
            final_norm: False to leave out the vision tower's last norm, as some loaders of others do (docs/layouts.md).
            revision, cache_dir, token, local_files_only: as in huggingface_hub.

        Raises:
            TypeError: an option of another name.
            FileNotFoundError: no such folder, or no configuration or weights in it.
            CheckpointError: files that do not fit: corrupt, or with missing, unexpected or wrongly shaped tensors.
            ValueError: an unknown backend, dtype or device, or a configuration that makes no sense.
            ImportError, RuntimeError: CuPy, or the driver or GPU that it needs, is missing; says what to do.
            MemoryError: the GPU has no room for the weights.
            OSError: a download failed: huggingface_hub's own types where it has one (`GatedRepoError`,
                `RevisionNotFoundError`, ...), ConnectionError where the connection broke; each says what to do.
        """
        return load_as(lambda _: cls, path_or_hub_id, **options)

    @classmethod
    def from_source(
        cls,
        source: storage.Source,
        backend: str = "numpy",
        dtype: str = "float32",
        device: int | None = None,
        progress: Progress | None = None,
        final_norm: bool = True,
    ) -> Self:
        """The model in a folder that `storage.open_source` has opened; options and errors as for `from_pretrained`."""
        check_backend(backend, dtype, device)
        if not isinstance(final_norm, bool):
            raise TypeError(f"final_norm is {final_norm!r:.60}; expected True or False")
        with naming_file(source.folder):
            config = cls.config_class.from_dict(source.values)
            skeleton = cls.skeleton(config if final_norm else without_final_norm(config))
        warn_unknown(skeleton.config.all_extra(), source.folder)
        stored = storage.match({path: p.shape for path, p in skeleton.state_dict().items()}, source.tensors)
        model = fill(skeleton, source.tensors, stored, backend, dtype, device, progress)
        model.left_aside = source.left_aside(stored.values())
        return model

    def save_pretrained(
        self, folder: str | PathLike[str], *, max_shard_size: int | str = "5GB", overwrite: bool = False
    ) -> None:
        """Write `config.json` and the weights, in Transformers' layout, into `folder` (made if need be).

        Args:
            folder: where to write.
            max_shard_size: bytes, or a string such as `"500MB"`; larger weights are split into several files.
            overwrite: replace a checkpoint that is there. An interrupted save leaves the old one or the new one.

        Raises:
            FileExistsError: there is a checkpoint in `folder` and `overwrite` is False.
        """
        folder = make_folder(folder)
        config = json_bytes(self.config.to_file(self.dtype, type(self).__name__), CONFIG_FILE)
        with atomic_write(folder / CONFIG_FILE, overwrite) as file:  # written first, in place last: both or neither
            file.write(config)
            storage.save_checkpoint(folder, self.state_dict(), max_shard_size, overwrite)


AnyModel = PretrainedModel[Any, Any, Any]


def without_final_norm(config: AnyConfig) -> Any:
    """The configuration of a vision tower, but without its last norm; ValueError for any other."""
    if not isinstance(config, Aimv2VisionConfig):
        raise ValueError("final_norm is False, which is for a vision tower alone; use Aimv2VisionModel")
    return replace(config, final_norm=False)


def load_as(
    choose: Callable[[storage.Source], type[M]], path_or_hub_id: str | PathLike[str], **options: Unpack[ModelOptions]
) -> M:
    """The model in a folder or of a hub id; `choose` returns its class. Options and errors as for `from_pretrained`."""
    given = known_options(options, ModelOptions)
    hub = {name: given.pop(name) for name in HubOptions.__annotations__ if name in given}
    prefix = given.pop("prefix", None)
    check_backend(given.get("backend", "numpy"), given.get("dtype", "float32"), given.get("device"))
    source = storage.open_source(storage.fetch(path_or_hub_id, **hub), prefix)
    model = choose(source).from_source(source, **given)
    which = {"prefix": prefix} if prefix is not None else {}
    which |= {} if given.get("final_norm", True) else {"final_norm": False}
    model.origin = (fspath(path_or_hub_id), hub.get("revision"), *([which] if which else []))
    return model


def initial(path: str, parameter: Parameter, seed: int) -> Array:
    """A new model's array at `path`, float32 of the parameter's shape: constant, or normal by `seed` and `path`."""
    if parameter.std == 0:
        return np.full(parameter.shape, parameter.fill, dtype=np.float32)
    draw = np.random.default_rng([seed, crc32(path.encode())]).standard_normal(parameter.shape, dtype=np.float32)
    return draw * np.float32(parameter.std) + np.float32(parameter.fill)


@contextmanager
def collecting(tower: Any, hidden_states: bool, attentions: bool) -> Iterator[dict[str, Any]]:
    """A dictionary that has `hidden_states` and `attentions`, where asked for, once the tower has run in the block."""
    layers = [f"encoder.layers.{i}" for i in range(len(tower.encoder.layers))]
    states = ["embeddings", *layers] if hidden_states else []
    probs = [f"{layer}.attention.probs" for layer in layers] if attentions else []
    collected: dict[str, Any] = {}
    if not states and not probs:
        yield collected
        return
    with trace(tower, [*states, *probs], inner=attentions) as activations:
        yield collected
    if states:
        collected["hidden_states"] = tuple(activations[path] for path in states)
    if probs:
        collected["attentions"] = tuple(activations[path] for path in probs)
