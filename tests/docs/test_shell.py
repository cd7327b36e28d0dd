"""The commands in README and docs run, page by page, in a folder with what they name and without a network.

Instead of Apple's checkpoints, which a test has not, small ones of the same kind are used, and trainings are of two
steps. Of what cannot run in a test the command and its options are checked, and the files and modules that it names.
"""

import re
import shlex
from importlib.util import find_spec
from itertools import chain

import pytest
from click.testing import CliRunner

from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.cli.app import app
from aimv2_np.data import sample_pictures, tiny_model_path
from aimv2_np.processing import Aimv2ImageProcessor
from tests.docs.test_pages import NAMES, ROOT

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
TWO_TOWERS, ONE_TOWER = re.compile(r"apple/aimv2-\S+-lit"), re.compile(r"apple/aimv2-\S+")

# What a test cannot run, by words of the command, and why.
ELSEWHERE = {
    "export": "needs onnx; tests/oracle/cli/test_export.py runs it",
    "bench": "measures for minutes; tests/cli/test_bench.py runs it on small models",
    "--against transformers": "needs PyTorch; tests/oracle/comparison/test_verify.py runs it",
    "-o features.parquet": "needs pyarrow; tests/parquet writes such files",
    "--backend cupy": "needs a GPU; tests/gpu runs models there",
    "-o tests/golden.safetensors": "writes into the repository; tests/test_action.py runs the workflow that it is for",
    "--engine": "needs Ray or Dask; tests/clusters/test_embed.py runs it",
    "verify --model apple": "compares with the numbers of the released weights; tests/comparison/test_published.py",
}
NEED_MATPLOTLIB = ("--plot", ".png")


def lines(name):
    """The shell commands of a page, continued lines joined."""
    blocks = BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def ours(line):
    """The arguments of `aimv2-np` in a command, or None."""
    words = shlex.split(line, comments=True)
    places = [i for i, word in enumerate(words) if word.endswith("aimv2-np") and words[i - 1] != "-t"]
    return words[places[-1] + 1 :] if places else None


COMMANDS = {name: [line for line in lines(name) if ours(line)] for name in NAMES}
EVERY = [pytest.param(line, id=line[:60]) for line in dict.fromkeys(chain(*COMMANDS.values()))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the pictures and the fixtures that the pages name, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for place in ("photos", "shapes"):
        (tmp_path / place).mkdir()
        for i, sample in enumerate(sample_pictures()):
            sample.picture.save(tmp_path / place / f"{i}.png")
    for place in ("train", "test"):
        for i, sample in enumerate(sample_pictures()):
            (tmp_path / place / f"{i % 2}").mkdir(parents=True, exist_ok=True)
            sample.picture.save(tmp_path / place / f"{i % 2}" / f"{i}.png")
    for name in ("cat.jpg", "dog.jpg", "new.png", "shapes.png", "star.png"):
        sample_pictures()[0].picture.save(tmp_path / name)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    config = Aimv2VisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, use_head=False
    )
    Aimv2VisionModel(config).save_pretrained(tmp_path / "vision")
    Aimv2ImageProcessor(size=28, crop_size=28).save_pretrained(tmp_path / "vision")
    return tmp_path


def stand_in(word, folder):
    return ONE_TOWER.sub(str(folder / "vision"), TWO_TOWERS.sub(str(tiny_model_path()), word))


@pytest.mark.parametrize("name", [name for name in NAMES if COMMANDS[name]])
def test_commands_run(name, folder):
    elsewhere = ELSEWHERE if find_spec("matplotlib") else (*ELSEWHERE, *NEED_MATPLOTLIB)
    for line in COMMANDS[name]:
        if not any(words in line for words in elsewhere):
            if "-o run.safetensors" in line:
                (folder / "run.safetensors").unlink(missing_ok=True)
            words = re.sub(r"--steps \d+", "--steps 2", line)
            result = CliRunner().invoke(app, [stand_in(word, folder) for word in ours(words)])
            assert result.exit_code == 0, (line, result.output)


@pytest.mark.parametrize("line", EVERY)
def test_commands_and_options_are_there(line):
    command, *arguments = ours(line)
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    given = {word.partition("=")[0] for word in arguments if word.startswith("-")}
    assert given <= set(re.findall(r"(?<![\w-])--?\w[\w-]*", result.output))


def test_modules_and_files_that_commands_name_are_there():
    for line in chain(*map(lines, NAMES)):
        for module in re.findall(r"python -m ([\w.]+)|-p ([\w.]+\.[\w.]+)", line):
            assert find_spec("".join(module)), line
        for path in re.findall(r"(?:^|\s)((?:tests|docs|\.github)/[\w./-]+)", line):
            assert (ROOT / path).exists() or path.endswith("golden.safetensors"), line


def test_what_is_not_run_is_still_on_a_page():
    assert all(any(words in line for line in chain(*COMMANDS.values())) for words in ELSEWHERE)
