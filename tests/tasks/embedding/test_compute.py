"""In processes of an engine the same is computed as in this one, and what would make it another file is an error."""

import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from aimv2_np.tasks import embed
from aimv2_np.tasks.embedding.compute import BATCHES, WAITING
from aimv2_np.tasks.embedding.engines import ENGINES
from tests.support.growing import add
from tests.support.process_pool import PROCESSES, engine_of
from tests.support.two_towers import save_two_towers


@pytest.fixture
def pools(monkeypatch):
    """The engine "pool", whose processes have one thread of BLAS, as this one has."""
    made = []
    monkeypatch.setitem(ENGINES, "pool", engine_of(made))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    with threadpool_limits(1):
        yield made


@pytest.mark.parametrize("options", [
    {}, {"dtype": "float16", "batch_size": 5}, {"features": "tokens", "normalize": True},
], ids=["in C", "as NumPy rounds", "tokens"])  # fmt: skip
def test_the_file_is_that_of_one_process(two_towers, photos, here, pools, options):
    options = {"model": two_towers, "batch_size": 3} | options
    told = []
    for name, more in (("one.safetensors", {}), ("many.safetensors", {"engine": "pool"})):
        reasons = []
        done = embed([photos], name, **options, **more, on_broken=lambda *what, to=reasons: to.append(what))
        told.append(reasons)
        assert (done.count, len(done.broken)) == (38, 2)
    assert Path("one.safetensors").read_bytes() == Path("many.safetensors").read_bytes()
    assert told[0] == told[1]
    assert pools[0].submitted == -(-40 // (BATCHES * options["batch_size"]))


def test_no_more_is_on_its_way_than_two_tasks_for_each_process(two_towers, photos, here, pools):
    embed([photos], "many.safetensors", model=two_towers, batch_size=1, engine="pool")
    assert pools[0].submitted == 10
    assert pools[0].most == WAITING * PROCESSES == 4


@pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
def test_native_models(tmp_path, photos, here, pools):
    folder = save_two_towers(tmp_path / "native", is_native=True)
    for name, more in (("one.npz", {}), ("many.npz", {"engine": "pool"})):
        embed([photos], name, model=folder, features="tokens", batch_size=4, **more)
    assert Path("one.npz").read_bytes() == Path("many.npz").read_bytes()


def test_pictures_that_lie_elsewhere_and_under_relative_names(two_towers, photos, here, pools, monkeypatch):
    """The processes run in another folder; broken ones in archives are told by the same words."""
    monkeypatch.setenv("HOME", str(here))
    files = sorted(photos.iterdir())
    for name, mode in (("a.tar", "w"), ("b.tar.gz", "w:gz")):
        with tarfile.open(name, mode) as archive:
            for file in files[:12]:
                archive.add(file, file.name)
    with zipfile.ZipFile("c.zip", "w") as archive:
        for file in files[12:30]:
            archive.write(file, file.name)
    Path("some").mkdir()
    for file in files[30:]:
        (here / "some" / file.name).write_bytes(file.read_bytes())
    Path("list.txt").write_text("some/30.png\nsome/../some/31.png\n~/some/32.png\nnowhere.png\n")
    paths = ["a.tar", "b.tar.gz", "c.zip", "list.txt", "some"]
    for name, more in (("one.safetensors", {}), ("many.safetensors", {"engine": "pool"})):
        done = embed(paths, name, model=two_towers, batch_size=2, **more)
    assert [name for name, _ in done.broken] == ["a.tar/07.png", "b.tar.gz/07.png", "c.zip/21.png", "nowhere.png"]
    assert Path("one.safetensors").read_bytes() == Path("many.safetensors").read_bytes()


def test_a_file_that_grows(two_towers, here, pools):
    """Rows that are there are copied, others computed, here or there."""
    kept = 0
    for count, engine in ((10, "pool"), (40, None), (90, "pool")):
        folder, kept = add(here / "photos", range(kept, count)), count
        embed([folder], "many.safetensors", model=two_towers, batch_size=4, engine=engine)
    embed([folder], "one.safetensors", model=two_towers, batch_size=4)
    assert Path("one.safetensors").read_bytes() == Path("many.safetensors").read_bytes()
    assert pools[0].submitted + pools[1].submitted == 1 + 4  # 10, and 50 of 90, sixteen at a time


def elsewhere(task):
    """As if it came to a machine that has no such folder."""
    return replace(task, pictures=[(name, place.replace("/photos", "/mnt")) for name, place in task.pictures])


def test_a_machine_that_does_not_see_the_pictures(two_towers, here, monkeypatch):
    monkeypatch.setitem(ENGINES, "pool", engine_of([], elsewhere))
    folder = add(here / "photos", range(8))
    with pytest.raises(FileNotFoundError, match=r"photos/000.png is there, but a process on \S+ cannot read it"):
        embed([folder], "f.safetensors", model=two_towers, engine="pool")
    assert not Path("f.safetensors").exists()


def test_a_machine_that_does_not_see_an_archive(two_towers, photos, here, monkeypatch):
    def moved(task):
        places = [(name, replace(place, file=f"/mnt{place.file}")) for name, place in task.pictures]
        return replace(task, pictures=places)

    with tarfile.open("a.tar", "w") as archive:
        archive.add(photos / "00.png", "00.png")
    monkeypatch.setitem(ENGINES, "pool", engine_of([], moved))
    with pytest.raises(FileNotFoundError, match=r"a.tar is there, but a process on \S+ cannot read it"):
        embed(["a.tar"], "f.safetensors", model=two_towers, engine="pool")


@pytest.mark.parametrize("name", ["weights", "version of aimv2_np", "kernels", "image processor"])
def test_a_process_that_would_compute_something_else(two_towers, here, monkeypatch, name):
    def other(task):
        return replace(task, expected=task.expected | {name: "other"})

    monkeypatch.setitem(ENGINES, "pool", engine_of([], other))
    with pytest.raises(ValueError, match=rf"{name}: '.+ in a process on \S+, 'other' in this one; expected the same"):
        embed([add(here / "photos", range(3))], "f.safetensors", model=two_towers, engine="pool")
