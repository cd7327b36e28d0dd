"""Options that several subcommands have."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from aimv2_np.backends.dtypes import COMPUTED
from aimv2_np.cli import output

R = TypeVar("R")


class FloatRange(click.FloatRange):
    """Numbers within bounds; NaN, which is on neither side of a bound and so passes click's, is none of them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; click's error for what is none, or lies outside."""
        number = super().convert(value, param, ctx)
        if number != number:  # NaN
            self.fail(f"{value} is no number; expected one in the range {self._describe_range()}", param, ctx)
        return number


def _remember(ctx: click.Context, _: click.Parameter, debug: bool) -> None:
    ctx.ensure_object(dict)
    ctx.obj["debug"] = debug or ctx.obj.get("debug", False)


debug = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_remember, help="Show the traceback of an error."
)
revision = click.option("--revision", metavar="REVISION", help="Branch, tag or commit of a hub ID.")

prefix = click.option(
    "--prefix", metavar="PREFIX", help="Of several AIMv2 in one checkpoint that whose names begin with it."
)
final_norm = click.option(
    "--final-norm/--no-final-norm", default=True, help="A vision tower without its last norm, as vLLM loads it."
)

vision_model = click.option(
    "--model", metavar="FOLDER|ID", help="A checkpoint with a vision tower.  [default: the embedded tiny model]"
)

max_patches = click.option(
    "--max-patches", type=click.IntRange(1), metavar="N",
    help="Scale larger pictures down, in proportion. For native models, which were trained for up to 4096.",
)  # fmt: skip

orient = click.option(
    "--orient", "exif_transpose", is_flag=True,
    help="Turn pictures upright by their EXIF orientation; off, as in Transformers.",
)  # fmt: skip


_backend = click.option(
    "--backend", type=click.Choice(["numpy", "cupy"]), default="numpy", show_default=True,
    help="The CPU, or an NVIDIA GPU.",
)  # fmt: skip
_dtype = click.option(
    "--dtype", type=click.Choice(COMPUTED), default="float32", show_default=True, help="What to compute in."
)
_device = click.option("--device", metavar="N", type=click.IntRange(0), help="With cupy: which GPU.  [default: 0]")


def running_on(command: Callable[..., R], *between: Callable[..., Any]) -> Callable[..., R]:
    """Where it runs: the command gets `where`, keyword arguments with `backend` and `device`."""

    @wraps(command)
    def located(*args: Any, backend: str, device: int | None, **others: Any) -> R:
        if backend == "numpy" and device is not None:
            raise click.UsageError("--device is the number of a GPU; add --backend cupy, or drop it")
        return command(*args, where={"backend": backend, "device": device}, **others)

    for option in (_device, *between, _backend):
        option(located)
    return located


def placement(command: Callable[..., R]) -> Callable[..., R]:
    """Where a model runs and in what: the command gets `where`, keyword arguments for whatever loads the model."""

    @wraps(command)
    def located(*args: Any, where: dict[str, Any], dtype: str, **others: Any) -> R:
        return command(*args, where={"backend": where["backend"], "dtype": dtype, "device": where["device"]}, **others)

    return running_on(located, _dtype)


def loading(command: Callable[..., R]) -> Callable[..., R]:
    """`placement` of commands that load a model: `where` has `revision`, `prefix` and `final_norm` too."""

    @wraps(command)
    def located(*args: Any, where: dict[str, Any], **others: Any) -> R:
        which = {name: others.pop(name) for name in ("revision", "prefix", "final_norm")}
        return command(*args, where=where | which, **others)

    return placement(revision(prefix(final_norm(located))))


SAME, DIFFERENT, CANNOT_COMPARE = 0, 1, 2  # exit codes of commands that compare


def comparing(ctx: click.Context) -> None:
    """After an error this command exits with 2: 1 would say that something is different."""
    ctx.ensure_object(dict)["failure"] = CANNOT_COMPARE


def or_embedded(model: str | None) -> tuple[str, str | Path]:
    """What --model names, and where that is: the folder or hub id, or the embedded model, with a note what it knows."""
    from aimv2_np.data import tiny_model_path

    if model is not None:
        return model, model
    output.note("the embedded model knows coloured shapes only; for photos, pass --model")
    return tiny_model_path().name, tiny_model_path()


@contextmanager
def advising_force(path: str) -> Iterator[None]:
    """FileExistsError about `path` names the option --force in the place of Python's argument."""
    from aimv2_np.files.atomic import ADVICE

    try:
        yield
    except FileExistsError as error:
        reason = str(error).partition(" exists already")[2] or f"; {ADVICE}"
        advice = reason.replace(ADVICE, "name another file, or overwrite it with --force")
        raise FileExistsError(f"{path} exists already{advice}") from error


def check_free(path: str | None, force: bool) -> None:
    """Whether `path` can be written to, told before anything is computed.

    FileExistsError when a file is there and `force` is not given, FileNotFoundError when the folder of it is not.
    """
    from aimv2_np.files.atomic import refuse_existing, require_folder

    if path:
        require_folder(Path(path))
        with advising_force(path):
            refuse_existing(Path(path), force)


def check_sheet(path: str | None, force: bool) -> None:
    """`check_free` of a contact sheet, and whether its name says PNG."""
    from aimv2_np.tasks import contact_sheet

    check_free(path, force)
    if path:
        contact_sheet.check_sheet(path)


class Several(click.Command):
    """A command whose repeatable options take several values at once too: `--images a.jpg b.jpg`.

    The values end at the next option; so the command's arguments go before, or after a `--`. With `of`, only the
    options of these names do.
    """

    def __init__(self, *args: Any, of: Collection[str] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.of = of

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`--images a b` is read as `--images a --images b`."""
        several = {name for p in self.params if isinstance(p, click.Option) and p.multiple for name in p.opts}
        several = several if self.of is None else several.intersection(self.of)
        spelled: list[str] = []
        option: str | None = None  # the one whose values these are
        fresh = False  # its first value is still to come
        for i, arg in enumerate(args):
            if arg == "--":
                spelled += args[i:]
                break
            if option and not fresh and not arg.startswith("-"):
                spelled += [option, arg]
                continue
            spelled.append(arg)
            if fresh:
                fresh = False
            else:
                option = arg if arg in several else None
                fresh = option is not None
        return super().parse_args(ctx, spelled)
