"""The command line and the hub: a process of its own, its own cache, one line for whatever goes wrong."""

import json
import os
import struct
import subprocess
import sys

import pytest

from tests.support.hub_cache import NAME, NOBODY, OTHER, WEIGHTS, assert_loads, half_files, in_snapshot
from tests.support.hub_server import Fault, Repository
from tests.support.paths import ROOT
from tests.support.pictures import photo

# The command as it is, but huggingface_hub does not wait before it tries again.
PROGRAM = "import time; time.sleep = lambda _: None; from aimv2_np.cli import main; main()"
KEPT = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
ENVIRONMENT = KEPT | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "NO_PROXY": "127.0.0.1"}


@pytest.fixture
def environment(hub, tmp_path):
    return ENVIRONMENT | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}


@pytest.fixture
def command(environment):
    def run(*arguments, **extra):
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            capture_output=True, text=True, encoding="utf-8", timeout=120, env=environment | extra, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    photo(40, 60).save(path)
    return path


def assert_one_line(result, line):
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith(f"error: {line}")
    assert "Traceback" not in result.stderr


def test_classify_fetches_what_it_needs_and_then_nothing(hub, command, picture):
    arguments = ("classify", picture, "--model", NAME, "--labels", "cat,dog", "--json")
    first = command(*arguments)
    assert (first.returncode, first.stderr) == (0, "")
    assert len(hub.fetched()) == len({*hub.fetched()}) == 7
    assert not {"mlx_model.safetensors", "flax_model.msgpack", "pytorch_model.bin"} & {*hub.fetched()}
    hub.requests.clear()
    second = command(*arguments, HF_HUB_OFFLINE="1")
    assert (second.returncode, second.stdout, hub.requests) == (0, first.stdout, [])
    assert command(*arguments, "--revision", "nope", HF_HUB_OFFLINE="1").returncode == 1


def test_a_revision(hub, command, whole):
    changed = whole["config.json"].replace(b'"max_logit_scale": 100.0', b'"max_logit_scale": 50.0')
    assert changed != whole["config.json"]
    hub.repositories[NAME].commit({"config.json": changed}, "v2")
    found = [command("info", NAME, "--json", "--revision", revision) for revision in ("main", "v2")]
    assert [json.loads(result.stdout)["config"]["max_logit_scale"] for result in found] == [100.0, 50.0]


NAMES = {
    "unknown repository": (("info", "org/none"), {}, "org/none was not found on the hub, nor is there a folder"),
    "unknown revision": (("info", NAME, "--revision", "nope"), {}, f"{NAME} has no such revision: check revision='nop"),
    "gated": (("info", OTHER), {}, f"{OTHER} asks for consent to its terms: give it on its page"),
    "offline": (("info", NAME), {"HF_HUB_OFFLINE": "1"}, f"{NAME} is not in the cache and could not be fetched: go on"),
    "unreachable": (("info", NAME), {"HF_ENDPOINT": NOBODY}, f"{NAME} is not in the cache and could not be fetched: t"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_a_name_that_leads_nowhere(hub, command, case):
    hub.repositories[OTHER] = Repository({})
    hub.gated.add(OTHER)
    arguments, extra, line = NAMES[case]
    assert_one_line(command(*arguments, **extra), line)


FAULTS = {
    "dropped": (WEIGHTS, Fault(drop_after=1000), "could not be fetched: the connection broke; try again"),
    "wrong size": (
        WEIGHTS,
        Fault(announce=1000),
        "came with a file of the wrong size: try again, and if that does no",
    ),
    "in trouble": ("api", Fault(status=500), "could not be fetched: the hub is in trouble; try again later"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing_behind(hub, command, tmp_path, whole, case):
    file, fault, line = FAULTS[case]
    hub.faults[file] = fault
    arguments = ("convert", NAME, tmp_path / "converted", "--layout", "mlx")
    assert_one_line(command(*arguments), f"{NAME} {line}")
    cache = tmp_path / "home" / "hub"
    assert not (tmp_path / "converted").exists()
    assert half_files(cache) == []
    assert WEIGHTS not in in_snapshot(cache)
    hub.faults.clear()
    assert_loads(cache, whole)


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
def test_progress_is_shown_on_a_terminal(hub, environment, tmp_path):
    import fcntl
    import pty
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))  # no bar fits a terminal of no width
    arguments = ("convert", NAME, str(tmp_path / "converted"), "--layout", "mlx")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdout=subprocess.DEVNULL, stderr=slave, env=environment | {"TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.wait(timeout=120) == 0
    assert b"100%" in shown
    assert b"converting" not in shown  # two things that move in one place would garble each other
