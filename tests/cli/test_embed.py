import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from aimv2_np.cli.app import app
from aimv2_np.tasks import ImageEmbedder, open_features
from aimv2_np.tasks.embedding.remote import _system
from tests.support.paths import ROOT
from tests.support.pictures import photo
from tests.support.refusals import assert_error
from tests.support.two_towers import save_vision_tower


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(14):
        photo(20, 30, seed=number).save(folder / f"{number:02d}.png")
    (folder / "05.png").write_bytes(b"nothing")
    return folder


def run(*arguments: object, **options) -> Result:
    return CliRunner().invoke(app, ["embed", *map(str, arguments)], **options)


def test_what_it_says_and_writes(two_towers, photos, tmp_path):
    output = tmp_path / "f.safetensors"
    result = run(photos, photos / "03.png", "-o", output, "--model", two_towers)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"left out: {photos / '05.png'}: the content is not an image")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout.startswith(f"{output}: projected features of 13 pictures, 8 numbers each; 14 pictures in ")
    assert result.stdout.endswith("/s; 1 broken; 1 duplicate left out\n")
    file = open_features(output)
    wanted = ImageEmbedder(two_towers)({"path": list(file.names)})["features"]
    np.testing.assert_allclose(file.features, wanted, atol=1e-5)
    again = run(photos, photos / "03.png", "-o", output, "--model", two_towers)
    assert again.exit_code == 0
    assert "complete already; 1 broken" in again.stdout


def test_json(two_towers, photos, tmp_path):
    options = ["--features", "mean", "--normalize", "--batch-size", 3, "--threads", 1, "--save-every", 5]
    result = run(photos, "-o", tmp_path / "f.npz", "--model", two_towers, *options, "--json")
    assert result.exit_code == 0
    value = json.loads(result.stdout)
    (broken,) = value.pop("broken")
    assert broken["name"] == str(photos / "05.png")
    assert value.pop("seconds") > 0
    facts = {"output": str(tmp_path / "f.npz"), "features": "mean", "size": 16, "count": 13}
    nothing = {"duplicates": 0, "continued": 0, "kept": 0, "changed": 0, "absent": 0, "dropped": 0, "passed_over": {}}
    assert value == {**facts, **nothing}
    assert open_features(tmp_path / "f.npz").metadata["normalized"] == "true"


def test_a_collection_that_lives(two_towers, tmp_path):
    folder, output = tmp_path / "photos", tmp_path / "f.npz"
    folder.mkdir()
    for number in range(4):
        photo(20, 30, seed=number).save(folder / f"{number}.png")
    arguments = (folder, "-o", output, "--model", two_towers)
    assert run(*arguments, "--checksum").exit_code == 0
    photo(20, 30, seed=4).save(folder / "4.png")
    told = run(*arguments).stdout
    assert "features of 5 pictures, 8 numbers each; 1 picture in " in told
    assert told.endswith("/s; 4 kept\n")
    photo(20, 30, seed=9).save(folder / "1.png")
    (folder / "2.png").unlink()
    assert_error(run(*arguments, "--checksum"), "1 of its 5 pictures have changed since they were embedded, the first")
    told = run(*arguments, "--sync").stdout
    assert told.endswith("/s; 3 kept; 1 changed and embedded again; 1 not given any more and dropped\n")
    (folder / "3.png").unlink()
    told = run(*arguments).stdout
    assert "complete already; 1 not given any more and kept (--sync drops them)" in told
    value = json.loads(run(*arguments, "--sync", "--json").stdout)
    assert [value[name] for name in ("kept", "changed", "absent", "dropped")] == [3, 0, 0, 1]
    (folder / "4.png").unlink()
    told = run(*arguments, "--sync").stdout
    assert "; nothing to compute; 2 kept; 1 not given any more and dropped" in told


def test_zips_tables_and_addresses(two_towers, photos, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.write(photos / "00.png", "in/00.png")
        archive.write(photos / "01.png", "../01.png")
    (tmp_path / "list.csv").write_text(f"picture,second\nnothing.png,{photos / '02.png'}\n")
    places = (tmp_path / "p.zip", tmp_path / "list.csv")
    result = run(*places, "--column", "second", "-o", tmp_path / "f.npz", "--model", two_towers)
    assert result.exit_code == 0
    assert list(open_features(tmp_path / "f.npz").names) == [f"{tmp_path}/p.zip/in/00.png", str(photos / "02.png")]
    assert result.stderr.startswith(f"left out: {tmp_path}/p.zip/../01.png: its name leads out of the archive")
    assert_error(
        run(*places, "--column", "third", "-o", tmp_path / "g.npz", "--model", two_towers), "expected one named third"
    )
    monkeypatch.setitem(sys.modules, "fsspec", None)
    _system.cache_clear()
    result = run("https://example.org/a.jpg", "-o", tmp_path / "g.npz", "--model", two_towers)
    assert_error(result, "pip install 'aimv2-np[remote]'; or fetch them first")


def test_an_address_needs_an_engine(two_towers, photos, tmp_path):
    result = run(photos, "-o", tmp_path / "f.npz", "--model", two_towers, "--address", "10.0.0.1:6379")
    assert_error(result, "address is '10.0.0.1:6379' without an engine; pass --engine (engine=…) too, or neither")


def test_many_broken_pictures_are_not_all_named(two_towers, tmp_path):
    for number in range(25):
        (tmp_path / f"{number:02d}.png").write_bytes(b"")
    photo(20, 30).save(tmp_path / "30.png")
    result = run(tmp_path, "-o", tmp_path / "f.npz", "--model", two_towers)
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "left out: 15 more (--json names all)"


def test_a_list_on_standard_input(two_towers, photos, tmp_path):
    names = f"{photos / '01.png'}\n{photos / '00.png'}\n"
    result = run("-", "-o", tmp_path / "f.npz", "--model", two_towers, input=names)
    assert result.exit_code == 0
    assert "\n".join(open_features(tmp_path / "f.npz").names) + "\n" == names


def test_the_embedded_model_is_the_default_and_says_what_it_knows(photos, tmp_path):
    result = run(photos / "00.png", "-o", tmp_path / "f.npz")
    assert result.exit_code == 0
    assert result.stderr.startswith("note: the embedded model knows coloured shapes only")
    assert open_features(tmp_path / "f.npz").metadata["model"] == "aimv2-tiny-shapes"


def test_errors_are_one_line(two_towers, photos, tmp_path):
    model = ("--model", two_towers)
    output = tmp_path / "f.npz"
    assert_error(run(photos / "nowhere", "-o", output, *model), "there is no")
    assert_error(run(photos, "-o", tmp_path / "f.pt", *model), "ends in '.pt'; expected one of")
    assert_error(run(photos, "-o", tmp_path / "no" / "f.npz", *model), "there is no folder")
    strict = run(photos, "-o", output, *model, "--strict", "--batch-size", 2)
    assert_error(strict, "05.png: the content is not an image")
    # What --strict has computed before it stopped is an interrupted run.
    assert_error(run(photos, "-o", output, *model, "--features", "mean"), "--restart")
    assert_error(run(photos, "-o", output, "--model", "nowhere"), "there is no folder 'nowhere'")
    vision = save_vision_tower(tmp_path / "vision", use_head=False)
    assert_error(run(photos, "-o", output, "--model", vision, "--features", "pooled"), "come from a pooling head")
    output.write_bytes(b"mine")
    assert_error(run(photos, "-o", output, *model), "exists already; name another file, or overwrite it with --force")
    assert output.read_bytes() == b"mine"
    assert run(photos, "-o", output, *model, "--force", "--restart").exit_code == 0


def test_parquet_without_pyarrow(two_towers, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert_error(run(photos, "-o", tmp_path / "f.parquet", "--model", two_towers), "pip install 'aimv2-np[parquet]'")


@pytest.mark.parametrize(
    "arguments", [[], ["x.png"], ["x.png", "-o", "f.npz", "--batch-size", "0"], ["x", "-o", "f", "--features", "best"]]
)
def test_wrong_usage_exits_with_2(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


def test_what_is_passed_over_is_said(two_towers, photos, tmp_path):
    for name in ("a.heic", "b.HEIC", "c.csv"):
        (tmp_path / name).write_bytes(b"")
    result = run(tmp_path, photos / "01.png", "-o", tmp_path / "f.npz", "--model", two_towers)
    assert result.stdout.endswith("; 3 passed over: .heic 2, .csv 1\n")


@pytest.mark.parametrize(("error", "code", "said"), [
    (MemoryError(), 1, "error: out of memory; {photos}/08.png was being read; 8 of 14"),
    (OSError(24, "Too many open files", "08.png"), 1, "error: 08.png: too many open files; 8 of 14"),
    (KeyboardInterrupt(), 130, "interrupted; 8 of 14"),
])  # fmt: skip
def test_what_stops_it_says_what_is_kept(two_towers, photos, tmp_path, monkeypatch, error, code, said):
    opened = Image.open

    def fail(file, *others):
        if str(file).endswith("08.png"):
            raise error
        return opened(file, *others)

    monkeypatch.setattr(Image, "open", fail)
    output = tmp_path / "f.npz"
    result = run(photos, "-o", output, "--model", two_towers, "--batch-size", 4)
    assert result.exit_code == code
    said = said.format(photos=photos)
    assert result.stderr.splitlines()[-1] == f"{said} pictures are kept in {output}.parts; the same command continues"


FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full")  # noqa: PTH110


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@FULL
@pytest.mark.parametrize("arguments", ["--help", "info", "models --json"])
def test_standard_output_on_a_full_disk(arguments):
    command = f"'{sys.executable}' -m aimv2_np {arguments} >/dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stderr) == (1, b"error: no space left on device\n")


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize("closed", [
    ">&-", "2>&-", "<&-", ">&- 2>&- <&-", pytest.param("2>/dev/full", marks=FULL), "2> >(true)",
])  # fmt: skip
def test_closed_standard_streams(photos, tmp_path, closed):
    output = tmp_path / "f.npz"
    command = f"'{sys.executable}' -m aimv2_np embed '{photos}' -o '{output}' {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert len(open_features(output)) == 13


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
def test_a_list_on_a_closed_standard_input(tmp_path):
    command = f"'{sys.executable}' -m aimv2_np embed - -o '{tmp_path / 'f.npz'}' <&-"
    done = subprocess.run(command, shell=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(b"error: standard input is closed")


def test_vectors_in_fewer_bytes_say_what_they_lose(two_towers, photos, tmp_path):
    result = run(photos, "-o", tmp_path / "f.npz", "--model", two_towers, "--store", "int8", "--json")
    loss = json.loads(result.stdout)["loss"]
    assert 0 < loss < 1e-3
    shown = run(photos, "-o", tmp_path / "f.npz", "--model", two_towers, "--store", "int8", "--force")
    assert f"cosines with the float32 vectors {1 - loss:.6f} or more" in " ".join(shown.stdout.split())
    assert run(photos, "-o", tmp_path / "g.npz", "--store", "int4").exit_code == 2
