import contextlib
import errno
import json
import os
import random
import signal
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimv2_np import CheckpointError, UntrainedSizeWarning, load
from aimv2_np.storage.digest import hash_weights
from aimv2_np.tasks import ImageEmbedder, embed, embed_query, open_features, search
from aimv2_np.tasks.embedding import parts
from tests.support.commands import command
from tests.support.paths import ROOT
from tests.support.pictures import photo
from tests.support.two_towers import save_two_towers, save_vision_tower

SOUND = [number for number in range(40) if number not in (7, 21)]


@pytest.fixture
def output(tmp_path):
    return tmp_path / "features.safetensors"


def files(folder):
    return sorted(path.name for path in folder.iterdir())


class Stop(Exception):  # noqa: N818 (no error: a crash)
    """Raised in the middle of a run, as a crash would be."""


def stop_after(number):
    """A progress function that stops the run once `number` pictures are done."""

    def progress(done, total):
        if done >= number:
            raise Stop

    return progress


def test_all_pictures_are_in_the_file_in_order(two_towers, photos, output):
    told, steps = [], []
    result = embed(
        [photos], output, model=two_towers, batch_size=6, progress=lambda *at: steps.append(at),
        on_broken=lambda *broken: told.append(broken),
    )  # fmt: skip
    file = open_features(output)
    names = [str(photos / f"{number:02d}.png") for number in SOUND]
    assert list(file.names) == names
    assert file.features.shape == (38, 8)
    wanted = ImageEmbedder(two_towers)({"path": names})["features"]
    np.testing.assert_allclose(file.features, wanted, atol=1e-5)
    assert (result.count, result.size, result.kind, result.continued) == (38, 8, "projected", 0)
    assert [name for name, _ in result.broken] == [str(photos / "07.png"), str(photos / "21.png")]
    assert list(file.broken) == list(result.broken) == told
    assert "is not an image" in file.broken[0][1]
    assert "cannot be decoded" in file.broken[1][1]
    assert steps == [(done, 40) for done in (0, 6, 12, 18, 24, 30, 36, 40)]
    assert files(output.parent) == ["features.safetensors"]
    metadata = file.metadata
    assert metadata["weights_hash"] == hash_weights(load(two_towers).state_dict())
    facts = {"features": "projected", "normalized": "false", "model": str(two_towers), "count": "38", "broken": "2"}
    assert facts.items() <= metadata.items()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("kind", ["pooled", "tokens"])
def test_both_formats_hold_the_same(two_towers, photos, tmp_path, suffix, kind):
    path = tmp_path / f"features{suffix}"
    embed([photos], path, model=two_towers, features=kind, normalize=True, save_every=7, batch_size=3)
    file = open_features(path)
    assert file.features.shape == ((38, 16) if kind == "pooled" else (38, 6, 16))
    assert file.metadata["normalized"] == "true"
    np.testing.assert_allclose(np.linalg.norm(file.features, axis=-1), 1, rtol=1e-6)
    assert file.names[-1] == str(photos / "39.png")
    assert len(file.broken) == 2
    assert ("grid" in file.arrays) == (kind == "tokens")
    assert not file.features.flags.writeable
    if suffix == ".npz":
        arrays = np.load(path)
        np.testing.assert_array_equal(arrays["features"], file.features)
        assert json.loads(str(arrays["metadata"])) == file.metadata
        ends = arrays["name_ends"]
        assert arrays["names"][: ends[0]].tobytes().decode() == file.names[0]
        assert file.features.ctypes.data % 64 == 0  # used where it lies
    else:
        from safetensors.numpy import load_file

        np.testing.assert_array_equal(load_file(path)["features"], file.features)


@pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_native_models_give_each_picture_its_own_number_of_tokens(tmp_path, suffix):
    folder = save_two_towers(tmp_path / "native", is_native=True)
    sizes = [(16, 24), (24, 24), (16, 16), (40, 17), (24, 24)]
    for number, size in enumerate(sizes):
        photo(*size, seed=number).save(tmp_path / f"{number}.png")
    photo(5, 30).save(tmp_path / "small.png")
    path = tmp_path / f"features{suffix}"
    result = embed([tmp_path / "*.png"], path, model=folder, features="tokens", save_every=2, batch_size=2)
    assert [name for name, _ in result.broken] == [str(tmp_path / "small.png")]
    file = open_features(path)
    assert file.arrays["grid"].tolist() == [[2, 3], [3, 3], [2, 2], [5, 2], [3, 3]]
    for number in (0, 3, 4, -1):
        alone = ImageEmbedder(folder, "tokens")({"path": [file.names[number]]})["features"][0]
        np.testing.assert_allclose(file.tokens(number), alone, atol=1e-5)


def test_untrained_sizes_are_told_once_and_may_be_bounded(tmp_path):
    folder = save_two_towers(tmp_path / "native", is_native=True)
    for number in range(4):
        photo(8 * 80, 8 * 56, seed=number).save(tmp_path / f"{number}.png")  # 4480 patches
    output = tmp_path / "features.npz"
    with pytest.warns(UntrainedSizeWarning, match=r"0.png \(4,480\), .*1.png \(4,480\): ") as caught:
        embed([tmp_path / "*.png"], output, model=folder, batch_size=2)
    assert len(caught) == 1
    embed([tmp_path / "*.png"], tmp_path / "less.npz", model=folder, batch_size=2, max_patches=200)
    file = open_features(tmp_path / "less.npz")
    assert file.metadata["max_patches"] == "200"
    found = search(file, embed_query(file, tmp_path / "2.png"), top=1)[0]
    assert found.name.endswith("2.png")
    assert found.score == pytest.approx(1, abs=1e-6)  # the query was scaled down as the others were


@pytest.mark.parametrize("archive", ["photos.tar", "photos.tar.gz"])
def test_an_archive_gives_what_its_files_give(two_towers, photos, tmp_path, monkeypatch, archive):
    monkeypatch.chdir(tmp_path)
    with tarfile.open(archive, "w:gz" if archive.endswith("gz") else "w") as tar:
        tar.add(photos, "in")
    with pytest.raises(Stop):
        embed([archive], "tar.npz", model=two_towers, batch_size=4, progress=stop_after(16))
    result = embed([archive], "tar.npz", model=two_towers, batch_size=4)
    assert result.continued == 16
    embed([photos], "files.npz", model=two_towers, batch_size=4)
    one, other = open_features("tar.npz"), open_features("files.npz")
    order = np.argsort([Path(name).name for name in one.names])  # the order in the archive is that of its making
    assert [Path(one.names[i]).name for i in order] == [Path(name).name for name in other.names]
    assert all(name.startswith(f"{archive}/in/") for name in one.names)
    np.testing.assert_allclose(one.features[order], other.features, atol=1e-5)


def test_an_interrupted_run_is_continued_and_ends_in_the_same_file(two_towers, photos, output):
    arguments = {"model": two_towers, "batch_size": 3, "save_every": 6}
    embed([photos], output, **arguments)
    whole = output.read_bytes()
    output.unlink()
    with pytest.raises(Stop):
        embed([photos], output, **arguments, progress=stop_after(21))
    assert files(output.parent) == ["features.safetensors.parts"]
    steps = []
    result = embed([photos], output, **arguments, progress=lambda *at: steps.append(at))
    assert result.continued == 21  # what was computed is saved even between two saves
    assert steps[0] == (21, 40)
    assert output.read_bytes() == whole
    assert len(result.broken) == 2
    # Once more: nothing to do, and nothing is done.
    again = embed([photos], output, **arguments, progress=lambda *at: pytest.fail("computed anew"))
    assert (again.continued, again.count, again.broken) == (40, 38, result.broken)


def test_kill_9_at_any_moment(two_towers, photos, tmp_path):
    """Twenty runs killed at random moments, each of which continues the one before; then one that may end."""
    arguments = [str(photos), "--model", str(two_towers), "--batch-size", "1", "--save-every", "1"]
    embed([photos], tmp_path / "whole.safetensors", model=two_towers, batch_size=1, save_every=1)
    output = tmp_path / "killed.safetensors"
    folder = Path(f"{output}.parts")
    chance = random.Random(0)
    kills = 0
    done: list[int] = []
    while kills < 20:
        before = size(folder)
        process = command("embed", *arguments, "-o", output)
        # The moment: when some more bytes are in the folder of parts, wherever in a save that may be.
        more = chance.randrange(1, 1200)
        while process.is_alive() and size(folder) < before + more:
            pass
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
        else:  # it was done before its moment came; the rest of the kills are for another run
            assert process.exitcode == 0
            assert output.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
            output.unlink()
        if folder.exists() and not output.exists():
            done.append((folder / "manifest.jsonl").read_bytes().count(b"\n"))
    assert max(done) > 10  # kills did happen in the middle of runs
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    last = [sys.executable, "-m", "aimv2_np", "embed", *arguments, "-o", output]
    subprocess.run(last, env=environment, check=True, capture_output=True)
    assert output.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert files(tmp_path) == ["killed.safetensors", "whole.safetensors"]


def size(folder):
    """Bytes in a folder that another process writes to."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            total += entry.stat().st_size
    return total


def test_killed_between_the_last_two_steps(two_towers, photos, output, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "remove", lambda self: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            embed([photos], output, model=two_towers)
    assert files(output.parent) == ["features.safetensors", "features.safetensors.parts"]
    result = embed([photos], output, model=two_towers)
    assert result.continued == 40
    assert len(result.broken) == 2
    assert files(output.parent) == ["features.safetensors"]


def test_a_torn_line_and_what_it_would_have_counted_are_computed_again(two_towers, photos, output):
    arguments = {"model": two_towers, "batch_size": 4, "save_every": 4}
    embed([photos], output, **arguments)
    whole = output.read_bytes()
    for torn in (1, 40, -3):  # of the first line; of what follows; none but the newline of the last
        output.unlink()
        with pytest.raises(Stop):
            embed([photos], output, **arguments, progress=stop_after(20))
        manifest = Path(f"{output}.parts", "manifest.jsonl")
        lines = manifest.read_bytes().splitlines(keepends=True)
        kept = b"".join(lines[:-1]) + lines[-1][:torn]
        manifest.write_bytes(lines[0][:30] if torn == 1 else kept)
        result = embed([photos], output, **arguments)
        assert result.continued == (0 if torn == 1 else 16)
        assert output.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": "mean"}, 'features was "projected" and is now "mean"'),
        ({"normalize": True}, "normalize was false and is now true"),
        ({"dtype": "float64"}, 'dtype was "float32" and is now "float64"'),
        ({"model": "other"}, 'weights was ".*…" and is now '),
        ({"batch_size": 5}, "batch size was 4 and is now 5"),
        ({"paths": "fewer"}, "number of pictures was 40 and is now 1; pictures was"),
    ],
)
def test_a_run_is_not_continued_as_another(two_towers, photos, output, tmp_path, change, message):
    with pytest.raises(Stop):
        embed([photos], output, model=two_towers, batch_size=4, progress=stop_after(8))
    if "model" in change:
        from aimv2_np import Aimv2Model

        folder = save_two_towers(tmp_path / "other")
        Aimv2Model(Aimv2Model.from_pretrained(folder).config, seed=1).save_pretrained(folder, overwrite=True)
        change = {"model": folder}
    paths = [photos / "03.png"] if change.pop("paths", None) else [photos]
    arguments = {"model": two_towers, "batch_size": 4, **change}
    with pytest.raises(ValueError, match=f"holds an interrupted run of another kind: {message}.*--restart"):
        embed(paths, output, **arguments)
    result = embed(paths, output, **arguments, restart=True)
    assert result.continued == 0
    assert len(open_features(output)) == result.count


def test_what_failed_at_once_leaves_nothing(two_towers, photos, output):
    with pytest.raises(Stop):
        embed([photos], output, model=two_towers, progress=stop_after(0))
    assert files(output.parent) == []
    # Killed at once, it has left a manifest without parts: any run may take its place.
    folder = Path(f"{output}.parts")
    folder.mkdir()
    (folder / "manifest.jsonl").write_text('{"format":"aimv2_np.embed/2","run":{"features":"mean"},"total":3}\n')
    assert embed([photos], output, model=two_towers).count == 38


def test_two_processes_do_not_write_the_same_output(two_towers, photos, output):
    def second(done, total):
        if done == 8:
            with pytest.raises(BlockingIOError, match="is being written by another process"):
                embed([photos], output, model=two_towers, batch_size=4)

    assert embed([photos], output, model=two_towers, batch_size=4, progress=second).count == 38


def test_damaged_parts_are_told(two_towers, photos, output):
    folder = Path(f"{output}.parts")
    arguments = {"model": two_towers, "batch_size": 4}

    def interrupted():
        with pytest.raises(Stop):
            embed([photos], output, **arguments, save_every=4, restart=True, progress=stop_after(12))
        return folder / "features.bin", folder / "manifest.jsonl"

    held, _ = interrupted()
    held.write_bytes(held.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"manifest.jsonl cannot be continued from: .* truncated.*--restart"):
        embed([photos], output, **arguments)
    _, manifest = interrupted()
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join([lines[0], *lines[2:]]))
    with pytest.raises(CheckpointError, match="a part from 4 to 8 of 40 is out of place"):
        embed([photos], output, **arguments)
    manifest.write_text("[]\n[]\n")
    with pytest.raises(CheckpointError, match=r"its first line is not that of aimv2_np.embed/2"):
        embed([photos], output, **arguments)


def test_a_full_disk_leaves_a_manifest_that_can_be_continued(two_towers, photos, output, monkeypatch):
    arguments = {"model": two_towers, "batch_size": 4, "save_every": 4}
    calls = []

    def fsync(number):
        calls.append(number)
        if len(calls) > 12 and not stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(28, "No space left on device")
        real(number)

    real = os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space left"):
            embed([photos], output, **arguments)
    result = embed([photos], output, **arguments)
    assert 0 < result.continued < 40
    whole = output.read_bytes()
    output.unlink()
    embed([photos], output, **arguments)
    assert output.read_bytes() == whole


def test_strict_stops_at_the_first_broken_picture_and_can_go_on_when_it_is_mended(two_towers, tmp_path):
    output = tmp_path / "features.npz"
    for number in range(12):
        photo(20, 30, seed=number).save(tmp_path / f"{number:02d}.png")
    sound = (tmp_path / "09.png").read_bytes()
    (tmp_path / "09.png").write_bytes(b"")
    arguments = {"model": two_towers, "batch_size": 2, "strict": True}
    with pytest.raises(ValueError, match=r"09.png: the content is empty"):
        embed([tmp_path], output, **arguments)
    assert not output.exists()
    (tmp_path / "09.png").write_bytes(sound)
    result = embed([tmp_path], output, **arguments)
    assert (result.continued, result.count, result.broken) == (8, 12, ())


def test_no_picture_can_be_read(two_towers, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(
        ValueError, match=r"none of 2 pictures can be read, and nothing is written; the first, .*a.png:"
    ):
        embed([tmp_path], tmp_path / "f.npz", model=two_towers)
    photo(20, 30).save(tmp_path / "a.png")
    assert embed([tmp_path], tmp_path / "f.npz", model=two_towers).count == 1


def test_existing_files_are_not_overwritten(two_towers, photos, output):
    output.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"features.safetensors exists already"):
        embed([photos], output, model=two_towers)
    assert output.read_bytes() == b"mine"
    embed([photos], output, model=two_towers, overwrite=True)
    with pytest.raises(FileExistsError, match="exists already"):
        embed([photos], output, model=two_towers, features="mean")
    assert open_features(output).kind == "projected"
    assert embed([photos], output, model=two_towers, overwrite=True).continued == 0
    assert files(output.parent) == ["features.safetensors"]


def test_outputs_and_options_that_make_no_sense(two_towers, photos, tmp_path):
    with pytest.raises(ValueError, match=r"f.pt ends in '.pt'; expected one of .safetensors, .npz, .parquet"):
        embed([photos], tmp_path / "f.pt", model=two_towers)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write f.npz to"):
        embed([photos], tmp_path / "nowhere" / "f.npz", model=two_towers)
    with pytest.raises(ValueError, match="save_every is 0"):
        embed([photos], tmp_path / "f.npz", model=two_towers, save_every=0)
    with pytest.raises(ValueError, match="need a two-tower model"):
        embed([photos], tmp_path / "f.npz", model=save_vision_tower(tmp_path / "v"), features="projected")
    (tmp_path / "g.npz").mkdir()
    with pytest.raises(IsADirectoryError):
        embed([photos], tmp_path / "g.npz", model=two_towers)
    assert not list(tmp_path.glob("*.parts"))


def test_parquet_without_pyarrow(two_towers, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'aimv2-np\[parquet\]'"):
        embed([photos], tmp_path / "f.parquet", model=two_towers)
    assert files(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, None])
def test_errors_of_the_system_stop_the_run_and_mark_no_picture(two_towers, photos, output, monkeypatch, code):
    opened = Image.open

    def fail(file, *others):
        if str(file).endswith("14.png"):
            raise MemoryError if code is None else OSError(code, os.strerror(code))  # as a read that fails
        return opened(file, *others)

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises((OSError, MemoryError)) as caught:
        embed([photos], output, model=two_towers, batch_size=4, threads=3)
    assert "14.png" in f"{caught.value} {caught.value.__notes__}"
    assert caught.value.__notes__[-1] == f"12 of 40 pictures are kept in {output}.parts; the same command continues"
    monkeypatch.undo()
    result = embed([photos], output, model=two_towers, batch_size=4)
    assert (result.continued, result.count) == (12, 38)


def test_a_full_disk_is_told_with_the_file_and_what_is_kept(two_towers, photos, output, monkeypatch):
    sync = os.fsync

    def full(number):
        name = Path(f"/proc/self/fd/{number}").readlink().name
        calls.append(name)
        if name == "features.bin" and calls.count(name) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(number)

    calls = []
    if not Path("/proc/self/fd").exists():
        pytest.skip("names of open files are Linux's")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*features\.bin'") as caught:
        embed([photos], output, model=two_towers, batch_size=4, save_every=4)
    assert caught.value.__notes__ == [f"8 of 40 pictures are kept in {output}.parts; the same command continues"]


def test_changed_contents_are_another_run(two_towers, tmp_path):
    for number in range(8):
        photo(20, 30, seed=number).save(tmp_path / f"{number}.png")
    output = tmp_path / "f.npz"
    arguments = {"model": two_towers, "batch_size": 2}
    with pytest.raises(Stop):
        embed([tmp_path], output, **arguments, progress=stop_after(4))
    os.utime(tmp_path / "6.png", ns=(0, 5))  # not done yet
    with pytest.raises(Stop):
        embed([tmp_path], output, **arguments, progress=stop_after(6))
    os.utime(tmp_path / "1.png", ns=(0, 5))
    with pytest.raises(ValueError, match=r"of its first 4 pictures some have changed since"):
        embed([tmp_path], output, **arguments)
    assert embed([tmp_path], output, **arguments, restart=True).continued == 0
    assert embed([tmp_path], output, **arguments).continued == 8
    os.utime(tmp_path / "6.png", ns=(0, 6))
    with pytest.raises(ValueError, match=r"1 of its 8 pictures have changed .*6.png; nothing is written. --sync"):
        embed([tmp_path], output, **arguments)


def test_warnings_name_the_picture_and_come_once_a_kind(two_towers, tmp_path, capfd):
    for number in range(3):
        Image.fromarray(np.full((30, 20), 300 + number, np.uint16)).save(tmp_path / f"{number}.png")
        Image.new("RGB", (64, 64), "red").save(tmp_path / f"{number}.tif", compression="tiff_lzw")
        data = bytearray((tmp_path / f"{number}.tif").read_bytes())
        data[10:12] = b"\xff\xff"  # in the compressed pixels
        (tmp_path / f"{number}.tif").write_bytes(data)
    with pytest.warns() as caught:
        embed([tmp_path], tmp_path / "f.npz", model=two_towers, threads=1)
    told = [str(warning.message) for warning in caught]
    assert len(told) == len({text.partition(": ")[2][:20] for text in told})
    assert any(text.startswith(f"{tmp_path / '0.png'}: the image has mode I;16") for text in told)
    assert any(text.startswith(f"{tmp_path / '0.tif'}: libtiff says: ") for text in told)
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that cannot be read is Linux's")
def test_a_disk_that_fails_is_told_with_the_picture(two_towers, photos, tmp_path):
    (tmp_path / "list.txt").write_text(f"{photos / '00.png'}\n/proc/self/mem\n")
    with pytest.raises(OSError, match=r"/proc/self/mem") as caught:
        embed([tmp_path / "list.txt"], tmp_path / "f.npz", model=two_towers, checksum=True)
    assert caught.value.errno == errno.EIO
