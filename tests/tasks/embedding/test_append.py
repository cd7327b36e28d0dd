"""A collection that lives: a complete file takes up more pictures, and is to the bit that of a run over all of them."""

import contextlib
import errno
import os
import random
import shutil
import signal
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.kernels.native.library import kernels, using
from aimv2_np.tasks import embed, open_features
from aimv2_np.tasks.embedding import parts, run
from aimv2_np.tasks.embedding.feature_file import write_features
from aimv2_np.tasks.embedding.ledger import read_ledger
from aimv2_np.tasks.embedding.plan import alone
from tests.support.commands import command
from tests.support.pictures import photo
from tests.support.two_towers import save_two_towers
from tests.tasks.embedding.test_run import Stop, stop_after

IN_C = pytest.mark.skipif(kernels() is None, reason="no kernels in C, in which each row is a sum by itself")


def add(folder, numbers, **options):
    """Pictures of different sizes in a folder; every 30th is none."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        photo(17 + number % 7, 25 + number % 5, seed=number, **options).save(folder / f"{number:03d}.png")
        if number % 30 == 7:
            (folder / f"{number:03d}.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def whole(model, output, **options):
    """A file of one run over the pictures that are in `output`, in its order."""
    names = read_ledger(open_features(output)).names
    clean = Path(f"clean{output.suffix}")
    clean.unlink(missing_ok=True)
    embed(names, clean, model=model, **options)
    return clean.read_bytes()


@pytest.mark.parametrize("options", [
    {}, {"dtype": "float16"}, {"features": "tokens", "normalize": True}, {"suffix": ".npz", "checksum": True},
], ids=["in C", "as NumPy rounds", "tokens", "npz"])  # fmt: skip
def test_five_runs_give_the_bytes_of_one(two_towers, here, options):
    output = here / f"f{options.pop('suffix', '.safetensors')}"
    options |= {"model": two_towers, "batch_size": 8, "save_every": 4}
    kept = 0
    for end in (13, 14, 30, 48, 60):
        folder = add(here / "photos", range(kept, end))
        before = output.read_bytes() if output.exists() else None
        with contextlib.suppress(Stop):
            embed([folder], output, **options, progress=stop_after(end - 3))
        if before is not None and output.read_bytes() == before:  # it was stopped: the file is as it was, and usable
            assert len(open_features(output).features) == kept - (kept + 22) // 30
        result = embed([folder], output, **options)
        assert (result.count + len(result.broken), result.kept) == (end, kept)
        assert list(open_features(output).names) == [f"{folder}/{i:03d}.png" for i in range(end) if i % 30 != 7]
        kept = end
    embed(sorted(folder.iterdir()), here / f"clean{output.suffix}", **options)
    assert output.read_bytes() == (here / f"clean{output.suffix}").read_bytes()
    assert embed([folder], output, **options, progress=lambda *_: pytest.fail("computed anew")).continued == 60
    assert not Path(f"{output}.parts").exists()


def test_numpy_gives_the_same_bytes_by_the_same_batches(two_towers, here):
    """BLAS sums in an order that depends on the shape of the batch: rows are kept by whole batches."""
    with using(None):
        output, computed = here / "f.npz", []
        embed([add(here / "photos", range(20))], output, model=two_towers, batch_size=8)
        embed([here / "photos"], "single.npz", model=two_towers, batch_size=1)
        assert not np.array_equal(open_features("single.npz").features, open_features(output).features)
        for begin, end in pairwise((20, 37, 45)):
            add(here / "photos", range(begin, end))
            steps = []
            progress = partial(lambda to, *at: to.append(at[0]), steps)
            embed([here / "photos"], output, model=two_towers, batch_size=8, progress=progress)
            computed.append(steps)
        assert computed[0] == [0, 16, 24, 32, 37]  # four of the twenty were in the last batch, which was not whole
        assert output.read_bytes() == whole(two_towers, output, batch_size=8)


@pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
@pytest.mark.parametrize("kernels_in_c", [pytest.param(True, marks=IN_C), False])
@pytest.mark.parametrize("features", ["tokens", "projected"])
def test_native_models_too_whose_pictures_are_packed(here, kernels_in_c, features):
    model = save_two_towers(here / "native", is_native=True)
    with contextlib.nullcontext() if kernels_in_c else using(None):
        for begin, end in pairwise((0, 5, 11, 20)):
            embed([add(here / "photos", range(begin, end))], "f.npz", model=model, features=features, batch_size=4)
        assert Path("f.npz").read_bytes() == whole(model, Path("f.npz"), features=features, batch_size=4)


@IN_C
@pytest.mark.parametrize("kind", ["projected", "cls", "tokens"])
@pytest.mark.parametrize("native", [False, True])
def test_in_c_a_vector_does_not_depend_on_its_neighbours(here, kind, native):
    """What `alone` promises: bits are the same in a batch of 1, 3, 8 and 32."""
    from aimv2_np.tasks import ImageEmbedder

    embedder = ImageEmbedder(save_two_towers(here / "model", is_native=native), kind)
    assert alone(embedder)
    chance = np.random.default_rng(0)
    sizes = chance.integers(1, 6, (40, 2)) * 8 if native else [(16, 24)] * 40
    pictures = [chance.standard_normal((3, *map(int, size))).astype(np.float32) for size in sizes]
    wanted = [embedder.compute([picture])[0] for picture in pictures]
    for batch in (3, 8, 32):
        found = [vector for i in range(0, 40, batch) for vector in embedder.compute(pictures[i : i + batch])]
        assert all(map(np.array_equal, wanted, found))


def test_kill_9_while_pictures_are_added(two_towers, tmp_path):
    """The complete file is whole at every moment, and the same command goes on."""
    arguments = ["--model", two_towers, "--batch-size", "1", "--save-every", "1"]
    output, chance, kills = tmp_path / "f.safetensors", random.Random(1), 0
    embed([add(tmp_path / "photos", range(20))], output, model=two_towers, batch_size=1)
    before, folder = output.read_bytes(), Path(f"{output}.parts")
    add(tmp_path / "photos", range(20, 60))
    for _ in range(12):
        done = size(folder)
        process = command("embed", tmp_path / "photos", *arguments, "-o", output)
        more = chance.randrange(1, 1500)
        while process.is_alive() and size(folder) < done + more:
            pass
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        kills += process.exitcode == -signal.SIGKILL
        if output.read_bytes() != before:
            break
        assert len(open_features(output)) in (19, 58)
    assert kills > 2
    assert output.read_bytes() == before or not folder.exists()
    result = embed([tmp_path / "photos"], output, model=two_towers, batch_size=1)
    assert result.count == 58
    clean = tmp_path / "clean.safetensors"
    embed(read_ledger(open_features(output)).names, clean, model=two_towers, batch_size=1)
    assert output.read_bytes() == clean.read_bytes()
    assert open_features(output).names[:19] == [str(tmp_path / f"photos/{i:03d}.png") for i in range(20) if i != 7]


def size(folder):
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            total += entry.stat().st_size
    return total


def test_changed_pictures_need_sync(two_towers, here):
    folder, output = add(here / "photos", range(12)), here / "f.npz"
    options = {"model": two_towers, "batch_size": 4}
    embed([folder], output, **options)
    old, whole_file = open_features(output).features.copy(), output.read_bytes()
    photo(30, 30, seed=99).save(folder / "003.png")
    photo(30, 30, seed=98).save(folder / "007.png")  # was broken
    told = r"f.npz: 2 of its 12 pictures have changed .*the first .*003.png; nothing .* --sync .*; --restart --force"
    with pytest.raises(ValueError, match=told):
        embed([folder], output, **options)
    assert output.read_bytes() == whole_file
    result = embed([folder], output, **options, sync=True)
    assert (result.kept, result.changed, result.dropped, result.count) == (10, 2, 0, 12)
    new = open_features(output).features
    same = np.isclose(np.delete(new, 7, axis=0), old, atol=1e-5).all(axis=1)
    assert np.flatnonzero(~same).tolist() == [3]  # its row is in its place
    assert output.read_bytes() == whole(two_towers, output, batch_size=4)


def test_pictures_that_are_gone_stay_until_sync(two_towers, here):
    folder, output = add(here / "photos", range(12)), here / "f.npz"
    options = {"model": two_towers, "batch_size": 4}
    embed([folder], output, **options)
    (folder / "002.png").unlink()
    result = embed([folder], output, **options, progress=lambda *_: pytest.fail("computed anew"))
    assert (result.absent, result.kept, result.count) == (1, 11, 11)
    result = embed([add(here / "new", [20, 21])], output, **options)  # others alone: they are added
    assert (result.absent, result.kept, result.count) == (12, 0, 13)
    assert open_features(output).names[2:] == [str(here / f"photos/{i:03d}.png") for i in range(2, 12) if i != 7] + [
        str(here / "new/020.png"), str(here / "new/021.png"),
    ]  # fmt: skip
    result = embed([folder, here / "new"], output, **options, sync=True)
    assert (result.absent, result.kept, result.dropped, result.count) == (0, 13, 1, 12)
    assert output.read_bytes() == whole(two_towers, output, batch_size=4)
    (folder / "004.png").unlink()
    listed = [str(folder / f"{i:03d}.png") for i in range(12) if i != 2]
    Path("list.txt").write_text("\n".join(listed))
    assert embed(["list.txt"], output, **options).absent == 3  # two new ones and the one that the list names in vain
    result = embed(["list.txt"], output, **options, sync=True)
    assert (result.changed, result.dropped, result.count) == (1, 2, 9)
    assert "there is no such file" in dict(result.broken)[str(folder / "004.png")]


def test_without_kernels_rows_of_pictures_that_are_not_given_stay(two_towers, here):
    """They cannot be computed again with those that are: they keep the numbers that they have."""
    with using(None):
        embed([add(here / "photos", range(6))], "f.npz", model=two_towers, batch_size=4)
        old = open_features("f.npz").features.copy()
        shutil.rmtree("photos")
        assert embed([add(here / "new", range(10, 14))], "f.npz", model=two_towers, batch_size=4).count == 10
        np.testing.assert_array_equal(open_features("f.npz").features[:6], old)


def test_checksums_tell_a_touched_picture_from_a_changed_one(two_towers, here):
    folder, output = add(here / "photos", range(6)), here / "f.npz"
    options = {"model": two_towers, "checksum": True}
    embed([folder], output, **options)
    os.utime(folder / "001.png", ns=(0, 5))
    with pytest.raises(ValueError, match="--checksum compares their contents"):
        embed([folder], output, model=two_towers)
    assert embed([folder], output, **options).kept == 6
    status = (folder / "002.png").stat()
    data = bytearray((folder / "002.png").read_bytes())
    data[-5] ^= 1  # of as many bytes, and as old
    (folder / "002.png").write_bytes(data)
    os.utime(folder / "002.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ValueError, match=r"1 of its 6 pictures have changed since they were embedded, the first .*002"):
        embed([folder], output, **options)
    assert embed([folder], output, **options, sync=True).changed == 1


def test_a_file_without_checksums_takes_them_up(two_towers, here):
    embed([add(here / "photos", range(4))], "f.npz", model=two_towers)
    assert "checksums" not in open_features("f.npz").arrays
    embed([add(here / "photos", [4])], "f.npz", model=two_towers, checksum=True)
    assert open_features("f.npz").arrays["checksums"].any(axis=1).all()
    embed([add(here / "photos", [5])], "f.npz", model=two_towers)  # those that are known stay
    assert open_features("f.npz").arrays["checksums"].any(axis=1).tolist() == [True] * 5 + [False]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more_leaves_the_file(two_towers, here, monkeypatch, code):
    output, sync, calls = here / "f.npz", os.fsync, []
    options = {"model": two_towers, "batch_size": 4, "save_every": 4}
    embed([add(here / "photos", range(12))], output, **options)
    before = output.read_bytes()

    def full(number):
        calls.append(number)
        if len(calls) > 9:
            raise OSError(code, os.strerror(code))
        sync(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            embed([add(here / "photos", range(12, 30))], output, **options)
    assert "pictures are kept in" in caught.value.__notes__[-1]
    assert output.read_bytes() == before
    assert len(open_features(output)) == 11
    embed([here / "photos"], output, **options)
    assert output.read_bytes() == whole(two_towers, output, batch_size=4, save_every=4)


def test_another_process_has_written_meanwhile(two_towers, here, monkeypatch):
    output = here / "f.npz"
    embed([add(here / "photos", range(4))], output, model=two_towers)
    find = run.find_pictures

    def slow(*arguments):
        monkeypatch.undo()
        embed([add(here / "photos", [4])], output, model=two_towers)
        return find(*arguments)

    monkeypatch.setattr(run, "find_pictures", slow)
    with pytest.raises(BlockingIOError, match="was written by another process in this moment"):
        embed([add(here / "photos", [5])], output, model=two_towers)
    assert len(open_features(output)) == 6


def test_what_another_run_has_left_is_not_removed_by_one_that_has_nothing_to_do(two_towers, here):
    old, output = add(here / "photos", range(6)), here / "f.npz"
    options = {"model": two_towers, "batch_size": 2}
    embed([old], output, **options)
    with pytest.raises(Stop):
        embed([old, add(here / "new", range(10, 16))], output, **options, progress=stop_after(10))
    assert embed([old], output, **options).kept == 6
    result = embed([old, here / "new"], output, **options)
    assert (result.kept, result.continued, result.count) == (6, 4, 12)
    assert parts.parts_folder(output).exists() is False


def test_restart_throws_away_what_an_interrupted_run_has_left_and_not_the_file(two_towers, here):
    folder, output = add(here / "photos", range(4)), here / "f.npz"
    options = {"model": two_towers, "batch_size": 2}
    embed([folder], output, **options)
    with pytest.raises(Stop):
        embed([add(folder, range(4, 9))], output, **options, progress=stop_after(8))
    add(folder, [9])
    with pytest.raises(ValueError, match="holds an interrupted run of another kind: number of pictures was 9 and is"):
        embed([folder], output, **options)
    result = embed([folder], output, **options, restart=True)
    assert (result.kept, result.continued, result.count) == (4, 0, 9)


def test_a_record_that_is_damaged(two_towers, here):
    embed([add(here / "photos", range(4))], "f.npz", model=two_towers)
    held = open_features("f.npz")
    arrays = {name: held.arrays[name] for name in ("features", "broken_at")}
    for states in (held.arrays["states"][:3], held.arrays["states"][:, :4]):
        with Path("g.npz").open("wb") as file:
            write_features(file, ".npz", arrays | {"states": states}, list(held.names), [], held.metadata)
        with pytest.raises(CheckpointError, match=r"what it records of its pictures is damaged \(states fit no file"):
            embed([here / "photos"], "g.npz", model=two_towers)


def test_a_file_that_records_nothing_is_complete_or_refused(two_towers, here):
    """As earlier versions have written them."""
    embed([add(here / "photos", range(4))], "f.npz", model=two_towers)
    held = open_features("f.npz")
    with Path("g.npz").open("wb") as file:
        write_features(file, ".npz", {"features": held.features}, list(held.names), [], held.metadata)
    assert embed([here / "photos"], "g.npz", model=two_towers).continued == 4
    with pytest.raises(FileExistsError):
        embed([add(here / "photos", [5])], "g.npz", model=two_towers)
