import click
import pytest
from click.testing import CliRunner

from aimv2_np.cli.options import Several


@click.command(cls=Several)
@click.argument("model")
@click.option("--images", "-i", multiple=True)
@click.option("--out")
@click.option("--flag", is_flag=True)
def command(model, images, out, flag):
    click.echo(repr((model, images, out, flag)))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("m --images a b --out o", ("m", ("a", "b"), "o", False)),
        ("m -i a -i b c --flag", ("m", ("a", "b", "c"), None, True)),
        ("--out o m --images a", ("m", ("a",), "o", False)),
        ("--images a b -- m", ("m", ("a", "b"), None, False)),
        ("--images=a --flag m", ("m", ("a",), None, True)),
        ("--flag -- m", ("m", (), None, True)),
        ("m --images a --images b", ("m", ("a", "b"), None, False)),
    ],
)
def test_several_values(arguments, expected):
    result = CliRunner().invoke(command, arguments.split())
    assert result.exit_code == 0, result.output
    assert result.output.strip() == repr(expected)


@pytest.mark.parametrize("arguments", ["--images a m", "m --images", "m --out o p"])
def test_what_is_no_such_line(arguments):
    assert CliRunner().invoke(command, arguments.split()).exit_code == 2
