"""Options that several subcommands have."""

import click


def _remember(ctx: click.Context, _: click.Parameter, debug: bool) -> None:
    ctx.ensure_object(dict)
    ctx.obj["debug"] = debug or ctx.obj.get("debug", False)


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_remember, help="Show the traceback of an error."
)
backend_option = click.option("--backend", type=click.Choice(["numpy", "cupy"]), default="numpy", show_default=True)
dtype_option = click.option(
    "--dtype", type=click.Choice(["float32", "float64", "float16"]), default="float32", show_default=True
)
revision_option = click.option("--revision", metavar="REVISION", help="Branch, tag or commit of a hub ID.")

max_patches_option = click.option(
    "--max-patches", type=click.IntRange(1), metavar="N",
    help="Scale larger pictures down, in proportion. For native models, which were trained for up to 4096.",
)  # fmt: skip


class Several(click.Command):
    """A command whose repeatable options take several values at once too: `--images a.jpg b.jpg`.

    The values end at the next option; so the command's arguments go before, or after a `--`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`--images a b` is read as `--images a --images b`."""
        several = {name for p in self.params if isinstance(p, click.Option) and p.multiple for name in p.opts}
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
