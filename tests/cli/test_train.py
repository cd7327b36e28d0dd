"""`aimv2-np train`: what it writes, that it goes on, and what it refuses."""

import json

import pytest
from click.testing import CliRunner, Result

from aimv2_np import load
from aimv2_np.cli.app import app
from aimv2_np.cli.train import _talk
from aimv2_np.training.log import read

SHORT = ("--steps", "3", "--batch-size", "4", "--save-every", "1")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A training of three steps."""
    folder = tmp_path_factory.mktemp("pretrain")
    result = run("train", "pretrain", "world", str(folder), *SHORT, "--json")
    assert result.exit_code == 0, result.stderr
    return folder, json.loads(result.stdout)


def test_pretraining_gives_a_vision_model(pretrained):
    folder, told = pretrained
    model = load(folder / "model")
    assert model.config.model_type == "aimv2_vision_model"
    assert not model.config.use_head
    assert told["model"] == str(folder / "model")
    assert told["parameters"] == model.num_parameters()
    assert {"loss", "text", "pixels", "step"} <= told.keys()
    assert [line["step"] for line in read(folder / "log.jsonl")] == [1, 2, 3]


def test_in_half_precision(tmp_path):
    result = run(
        "train",
        "pretrain",
        "world",
        str(tmp_path),
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--precision",
        "float16",
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["scale"], told["skipped"]) == (2.0**15, 0)
    assert load(tmp_path / "model").dtype == "float32"


def test_the_same_command_again_computes_nothing(pretrained):
    folder, _ = pretrained
    before = (folder / "training.safetensors").read_bytes()
    result = run("train", "pretrain", "world", str(folder), *SHORT)
    assert result.exit_code == 0
    assert "3 steps: it had ended before" in result.stdout
    assert (folder / "training.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("--seed", "1"), "task.seed is 0, and now it is 1"),
        (("--rate", "0.01"), "recipe.schedule.peak is 0.001, and now it is 0.01"),
        (("--warmup", "1"), "recipe.schedule.warmup is 0, and now it is 1"),
        (("--decay", "0.1"), "recipe.optimizer.weight_decay is 0.0001, and now it is 0.1"),
        (("--clip", "0"), "recipe.clip is 1.0, and now it is None"),
        (("--accumulate", "2"), "recipe.accumulate is 1, and now it is 2"),
        (("--average", "0.5"), "recipe.average is 0.0, and now it is 0.5"),
        (("--pixel-weight", "0.2"), "task.pixel_weight is 0.4, and now it is 0.2"),
        (("--no-prefix",), "task.prefix is True, and now it is False"),
        (("--augment",), "task.augmentation is None, and now it is"),
        (("--recompute", "1"), "recipe.recompute is None, and now it is 1"),
        (("--precision", "bfloat16"), "recipe.precision is None, and now it is 'bfloat16'"),
    ],
)
def test_another_command_is_told_what_is_different(pretrained, changes, said):
    """Every option arrives where it belongs."""
    result = run("train", "pretrain", "world", str(pretrained[0]), *SHORT, *changes)
    assert result.exit_code == 1
    assert said in result.stderr.replace("\n", " ")


def test_locked_image_tuning_of_it(pretrained, tmp_path):
    trunk = str(pretrained[0] / "model")
    result = run("train", "lit", "world", str(tmp_path), *SHORT, "--trunk", trunk, "--no-augment")
    assert result.exit_code == 0, result.stderr
    model, vision = load(tmp_path / "model"), load(trunk)
    for path, array in vision.state_dict().items():
        assert (model.state_dict()[f"vision_model.{path}"] == array).all(), path
    assert "logit_scale" in result.stdout
    from aimv2_np import Aimv2Processor

    inputs = Aimv2Processor.from_pretrained(tmp_path / "model")(text=["a star", "a ring"], padding=True)
    assert model(**inputs).text_embeds.shape[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lit", "world"), "lit needs --trunk"),
        (("pretrain", "world", "--trunk", "x"), "--trunk is for contrastive and lit"),
        (("contrastive", "world", "--no-prefix"), "are for pretrain, and not for contrastive"),
        (("finetune", "world"), "'finetune' is not one of"),
        (("pretrain", "world", "--device", "0"), "--device is the number of a GPU; add --backend cupy"),
        (("pretrain", "world", "--precision", "int8"), "'int8' is not one of"),
    ],
)
def test_wrong_usage(words, said, tmp_path):
    result = run("train", words[0], words[1], str(tmp_path), *words[2:])
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere"),
        (("world", "--like", "nowhere/at/all"), "nowhere/at/all"),
        (("world", "--rate", "nan"), "peak is nan; expected a learning rate"),
        (("world", "--batch-size", "3", "--accumulate", "2"), "batch_size is 3; expected a multiple of accumulate, 2"),
        (("world", "--warmup", "9", "--steps", "3"), "warmup is 9; expected at most as many steps"),
    ],
)
def test_what_cannot_be_trained_is_told(words, said, tmp_path):
    result = run("train", "pretrain", words[0], str(tmp_path), *words[1:])
    assert result.exit_code == 1
    assert said in result.stderr.replace("\n", " ")


def test_it_says_how_long_it_will_take():
    """From the pace since it began, or went on."""
    lines, time, last = [], iter([0.0, 2.0, 4.0]), {}
    tell = _talk(lines.append, 100, last, lambda: next(time))
    for step in (41, 42):
        tell({"step": step, "loss": 1.5, "text": 1.0, "rate": 1e-3, "norm": 2.0, "seconds": 2.0})
    assert lines[1] == "step 42 of 100  loss 1.5  text 1  rate 0.001  2 s a step, 2 min left"
    assert last["step"] == 42
