"""What a fault is: an identifier, a sentence, and how a module that has it computes."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module

# (module, its path, context) → a copy of the module with the fault, or None where it cannot have it
Plant = Callable[[Any, str, Context], Module | None]
# (identifier, class of modules) → sentence → plant: the ways to make one mistake in modules of one kind
Table = Mapping[tuple[str, type[Module]], Mapping[str, Plant]]


@dataclass(frozen=True)
class Fault:
    """One way in which modules may be wrong. Several ways to make the same mistake share an identifier.

    Attributes:
        identifier: the short name that `--json` gives.
        sentence: what is wrong, and what is right; `{path}` in it is the module's path, `{m}` the module
            itself, `{p}` the one with the fault, and `{d}` the size of its heads.
        plants: class of modules that can have it → what gives it to them.
        wider: what modules have that cannot have it themselves, where others around them have it; None for nothing.
    """

    identifier: str
    sentence: str
    plants: Mapping[type[Module], Plant]
    wider: "Fault | None" = None

    def plant(self, module: Module, path: str, context: Context) -> Module | None:
        """A copy of a module of one of the classes with the fault, or None where it cannot have it, or has it."""
        known: frozenset[str] = vars(module).get("faults", frozenset())
        plant = self.plants.get(type(module))
        faulty = None if plant is None or self.identifier in known else plant(module, path, context)
        if faulty is not None:
            vars(faulty)["faults"] = known | {self.identifier}
        return faulty

    def plant_along(self, module: Module, path: str, context: Context) -> Module | None:
        """The same of a module among others that have the fault."""
        alone = self.plant(module, path, context)
        return self.wider.plant(module, path, context) if alone is None and self.wider else alone

    @property
    def kinds(self) -> tuple[type[Module], ...]:
        """The classes of modules that can have it, alone or along with others."""
        return tuple(dict.fromkeys((*self.plants, *(self.wider.plants if self.wider else ()))))

    def sentence_for(self, modules: Mapping[str, Any], planted: Mapping[str, Any]) -> str:
        """The sentence for the first of the modules that have the fault, by path, and how many more there are."""
        path, module = next(iter(modules.items()))
        size = module.k_proj.weight.shape[0] // module.heads if hasattr(module, "heads") else None
        more = len(modules) - 1
        also = f" (and so {'does 1' if more == 1 else f'do {more}'} more like it)" if more else ""
        return self.sentence.format(path=path, m=module, p=planted[path], d=size) + also


@dataclass(frozen=True)
class Extent:
    """How far a fault explains what follows.

    Attributes:
        sentence: that, in words; "" when nothing follows.
        found: path → what the other side would have recorded with the fault where it explains most.
        replaced: path → module with the fault, there.
        unexplained: the first path that it leaves unexplained, or None.
        rounding: path → the relative error that rounding may be there, where it is amplified.
    """

    sentence: str = ""
    found: Mapping[str, NDArray] | None = None
    replaced: Mapping[str, Module] | None = None
    unexplained: str | None = None
    rounding: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Hypothesis:
    """One explanation of the first divergence.

    Attributes:
        identifier, sentence: of the fault.
        predicted: (path, what the other side must have recorded there), as it is computed.
        agreeing: of these paths, those that need not fit: the two sides agree there, as where another name is recorded.
        extent: gives the ways in which it may go on, and how far each explains what follows; the last is the narrowest.
    """

    identifier: str
    sentence: str
    predicted: Iterable[tuple[str, NDArray]]
    extent: Callable[[], Sequence[Extent]] = lambda: ()
    agreeing: frozenset[str] = frozenset()


def copied(module: Module) -> Module:
    """A copy of `module` that computes as it does, a fault included, and from its own fields."""
    clone = copy.copy(module)
    if "planted" in vars(clone):
        vars(clone)["forward"] = partial(vars(clone)["planted"], clone)
    return clone


def with_forward(module: Module, forward: Callable[..., Any]) -> Module:
    """A copy of `module` that computes `forward(module, *its arguments)` and is recorded under the same path."""
    clone = copy.copy(module)
    vars(clone)["planted"] = forward
    return copied(clone)


def with_fields(module: Module, **fields: Any) -> Module:
    """A copy of `module` with other values in some fields."""
    clone = copied(module)
    vars(clone).update(fields)
    return clone


def computing(forward: Callable[..., Any]) -> Plant:
    """Gives every module of the kind another `forward(module, *its arguments)`."""
    return lambda module, *_: with_forward(module, forward)


def holding(**fields: Callable[[Any], Any]) -> Plant:
    """Gives every module of the kind other values in some fields: field → function of the module."""
    return lambda module, *_: with_fields(module, **{name: value(module) for name, value in fields.items()})


def exchanging(**fields: Callable[[Any], Any]) -> Plant:
    """Like `holding`, but what is called is recorded under the name that it has in the model."""

    def forward(m: Any, *args: Any) -> Any:
        return type(m).forward(with_fields(m, **{name: value(m) for name, value in fields.items()}), *args)

    return computing(forward)


def varying(form: Callable[..., Any], **options: Any) -> Plant:
    """Gives every module of the kind its general form, with `options` besides those that it has already."""

    def plant(module: Module, *_: Any) -> Module:
        held = {**vars(module).get("options", {}), **options}
        return with_fields(with_forward(module, lambda m, *args: form(m, *args, **m.options)), options=held)

    return plant


def faults_of(tables: Iterable[Table], wider: Mapping[str, str]) -> tuple[Fault, ...]:
    """The faults of some tables: rows of the same identifier and sentence are the same fault in several classes.

    `wider`: sentence → that of the fault, of the same identifier, that stands for it where a module cannot have it.
    """
    plants: dict[tuple[str, str], dict[type[Module], Plant]] = {}
    for table in tables:
        for (identifier, kind), ways in table.items():
            for sentence, plant in ways.items():
                plants.setdefault((identifier, sentence), {})[kind] = plant
    faults = {key: Fault(*key, kinds) for key, kinds in plants.items()}
    return tuple(replace(each, wider=faults.get((name, wider.get(text, "")))) for (name, text), each in faults.items())


def together(first: Fault, second: Fault) -> Fault:
    """Two faults in the same modules."""

    def plant(module: Module, path: str, context: Context) -> Module | None:
        for one, other in ((first, second), (second, first)):
            alone = one.plant(module, path, context)
            both = None if alone is None else other.plant(alone, path, context)
            if both is not None and _has_kept(alone, both):
                return both
        return None

    return Fault(
        f"{first.identifier} + {second.identifier}",
        f"no single cause explains it, but two together do: {first.sentence}; and {second.sentence}",
        dict.fromkeys([kind for kind in first.plants if kind in second.plants], plant),
    )


def _has_kept(alone: Module | None, both: Module) -> bool:
    """Whether a module that was given a second fault still has the first."""
    before, after = vars(alone), vars(both)
    if "options" in before:
        return bool(before["options"].items() <= after.get("options", {}).items())
    return "planted" not in before or before["planted"] is after.get("planted")
