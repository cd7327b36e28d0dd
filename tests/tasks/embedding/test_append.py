"""A collection that lives: a complete file takes up more pictures, and is to the bit that of a run over all of them."""

import contextlib
import errno
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest

from aimv2_np.tasks import embed, open_features
from aimv2_np.tasks.embedding import parts, run
from aimv2_np.tasks.embedding.ledger import read_ledger
from tests.support.commands import command
from tests.support.growing import add, whole
from tests.support.pictures import photo
from tests.tasks.embedding.test_run import Stop, size, stop_after


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
    result = embed([tmp_path / "photos"], output, model=two_towers, batch_size=1)
    assert result.count == 58
    assert not folder.exists()  # nor where it was killed between its last two steps
    clean = tmp_path / "clean.safetensors"
    embed(read_ledger(open_features(output)).names, clean, model=two_towers, batch_size=1)
    assert output.read_bytes() == clean.read_bytes()
    assert open_features(output).names[:19] == [str(tmp_path / f"photos/{i:03d}.png") for i in range(20) if i != 7]


@pytest.mark.parametrize("begun", [False, True])
def test_what_is_left_when_it_dies_between_its_last_two_steps_is_removed(two_towers, here, monkeypatch, begun):
    folder, output = add(here / "photos", range(4)), here / "f.npz"
    embed([folder], output, model=two_towers)

    def die(left):
        if begun:
            (left / parts.MANIFEST).unlink()
        raise Stop

    add(folder, range(4, 6))
    with monkeypatch.context() as patch:
        patch.setattr(parts, "remove_parts", die)
        with pytest.raises(Stop):
            embed([folder], output, model=two_towers)
    assert len(open_features(output)) == 6
    assert Path(f"{output}.parts").exists()
    assert embed([folder], output, model=two_towers).kept == 6
    assert not Path(f"{output}.parts").exists()


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


@pytest.mark.parametrize("again", ["removed", "forced"])
def test_rows_of_fewer_bytes_do_not_end_in_a_file_of_more(two_towers, here, again):
    """A run that was begun by copying them is not taken for one that has computed all in float32."""
    folder, output = add(here / "photos", range(10)), here / "f.safetensors"
    embed([folder], output, model=two_towers, store="int8")
    add(folder, range(10, 40))
    with contextlib.suppress(Stop):
        embed([folder], output, model=two_towers, store="int8", batch_size=16, save_every=4, progress=stop_after(20))
    assert Path(f"{output}.parts").exists()
    if again == "removed":
        output.unlink()
    with pytest.raises(ValueError, match='rows copied as was "int8" and is now null'):
        embed([folder], output, model=two_towers, overwrite=again == "forced")


@pytest.mark.parametrize("options", [{}, {"features": "tokens"}, {"store": "int8"}], ids=str)
def test_another_folder_is_added_as_if_both_had_been_given(two_towers, here, options):
    add(here / "one", range(10))
    add(here / "two", range(10, 20))
    options |= {"model": two_towers, "batch_size": 5}  # whole ones, which BLAS rounds alike
    for folder in ("one", "two"):
        embed([folder], "f.safetensors", **options)
    embed(["one", "two"], "clean.safetensors", **options)
    assert Path("f.safetensors").read_bytes() == Path("clean.safetensors").read_bytes()


def test_what_lies_where_nothing_can_be_read_is_not_dropped(two_towers, here, monkeypatch):
    add(here / "photos", range(4))
    add(here / "photos" / "in", range(10, 14))
    embed(["photos"], "f.npz", model=two_towers)
    (here / "photos" / "001.png").unlink()
    access = os.access  # to root, nothing is unreadable
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("/in") and access(path, mode))
    done = embed(["photos"], "f.npz", model=two_towers, sync=True)
    assert (done.absent, done.dropped) == (4, 1)
    assert ("photos/in", "the folder cannot be read: permission denied") in done.broken
    assert sum(name.startswith("photos/in/") for name in open_features("f.npz").names) == 4


def test_other_settings_are_named_before_force_is(two_towers, here):
    folder = add(here / "photos", range(3))
    embed([folder], "f.npz", model=two_towers, batch_size=4)
    with pytest.raises(FileExistsError, match=r"was made with other settings: normalize was false and is now true"):
        embed([folder], "f.npz", model=two_towers, batch_size=8, normalize=True)
    with pytest.raises(FileExistsError, match="batch size was 4 and is now 8; choose another place"):
        embed([folder], "f.npz", model=two_towers, batch_size=8)


def test_strict_counts_what_was_broken_before(two_towers, here):
    folder = add(here / "photos", range(10))
    assert len(embed([folder], "f.npz", model=two_towers).broken) == 1
    before = Path("f.npz").read_bytes()
    for more in (range(0), range(10, 12)):
        with pytest.raises(ValueError, match=r"photos/007.png: the content is not an image"):
            embed([add(folder, more)], "f.npz", model=two_towers, strict=True)
    assert Path("f.npz").read_bytes() == before
