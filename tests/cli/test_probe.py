import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from aimv2_np.cli.app import app
from aimv2_np.tasks import classify_by_probe, load_probe
from aimv2_np.training.probes import probe_folders
from tests.support.pictures import photo
from tests.support.probes import clusters, linear_probe, tokens, write_labelled


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    place = tmp_path_factory.mktemp("features")
    return [write_labelled(place / f"{seed}.safetensors", *clusters(45, seed=seed)) for seed in (1, 2)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Dark and light pictures."""
    place = tmp_path_factory.mktemp("pictures")
    for name, seeds in (("train", range(6)), ("test", range(6, 9))):
        for label, brightness in (("dark", 0), ("light", 180)):
            (place / name / label).mkdir(parents=True)
            for seed in seeds:
                picture = photo(20, 20, seed=seed).point(lambda v, b=brightness: v // 4 + b)
                picture.save(place / name / label / f"{seed}.png")
    (place / "test" / "dark" / "broken.png").write_bytes(b"nothing")
    return place


def run(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, [command, *map(str, arguments)])


def test_what_it_says(files, tmp_path):
    result = run("probe", *files, "--save", tmp_path / "probe.safetensors")
    assert result.exit_code == 0, result.stderr
    wanted = probe_folders(*files)
    lines = result.stdout.splitlines()
    right = wanted.result.confusion.trace()
    share = f"{100 * wanted.result.accuracy:.1f} %"
    assert lines[0] == f"accuracy {share}: {right} of 45 right, linear probe of pooled features"
    assert lines[1].split() == ["is", "\\", "taken", "for", "cat", "dog", "fox"]
    assert lines[5] == f"expected calibration error {100 * wanted.result.calibration.error:.1f} %"
    assert lines[6].split() == ["probability", "pictures", "mean", "right"]
    assert sum(int(line.split()[4]) for line in lines[7:-2]) == 45
    strength = wanted.settings["strength"]
    assert lines[-2] == f"45 pictures trained on; strength {strength:g}, chosen of 7 by pictures held out"
    assert lines[-1] == f"the probe is in {tmp_path / 'probe.safetensors'}"
    saved = load_probe(tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(saved.network.weight, wanted.probe.network.weight)


def test_json_and_plot(files, tmp_path):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "confusion.png"
    result = run("probe", *files, "--strength", "0.01", "--seed", 3, "--plot", plot, "--json")
    assert result.exit_code == 0, result.stderr
    found, wanted = json.loads(result.stdout), probe_folders(*files, training={"strength": 0.01})
    assert found["accuracy"] == wanted.result.accuracy
    assert found["settings"] == {"strength": 0.01}
    assert found["tried"] == []
    assert found["confusion"] == wanted.result.confusion.tolist()
    assert found["calibration"]["error"] == wanted.result.calibration.error
    assert sum(found["calibration"]["counts"]) == found["test"] == len(found["pictures"]) == 45
    assert [it["predicted"] for it in found["pictures"]] == list(wanted.result.labels)
    np.testing.assert_allclose([it["probability"] for it in found["pictures"]], wanted.result.shares.max(axis=1))
    assert np.asarray(Image.open(plot)).std() > 1  # something is drawn
    assert run("probe", *files, "--plot", plot).stderr == (
        f"error: {plot} exists already; name another file, or overwrite it with --force\n"
    )


def test_an_attentive_probe_of_files(tmp_path):
    files = [write_labelled(tmp_path / f"{seed}.safetensors", *tokens(45, seed=seed), "tokens") for seed in (1, 2)]
    options = ["--kind", "attentive", "--epochs", 3, "--batch-size", 9, "--heads", 4]
    result = run("probe", *files, *options, "--json")
    assert result.exit_code == 0, result.stderr
    wanted = probe_folders(*files, kind="attentive", training={"epochs": 3, "batch_size": 9, "heads": 4})
    found = json.loads(result.stdout)
    assert (found["kind"], found["features"]) == ("attentive", "tokens")
    assert len(found["tried"]) == 14
    assert found["settings"] == wanted.settings
    assert found["accuracy"] == wanted.result.accuracy
    assert wanted.probe.network.heads == 4


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_from_pictures_to_pictures(kind, folders, two_towers, tmp_path):
    """`--keep` keeps the features, `--save` the probe, which `classify` uses."""
    path, few = tmp_path / "probe.safetensors", ["--epochs", 2] if kind == "attentive" else ["--features", "mean"]
    result = run(
        "probe", folders / "train", folders / "test", "--kind", kind, "--model", two_towers, "--save", path,
        "--keep", tmp_path / "kept", *few,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "broken.png: the content is not an image" in result.stderr
    assert sorted(it.name for it in (tmp_path / "kept").iterdir()) == ["test.safetensors", "train.safetensors"]
    pictures = sorted((folders / "test" / "light").iterdir())
    said = run("classify", *pictures, "--probe", path, "--model", two_towers, "--json")
    assert said.exit_code == 0, said.stderr
    expected = classify_by_probe([str(it) for it in pictures], load_probe(path), model=two_towers)
    for row, shares in zip(json.loads(said.stdout), expected.probabilities, strict=True):
        assert list(row["probabilities"]) == ["dark", "light"]
        np.testing.assert_allclose(list(row["probabilities"].values()), shares, rtol=1e-6)
    table = run("classify", pictures[0], "--probe", path, "--model", two_towers, "--top", 1)
    assert table.exit_code == 0
    assert len(table.stdout.splitlines()) == 3
    assert "numpy, float32: ran in" in table.stdout.splitlines()[-1].replace("\n", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kind", "attentive", "--features", "mean"], "--features is for linear"),
        (["--kind", "attentive", "--strength", "1"], "--strength is for linear, and not for attentive"),
        (["--epochs", "3"], "--epochs is for attentive, and not for linear"),
        (["--batch-size", "3"], "--batch-size is for attentive"),
        (["--heads", "3"], "--heads is for attentive"),
    ],
)
def test_options_of_the_other_kind(files, options, said):
    result = run("probe", *files, *options)
    assert result.exit_code == 2
    assert said in result.stderr


def test_what_cannot_be_trained_on(files, tmp_path):
    features, labels = clusters(9)
    bad = features.copy()
    bad[4, 2] = np.nan
    for name, change, said in (
        ("nan", (bad, labels), "picture 4 hold NaN or infinity"),
        ("one", (features[:1], labels[:1]), "train has pictures of 1 class (cat); expected at least two"),
        ("alone", (features[:3], labels[:3]), "one picture of each class"),
    ):
        path = write_labelled(tmp_path / f"{name}.safetensors", *change)
        result = run("probe", path, path)
        assert (result.exit_code, said in result.stderr) == (1, True), result.stderr
    cow = write_labelled(tmp_path / "cow.safetensors", features, ["cow", *labels[1:]])
    assert "train has no picture of 'cow', which test has" in run("probe", files[0], cow).stderr
    wide = write_labelled(tmp_path / "wide.safetensors", *clusters(9, 7))
    assert "expected a vector of 6 numbers" in run("probe", files[0], wide).stderr
    assert run("probe", tmp_path / "missing", files[0]).stderr.startswith("error: there is no ")
    assert "strength is -1.0; expected a number above 0" in run("probe", *files, "--strength", -1).stderr


def test_a_probe_that_is_there_stays(files, tmp_path):
    path = tmp_path / "probe.safetensors"
    path.write_bytes(b"mine")
    refused = run("probe", *files, "--save", path)
    assert (refused.exit_code, path.read_bytes()) == (1, b"mine")
    assert refused.stderr.endswith("name another file, or overwrite it with --force\n")
    assert run("probe", *files, "--save", path, "--force").exit_code == 0
    assert load_probe(path).classes == ("cat", "dog", "fox")


def test_classify_refuses_probes_that_do_not_belong(folders, two_towers, tmp_path):
    picture, path = next((folders / "train" / "dark").iterdir()), tmp_path / "probe.safetensors"
    linear_probe(16, weights_hash="another").save(path)
    other = run("classify", picture, "--probe", path, "--model", two_towers)
    assert other.exit_code == 1
    assert "the probe was trained on 'a model', and " in other.stderr
    width = run("classify", picture, "--probe", path)
    assert "makes pooled features of 128 numbers, and the probe is of 16" in width.stderr
    for given in (["--labels", "a,b"], ["--label", "a"], ["--template", "a {}"]):
        both = run("classify", picture, "--probe", path, *given)
        assert both.exit_code == 2
        assert "--probe has its own classes" in both.stderr
    shutil.copy(picture, path)
    assert run("classify", picture, "--probe", path).exit_code == 1
    assert run("classify", picture, "--probe", tmp_path / "nothing").stderr.startswith("error: there is no file")
