"""`aimv2-np info`: what a checkpoint is."""

from typing import TYPE_CHECKING, Any

import click

from aimv2_np.cli import options, output
from aimv2_np.cli.backends import tell_backends

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.tree import Tree

    from aimv2_np.tasks import Description

# config.json's keys, in the order in which one wants to know them.
KEYS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
    "vocab_size", "max_position_embeddings", "hidden_act", "qkv_bias", "mlp_bias", "is_native", "use_head",
    "projection_dim", "logit_scale_init_value", "max_logit_scale",
)  # fmt: skip


@click.command("info")
@click.argument("model", metavar="[FOLDER|ID]", required=False)
@options.revision
@options.prefix
@click.option("--tree", is_flag=True, help="Show every tensor.")
@click.option("--backends", is_flag=True, help="Tell what can compute on this machine instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
@click.pass_context
def info_command(
    ctx: click.Context, /, model: str | None, tree: bool, backends: bool, as_json: bool, **which: Any
) -> None:
    """Describe a checkpoint without reading its weights.

    Without an argument the embedded one. Of a hub ID only config.json is fetched. Exits with 1 when the weights do not
    fit the configuration.
    """
    if backends:
        if model or tree or any(which.values()):
            raise click.UsageError("--backends is about this machine and takes no checkpoint; drop the rest")
        tell_backends(as_json)
        return
    from aimv2_np.data import tiny_model_path
    from aimv2_np.tasks import describe

    checkpoint = describe(model if model else tiny_model_path(), **which)
    name = model or tiny_model_path().name
    if as_json:
        output.print_json(_as_json(name, checkpoint, tree))
    else:
        screen = output.console()
        _print(screen, name, checkpoint)
        if tree:
            screen.print()
            screen.print(_tree(name, checkpoint))
    if checkpoint.problem:
        output.say(f"error: {output.one_line(checkpoint.problem)}")
        ctx.exit(1)


def _as_json(name: str, checkpoint: "Description", tree: bool) -> dict[str, Any]:
    mapped, private = checkpoint.memory
    value: dict[str, Any] = {
        "name": name,
        "folder": str(checkpoint.folder),
        "model": checkpoint.model,
        "config": checkpoint.config.to_dict(),
        "parameters": checkpoint.parameters,
        "modules": [{"path": p.path, "count": p.count, "parameters": p.parameters} for p in checkpoint.parts],
        "positions": checkpoint.positions,
        "layout": None if checkpoint.problem else checkpoint.layout,
        "files": checkpoint.files,
        "dtypes": checkpoint.dtypes,
        "memory": {"mapped": mapped, "private": private},
        "unaligned": checkpoint.unaligned,
        "left_aside": checkpoint.left_aside,
        "problem": checkpoint.problem,
    }
    if tree:
        value["tensors"] = {
            name: {"shape": shape, "dtype": dtype} for name, (shape, dtype) in checkpoint.tensors.items()
        }
    return value


def _print(screen: "Console", name: str, checkpoint: "Description") -> None:
    from rich.text import Text

    screen.print(
        Text.assemble((output.printable(name), "bold"), f"  {checkpoint.model}, {checkpoint.parameters:,} parameters"),
        soft_wrap=True,
    )
    for table in (_facts(checkpoint), _settings(checkpoint.config.to_dict()), _parts(checkpoint)):
        screen.print()
        screen.print(table)


def _facts(checkpoint: "Description") -> "Table":
    from aimv2_np.storage import LAYOUTS

    table = output.facts()
    mapped, private = checkpoint.memory
    table.add_row("folder", output.printable(str(checkpoint.folder)))
    if checkpoint.files:
        files = ", ".join(f"{file} ({output.bytes_of(size)})" for file, size in checkpoint.files.items())
        table.add_row("files", output.printable(files))
        title = LAYOUTS[checkpoint.layout].title if checkpoint.layout else ""
        table.add_row("layout", "does not fit the configuration" if checkpoint.problem else title)
        table.add_row(
            "stored as", ", ".join(f"{dtype} ({number:,} numbers)" for dtype, number in checkpoint.dtypes.items())
        )
    else:
        table.add_row("files", "the configuration only; the weights are not on this machine")
    copied = (
        "copied, as the file's header is not padded (save it again to map it)" if checkpoint.unaligned else "converted"
    )
    uses = [(mapped, "mapped from the file"), (private, copied if checkpoint.files else "")]
    memory = " + ".join(f"{output.bytes_of(size)} {how}".rstrip() for size, how in uses if size)
    if checkpoint.left_aside:
        parts = ", ".join(f"{part} ({output.plural(count, 'tensor')})" for part, count in checkpoint.left_aside.items())
        table.add_row("left aside", output.printable(parts))
    table.add_row("memory", f"{memory}, for the weights in float32")
    for tower, text in checkpoint.positions.items():
        table.add_row(f"{tower} positions", text)
    return table


def _settings(config: dict[str, Any]) -> "Table":
    """A column per tower, and one for what stands beside them."""
    towers = {key.removesuffix("_config"): config[key] for key in ("vision_config", "text_config") if key in config}
    columns = {**towers, "both": config} if towers else {"": config}
    table = output.table(header=True)
    table.add_column("setting", style="cyan", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for key in KEYS:
        values = [str(part.get(key, "")).lower() for part in columns.values()]
        if any(values):
            table.add_row(key, *values)
    return table


def _parts(checkpoint: "Description") -> "Table":
    table = output.figures("module", "each", "parameters", "share")
    for part in checkpoint.parts:
        each = f"{part.count} x {part.parameters // part.count:,}" if part.count > 1 else ""
        share = output.percent(part.parameters / checkpoint.parameters)
        table.add_row(part.path, each, f"{part.parameters:,}", share)
    table.add_row("all", "", f"{checkpoint.parameters:,}", "", style="bold")
    return table


def _tree(name: str, checkpoint: "Description") -> "Tree":
    from rich.tree import Tree

    root = Tree(output.printable(name), guide_style="dim")
    branches: dict[str, Tree] = {"": root}
    for tensor, (shape, dtype) in checkpoint.tensors.items():
        *modules, leaf = tensor.split(".")
        for depth in range(len(modules)):
            path, parent = ".".join(modules[: depth + 1]), ".".join(modules[:depth])
            if path not in branches:
                branches[path] = branches[parent].add(output.printable(modules[depth]))
        size = "x".join(map(str, shape)) or "scalar"
        branches[".".join(modules)].add(output.printable(f"{leaf}  {size}  {dtype or ''}".rstrip()))
    return root
