"""What the three configurations have in common: dictionaries and `config.json` in and out, every field checked."""

import copy
import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, Unpack

from aimv2_np.config import int8
from aimv2_np.config.fields import check_fields
from aimv2_np.config.unknown import refuse_changes
from aimv2_np.errors import Advising, CheckpointError, mismatch, plain
from aimv2_np.files.atomic import make_folder
from aimv2_np.files.hub import HubOptions
from aimv2_np.files.json import write_json
from aimv2_np.files.locate import CONFIG_FILE, CONFIG_FILES, read_json_in, resolve

MAX_BYTES = 2**17  # of the file, which is copied several times on its way to a model


@dataclass(frozen=True)
class Config(Advising):
    """Frozen, checked when made, equal when they describe the same network.

    `extra` holds the keys of a `config.json` that mean nothing to the network (`transformers_version`, `dtype`, ...):
    they are written back by `to_dict`, and take no part in comparisons.
    """

    model_type: ClassVar[str]
    aliases: ClassVar[Mapping[str, str]] = {}

    extra: dict[str, Any] = field(default_factory=dict, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_extra()
        self.check()

    def check(self) -> None:
        """Raise ValueError, beginning with a field's name, when fields that are each in order do not go together."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration in a parsed `config.json`; absent keys take their defaults, unknown ones go to `extra`.

        Raises ValueError that names the field, or the key by which a fork of AIMv2 computes something else.
        """
        check_mapping(values)
        cls._check_model_type(values.get("model_type"))
        refuse_changes(values)
        names = cls.field_names()
        rest = {key: value for key, value in values.items() if key not in names and key != "model_type"}
        known = {key: value for key, value in values.items() if key in names}
        for alias, name in cls.aliases.items():
            if alias in rest and name not in known:
                known[name] = rest.pop(alias)
        return cls(**known, extra=rest)

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds, as Transformers writes it: `model_type`, every field, and `extra`."""
        fields = {name: _json_value(getattr(self, name)) for name in sorted(self.field_names())}
        return {"model_type": self.model_type, **fields, **copy.deepcopy(self.extra)}

    def all_extra(self) -> list[str]:
        """The keys in `extra`, those of the towers too."""
        parts = [getattr(self, name) for name in self.field_names()]
        return [*self.extra, *(key for part in parts if isinstance(part, Config) for key in part.all_extra())]

    @classmethod
    def from_pretrained(cls, path_or_hub_id: str | os.PathLike[str], **options: Unpack[HubOptions]) -> Self:
        """The configuration in the `config.json` of a folder or of a repository on the hub.

        A tower's configuration is taken out of the one of a two-tower model. Raises FileNotFoundError when there is
        no such file and CheckpointError (a ValueError) naming the file when it does not hold such a configuration.
        """
        values = read_config(path_or_hub_id, **options)
        with naming_file(path_or_hub_id):
            return cls.from_dict(values)

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        dtype: str | None = None,
        architecture: str | None = None,
    ) -> None:
        """Write `config.json` into `folder`, which is made where missing.

        `dtype` ("float32", ...) and `architecture` ("Aimv2Model", ...), when given, say what is saved beside it: they
        replace what an older file said, by which Transformers would otherwise choose the type that it loads. Raises
        FileExistsError for an existing file unless `overwrite`.
        """
        write_json(make_folder(folder) / CONFIG_FILE, self.to_file(dtype, architecture), overwrite)

    def to_file(self, dtype: str | None = None, architecture: str | None = None) -> dict[str, Any]:
        """What `config.json` holds beside weights of a dtype ("float32", ...) for a class ("Aimv2Model", ...)."""
        values = self.to_dict()
        values.pop(int8.KEY, None)  # a model has floats
        if dtype is not None:
            for part in (values, *(values[key] for key in ("vision_config", "text_config") if key in values)):
                part.pop("torch_dtype", None)
                part["dtype"] = dtype
        if architecture is not None:
            values["architectures"] = [architecture]
        return values

    @classmethod
    def field_names(cls) -> frozenset[str]:
        """The names of the fields that are keys of `config.json`."""
        return frozenset(item.name for item in dataclasses.fields(cls)) - {"extra"}

    @classmethod
    def _check_model_type(cls, found_type: object) -> None:
        # Older files say "aimv2" for a single tower too, and nothing at all in the towers of a two-tower file.
        if found_type not in (None, "", "aimv2", cls.model_type):
            advice = "; aimv2_np.load takes the class that fits" if str(found_type).startswith("aimv2") else ""
            raise ValueError("model_type " + mismatch(found_type, repr(cls.model_type)) + advice)

    def _check_extra(self) -> None:
        if not isinstance(self.extra, dict):
            raise ValueError("extra " + mismatch(self.extra, "a dictionary of the keys that are not fields"))
        object.__setattr__(self, "extra", copy.deepcopy(self.extra))
        clash = sorted(plain(key) for key in self.extra if key in self.field_names() or key == "model_type")
        if clash:
            raise ValueError(f"extra holds {', '.join(clash)}; expected no names of fields, set the fields instead")


def check_mapping(values: object, name: str = "the configuration") -> None:
    """ValueError, beginning with `name`, unless `values` is a dictionary with strings as keys."""
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise ValueError(f"{name} " + mismatch(values, "a dictionary with strings as keys"))


def read_config(path_or_hub_id: str | os.PathLike[str], **options: Unpack[HubOptions]) -> dict[str, Any]:
    """The `config.json` of a folder or of a repository on the hub, or else OpenCLIP's file, as a dictionary.

    Raises what `locate.resolve` and `read_json` raise, and CheckpointError for a link that leads out of the folder.
    """
    folder = resolve(path_or_hub_id, files=CONFIG_FILES, **options)
    for name in CONFIG_FILES:
        values = read_json_in(folder, name, MAX_BYTES)
        if values is not None:
            return values
    raise FileNotFoundError(f"{folder} has no {CONFIG_FILE}; expected the folder of a checkpoint, which has one")


@contextmanager
def naming_file(path_or_hub_id: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a ValueError about a configuration into a CheckpointError that says whose it is."""
    try:
        yield
    except ValueError as error:
        raise CheckpointError(f"{CONFIG_FILE} of {os.fspath(path_or_hub_id)}: {error}") from None


def _json_value(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value
