"""--prefix and --no-final-norm: every command that opens a checkpoint takes an AIMv2 out of a larger one."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from aimv2_np import Aimv2Model, Aimv2VisionModel, load
from aimv2_np.cli.app import app
from aimv2_np.recording import Recording
from aimv2_np.tasks import open_features
from tests.support.pictures import photo
from tests.support.two_towers import behind, save_two_towers, save_vision_tower, text_config, vision_config

OPENING = {
    "bench",
    "classify",
    "compare",
    "convert",
    "embed",
    "explain",
    "export",
    "info",
    "knn",
    "probe",
    "record",
    "search",
    "verify",
}
FOLDERS = {"alone": (), "wrapped": (), "several": ("--prefix", "teacher")}


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    save_two_towers(root / "alone")
    behind(save_two_towers(root / "wrapped"), "model.clip")
    behind(save_two_towers(root / "several"), "student", "teacher")
    save_vision_tower(root / "tower")
    behind(save_vision_tower(root / "bare"), "student", "teacher")
    return root


@pytest.fixture
def picture(tmp_path):
    for kind in "ab":
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        photo(20 + ord(kind) % 7, 30).save(tmp_path / f"pictures/{kind}/p.png")
        photo(30, 20 + ord(kind) % 7, seed=1).save(tmp_path / f"pictures/{kind}/q.png")
    return tmp_path / "pictures/a/p.png"


def test_every_command_that_opens_a_checkpoint_has_it():
    assert {name for name, it in app.commands.items() if any(p.name == "prefix" for p in it.params)} == OPENING


@pytest.mark.parametrize("command", sorted(OPENING - {"verify", "bench", "explain", "export", "compare", "convert"}))
def test_the_answer_is_that_of_the_model_by_itself(folders, picture, tmp_path, command):
    def ask(name: str, *prefix: str):
        model, pictures = folders / name, picture.parents[1]
        path = tmp_path / f"{'-'.join((name, *prefix))}.safetensors"
        if command == "info":
            found = json.loads(run("info", model, "--json", *prefix))
            return found["config"], found["problem"], found["modules"]
        if command == "record":
            run("record", model, "--images", picture, "--texts", "a cat", "-o", path, *prefix)
            return Recording.load(path).metadata["weights_hash"], Recording.load(path).array(
                "logits_per_image"
            ).tolist()
        if command == "classify":
            return json.loads(run("classify", picture, "--model", model, "--labels", "a,b", "--json", *prefix))
        if command in ("knn", "probe"):
            found = json.loads(run(command, pictures, pictures, "--model", model, "--json", *prefix))
            return found["accuracy"], found["pictures"]
        run("embed", pictures, "--model", model, "-o", path, *prefix)
        if command == "embed":
            return np.asarray(open_features(path).features).tolist()
        # What the file says of its model is enough.
        return [json.loads(run("search", path, query, "--json")) for query in (picture, "a cat")]

    answers = [ask(name, *prefix) for name, prefix in FOLDERS.items()]
    assert answers[0] == answers[1] == answers[2]
    if command not in ("search", "info"):
        assert ask("several", "--prefix", "student.") != answers[0]


@pytest.mark.parametrize("command", ["embed", "record", "info", "bench"])
def test_of_several_one_has_to_be_chosen(folders, picture, tmp_path, command):
    arguments = {
        "embed": [picture, "-o", tmp_path / "f.npz", "--model", folders / "several"],
        "record": [folders / "several", "--texts", "a", "-o", tmp_path / "r.safetensors"],
        "info": [folders / "several"],
        "bench": [folders / "several", "--seconds", "0", "--cold", "0"],
    }[command]
    result = CliRunner().invoke(app, [command, *map(str, arguments)])
    assert result.exit_code == 1
    assert "choose one: prefix=... (--prefix)" in result.stderr


@pytest.mark.parametrize("name", FOLDERS)
def test_explain_and_convert(folders, picture, tmp_path, name):
    prefix = FOLDERS[name]
    run("explain", picture, "--model", folders / name, "--text", "a", "b", "-o", tmp_path / "page.html", *prefix)
    assert (tmp_path / "page.html").stat().st_size > 10_000
    run("convert", folders / name, tmp_path / "out", "--layout", "transformers", *prefix)
    expected = load_file(folders / "alone/model.safetensors")
    for key, array in load_file(tmp_path / "out/model.safetensors").items():
        np.testing.assert_array_equal(array, expected[key])


@pytest.mark.parametrize("name", FOLDERS)
def test_compare_finds_the_weights(folders, picture, tmp_path, name):
    """Recordings of one model compared with its weights, which `--model` names or the recording."""
    for path in ("a", "b"):
        run("record", folders / name, "--images", picture, "-o", tmp_path / f"{path}.safetensors", *FOLDERS[name])
    files = (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    found = json.loads(run("compare", *files, "--model", folders / name, *FOLDERS[name], "--json"))
    assert found["equal"]


def test_a_recording_knows_which_of_several_it_was(folders, picture, tmp_path):
    from aimv2_np.comparison.diagnosis.weights import recorded_model

    run("record", folders / "several", "--images", picture, "-o", tmp_path / "r.safetensors", "--prefix", "teacher")
    model = recorded_model(Recording.load(tmp_path / "r.safetensors"))
    gain = load(folders / "alone").vision_model.rms_norm.weight
    np.testing.assert_array_equal(model.vision_model.rms_norm.weight, gain)
    run("record", folders / "bare", "--images", picture, "-o", tmp_path / "n.safetensors", "--prefix", "teacher",
        "--no-final-norm")  # fmt: skip
    assert not recorded_model(Recording.load(tmp_path / "n.safetensors")).config.final_norm


@pytest.mark.parametrize("name", FOLDERS)
def test_bench(folders, name):
    flags = ["--seconds", "0", "--cold", "1", "--processes", "2", "--json"]
    (model,) = json.loads(run("bench", folders / name, *flags, *FOLDERS[name]))["models"]
    both = Aimv2Model(load(folders / "alone").config)
    assert model["parameters"] == both.num_parameters()
    assert model["cold"]["stages"]["run"] > 0


def test_bench_without_the_last_norm(folders):
    flags = ["--seconds", "0", "--cold", "1", "--json", "--prefix", "student", "--no-final-norm"]
    (model,) = json.loads(run("bench", folders / "bare", *flags))["models"]
    assert model["parameters"] == Aimv2VisionModel(vision_config(final_norm=False)).num_parameters()


def test_an_architecture_has_no_prefix():
    result = CliRunner().invoke(app, ["bench", "large-224", "--layers", "1", "--prefix", "a"])
    assert result.exit_code == 1
    assert "prefix is 'a', but large-224 has random weights of its own" in result.stderr


@pytest.mark.parametrize("command", ["embed", "record", "knn", "convert"])
def test_without_the_last_norm(folders, picture, tmp_path, command):
    model, pictures, flags = folders / "bare", picture.parents[1], ["--prefix", "teacher", "--no-final-norm"]
    bare = load(folders / "tower", final_norm=False)
    if command == "embed":
        path = tmp_path / "f.safetensors"
        run("embed", pictures, "--model", model, "-o", path, "--features", "mean", *flags)
        kept, normed = np.array(open_features(path).features), tmp_path / "n.safetensors"
        run("embed", pictures, "--model", model, "-o", normed, "--features", "mean", *flags[:2])
        assert not np.allclose(kept, open_features(normed).features)
        hits = json.loads(run("search", path, picture, "--json"))
        assert hits[0]["score"] == pytest.approx(1)
    elif command == "record":
        run("record", model, "--images", picture, "-o", tmp_path / "r.safetensors", *flags)
        recording = Recording.load(tmp_path / "r.safetensors")
        expected = bare(recording.inputs["pixel_values"]).last_hidden_state
        np.testing.assert_allclose(recording.array("last_hidden_state"), expected, rtol=1e-4, atol=1e-5)
    elif command == "knn":
        run("knn", pictures, pictures, "--model", model, "--save", tmp_path / "k", *flags)
        assert open_features(tmp_path / "k/train.safetensors").metadata["prefix"] == "teacher"
    else:
        run("convert", model, tmp_path / "out", "--layout", "apple", *flags)
        assert load(tmp_path / "out").state_dict().keys() == bare.state_dict().keys()


def test_classify_refuses_one_tower_of_two(folders, picture):
    assert text_config().vocab_size > 0
    result = CliRunner().invoke(app, ["classify", str(picture), "--labels", "a", "--model", str(folders / "bare"),
                                      "--prefix", "teacher"])  # fmt: skip
    assert result.exit_code == 1
    assert "expected" in result.stderr


def test_verify_needs_a_model_for_it():
    assert "--prefix" in CliRunner().invoke(app, ["verify", "--prefix", "a"]).stderr
