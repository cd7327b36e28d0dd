import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import aimv2_np
from aimv2_np.cli.app import app
from tests.support.pictures import photo

ROOT = Path(__file__).parents[2]
# Coverage, colours and such of whoever runs the tests must not reach the command. No hub, no proxy: offline.
ENVIRONMENT = {
    **{name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ},
    "PYTHONPATH": str(ROOT),
    "PYTHONIOENCODING": "utf-8",
    "HF_HUB_OFFLINE": "1",
}
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of POSIX")


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aimv2_np", *map(str, arguments)],
        capture_output=True, text=True, encoding="utf-8", timeout=120, env=ENVIRONMENT | environment, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    photo(40, 60).save(path)
    return path


def test_a_real_run(two_towers, picture):
    result = command("classify", picture, "--model", two_towers, "--labels", "cat,dog", "--json")
    assert result.returncode == 0
    assert result.stderr == ""
    assert sum(json.loads(result.stdout)[0]["probabilities"].values()) == pytest.approx(1)


def test_a_real_error(two_towers, picture):
    result = command("classify", picture, "--model", two_towers, "--labels", "cat")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: labels is ['cat']; expected at least two")
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback():
    for arguments in (["--debug", "info", "nowhere"], ["info", "nowhere", "--debug"]):
        result = command(*arguments)
        assert result.returncode == 1
        assert "Traceback" in result.stderr
        assert "FileNotFoundError: there is no folder 'nowhere'" in result.stderr


def test_version_and_help():
    assert command("--version").stdout == f"aimv2-np {aimv2_np.__version__}\n"
    for arguments in (["--help"], ["-h"], ["classify", "--help"], ["info", "-h"], ["demo", "-h"]):
        result = command(*arguments)
        assert result.returncode == 0
        assert result.stdout.startswith("Usage: aimv2-np")
        assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert [name for name in ("demo", "classify", "info") if f"\n  {name} " not in command("--help").stdout] == []


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from aimv2_np.cli.app import app; app(['--help'], standalone_mode=False); "
        "heavy = {'rich', 'PIL', 'tokenizers', 'matplotlib', 'huggingface_hub', 'cupy', 'torch'}; "
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert result.stdout.endswith("loaded: []\n")


def test_a_hub_id_offline(tmp_path):
    result = command("info", "apple/no-such-model", HF_HOME=str(tmp_path))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: apple/no-such-model is not in the cache")


def test_a_hub_id_in_the_cache(tmp_path, two_towers):
    repository = tmp_path / "hub" / "models--some--model"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_bytes((two_towers / "config.json").read_bytes())
    result = command("info", "some/model", "--json", HF_HOME=str(tmp_path))
    assert result.returncode == 0
    value = json.loads(result.stdout)
    assert value["name"] == "some/model"
    assert value["files"] == {}
    assert value["parameters"] == 603_077


def test_characters_that_the_output_cannot_take(two_towers, picture):
    labels = ("--label", "eine Tür", "--label", "猫")
    result = command("classify", picture, "--model", two_towers, *labels, PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "eine T?r" in result.stdout
    assert "#" in result.stdout  # bars without block characters
    names = json.loads(
        command("classify", picture, "--model", two_towers, *labels, "--json", PYTHONIOENCODING="ascii").stdout
    )[0]["probabilities"]
    assert list(names) == ["eine Tür", "猫"]


@POSIX
def test_nobody_reads_the_output(two_towers):
    for arguments in (["--tree"], ["--json"]):
        read, write = os.pipe()
        os.close(read)
        result = subprocess.run(
            [sys.executable, "-m", "aimv2_np", "info", str(two_towers), *arguments],
            stdout=write, stderr=subprocess.PIPE, env=ENVIRONMENT, timeout=120, check=False,
        )  # fmt: skip
        os.close(write)
        assert result.returncode == 141
        assert result.stderr == b""


@POSIX
def test_ctrl_c_ends_quietly(two_towers, tmp_path):
    arguments = ["embed", "-", "--model", str(two_towers), "-o", str(tmp_path / "features.safetensors")]
    # Programs that a script started in the background inherit that Ctrl-C is ignored: not so this command.
    run = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from aimv2_np.cli import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", run, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    ) as process:  # fmt: skip
        process.stdin.write(b"\n" * 2**18)  # more than a pipe holds: goes on when the command reads, and waits for more
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


@POSIX
def test_colours_on_a_terminal_only(two_towers):
    plain = command("info", two_towers)
    assert "\x1b" not in plain.stdout
    assert "\x1b[36m" in on_a_terminal("info", two_towers)  # cyan
    assert "\x1b[36m" not in on_a_terminal("info", two_towers, NO_COLOR="1")


def on_a_terminal(*arguments: object, **environment: str) -> str:
    """What the command prints on a terminal of 80 columns."""
    import pty

    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aimv2_np", *map(str, arguments)],
        stdout=slave, stderr=slave, stdin=slave, env={**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "80", **environment},
    )  # fmt: skip
    os.close(slave)
    output = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not part:
            break
        output += part
    os.close(master)
    assert process.wait(timeout=120) == 0
    return output.decode()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n  two"), "error: one two"),
        (KeyError("x"), "error: KeyError: 'x' (unexpected: --debug shows where)"),
        (MemoryError(), "error: out of memory"),
        (FileNotFoundError(2, "No such file or directory", "a.txt"), "error: a.txt: no such file or directory"),
        (OSError(28, "No space left on device"), "error: no space left on device"),
        (ValueError("\x1b[31mred"), "error: ?[31mred"),
    ],
)
def test_any_error_is_one_line(monkeypatch, error, line):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(app.commands["info"], "callback", fail)
    monkeypatch.setattr(app.commands["info"], "params", [])
    result = CliRunner().invoke(app, ["info"])
    assert result.exit_code == 1
    assert result.stderr == line + "\n"
    assert CliRunner().invoke(app, ["--debug", "info"]).exception is error


def test_warnings_are_one_line_too(monkeypatch):
    import warnings

    @click.command("warn")
    def warn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("the picture is\nodd", stacklevel=1)

    monkeypatch.setitem(app.commands, "warn", warn)
    result = CliRunner().invoke(app, ["warn"])
    assert result.exit_code == 0
    assert result.stderr == "warning: the picture is odd\n"
