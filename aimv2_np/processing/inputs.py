"""What processors return: a model's arguments by name."""

from typing import TYPE_CHECKING, Any


class Inputs(dict[str, Any]):
    """A dictionary of arrays whose names are its attributes too, `inputs.pixel_values`, as in Transformers."""

    if not TYPE_CHECKING:  # a type checker would take every attribute for one that is there

        def __getattr__(self, name: str) -> Any:
            if name in self:
                return self[name]
            advice = "a model moves them itself: model(**inputs)" if name == "to" else f"it holds {', '.join(self)}"
            raise AttributeError(f"the inputs have no attribute {name!r}; {advice}", name=name, obj=self)
