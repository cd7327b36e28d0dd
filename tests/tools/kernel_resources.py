"""What ptxas says of every instance of every CUDA kernel: registers, spilled bytes, static shared memory.

    python -m tests.tools.kernel_resources attention_tensor_cores --architecture 90

Needs CuPy, the wheels of NVRTC and of CUDA's headers, and ptxas on the path; no GPU.
"""

import tempfile
from pathlib import Path

import click

from aimv2_np.kernels.cuda.launch import FOLDER, source
from tests.support import nvrtc
from tests.support.kernel_instances import ARCHITECTURES, SINCE, kernels

NAMES = sorted(path.stem for path in FOLDER.glob("*.cu"))
EACH = [str(it) for it in ARCHITECTURES]


@click.command()
@click.argument("names", type=click.Choice(NAMES), nargs=-1)
@click.option("--architecture", type=click.Choice(EACH), multiple=True, default=EACH)
def main(names: tuple[str, ...], architecture: tuple[str, ...]) -> None:
    """Print a table of the kernels of these files, or of all; ends with 1 if one of them spills."""
    spilled = False
    if reason := nvrtc.missing():
        raise click.ClickException(reason)
    click.echo(f"{'':8}{'registers':>10}{'spilled':>9}{'shared':>8}  kernel")
    for number in map(int, architecture):
        for name in names or NAMES:
            if number < SINCE.get(name, 0):
                continue
            with tempfile.TemporaryDirectory() as folder:
                uses = nvrtc.resources(source(name), kernels(name), number, Path(folder))
            if not uses:
                raise click.ClickException("there is no ptxas on the path: install a CUDA toolkit")
            for use in uses:
                row = f"{use.registers:10}{use.spilled:9}{use.shared:8}"
                click.echo(f"sm_{number:<5}{row}  {use.kernel}")
                spilled = spilled or use.spilled > 0
    if spilled:
        raise click.ClickException("registers are spilled to memory")


if __name__ == "__main__":
    main()
