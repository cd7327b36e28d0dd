import click
import pytest
from click.testing import CliRunner

from aimv2_np.backends.dtypes import BACKENDS, COMPUTED
from aimv2_np.cli.app import app
from aimv2_np.cli.options import FloatRange, Several, loading
from aimv2_np.storage.relayout import DIALECTS
from aimv2_np.tasks.embedding import KINDS
from aimv2_np.tasks.knn import WEIGHTS


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


@pytest.mark.parametrize("value", ["nan", "-NaN", "1.5", "inf"])
def test_what_is_no_number_in_a_range(value):
    @click.command
    @click.option("--least", type=FloatRange(0, 1))
    def bounded(least):
        click.echo(least)

    assert CliRunner().invoke(bounded, ["--least", value]).exit_code == 2
    assert CliRunner().invoke(bounded, ["--least", "0.5"]).output == "0.5\n"


def choices(command: str, option: str) -> set[str]:
    (parameter,) = (parameter for parameter in app.commands[command].params if parameter.name == option)
    return set(parameter.type.choices)


def test_choices_are_those_of_the_functions_behind_them():
    # They are written down once more so that `--help` need not import what computes.
    assert choices("classify", "backend") == set(BACKENDS)
    assert choices("classify", "dtype") == set(COMPUTED)
    assert choices("convert", "layout") == set(DIALECTS), "--layout of aimv2_np/cli/convert.py"
    assert choices("embed", "features") == set(KINDS)
    assert choices("knn", "features") == set(KINDS) - {"tokens"}
    assert choices("knn", "weights") == set(WEIGHTS)


def test_where_a_model_runs_is_handed_on_as_keyword_arguments():
    @click.command()
    @loading
    def where(where):
        click.echo(repr(where))

    result = CliRunner().invoke(where, ["--dtype", "float64", "--revision", "main", "--no-final-norm"])
    place = {"backend": "numpy", "dtype": "float64", "device": None}
    assert result.output.strip() == repr({**place, "revision": "main", "prefix": None, "final_norm": False})


def test_several_values_of_some_options_only():
    chosen = Several("chosen", callback=command.callback, params=command.params, of=("--images",))
    chosen.params = [*command.params, click.Option(["--glob"], multiple=True, expose_value=False)]
    result = CliRunner().invoke(chosen, ["--images", "a", "b", "--glob", "x", "m"])
    assert result.output.strip() == repr(("m", ("a", "b"), None, False))


@pytest.mark.parametrize(
    ("arguments", "kept"), [([], True), (["--no-final-norm", "--final-norm"], True), (["--no-final-norm"], False)]
)
def test_the_last_norm_is_kept_unless_the_last_word_is_to_leave_it_out(arguments, kept):
    @click.command()
    @loading
    def where(where):
        click.echo(where["final_norm"])

    assert CliRunner().invoke(where, arguments).output.strip() == str(kept)
