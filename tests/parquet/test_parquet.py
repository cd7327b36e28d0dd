import random

import numpy as np
import pytest

from aimv2_np import CheckpointError
from aimv2_np.tasks import embed, embed_query, near_duplicates, open_features, search
from tests.support.pictures import as_bytes, photo
from tests.support.two_towers import save_two_towers

pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, the extra parquet")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(25):
        photo(20, 30, seed=number).save(folder / f"{number:02d}.png")
    (folder / "05.png").write_bytes(b"nothing")
    return folder


def both(photos, tmp_path, monkeypatch, model, group_bytes=700, **options):
    """The same features as Parquet, in row groups of a few rows, and as safetensors."""
    from aimv2_np.tasks.embedding import parquet

    monkeypatch.setattr(parquet, "GROUP_BYTES", group_bytes)
    monkeypatch.setattr(parquet, "RAGGED", 3)
    for name in ("f.parquet", "f.safetensors"):
        embed([photos], tmp_path / name, model=model, batch_size=4, save_every=4, **options)
    return open_features(tmp_path / "f.parquet"), open_features(tmp_path / "f.safetensors")


def test_it_holds_what_safetensors_holds(two_towers, photos, tmp_path, monkeypatch):
    one, other = both(photos, tmp_path, monkeypatch, two_towers)
    assert list(one.names) == list(other.names)
    assert one.metadata == other.metadata
    assert one.broken == other.broken
    assert len(one.broken) == 1
    np.testing.assert_array_equal(one.features, other.features)
    assert pq.ParquetFile(one.path).num_row_groups > 1
    starts = [start for start, _ in one.blocks(5)]
    assert starts == sorted(starts)
    np.testing.assert_array_equal(np.concatenate([block for _, block in one.blocks(5)]), other.features)
    query = embed_query(one, photos / "03.png")
    assert search(one, query, 6) == search(other, query, 6)


def test_other_readers_see_a_row_per_picture(two_towers, photos, tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    file, other = both(photos, tmp_path, monkeypatch, two_towers, features="pooled")
    frame = pq.read_table(file.path).to_pandas()
    assert list(frame.columns) == ["name", "features"]
    assert frame.name.tolist() == list(other.names)
    np.testing.assert_array_equal(np.stack(frame.features), other.features)


@pytest.mark.filterwarnings("ignore::aimv2_np.errors.UntrainedSizeWarning")
@pytest.mark.parametrize("native", [False, True])
def test_patch_features_are_lists_of_vectors(photos, tmp_path, monkeypatch, native):
    model = save_two_towers(tmp_path / "model", is_native=native)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(7):
        photo(16 + 8 * (number % 3), 24, seed=number).save(folder / f"{number}.png")
    file, other = both(folder, tmp_path, monkeypatch, model, features="tokens")
    table = pq.read_table(file.path)
    assert table.column_names == ["name", "features", "grid"]
    assert table["grid"].to_pylist() == other.arrays["grid"].tolist()
    for row, vectors in enumerate(table["features"].to_pylist()):
        np.testing.assert_array_equal(np.array(vectors, np.float32), other.tokens(row))
    np.testing.assert_array_equal(file.features, other.features)
    for row in (0, 4, -1):
        np.testing.assert_array_equal(file.tokens(row), other.tokens(row))


@pytest.mark.filterwarnings("ignore::aimv2_np.errors.UntrainedSizeWarning")
@pytest.mark.parametrize("store", ["float16", "int8"])
@pytest.mark.parametrize(("native", "kind"), [(False, "projected"), (False, "tokens"), (True, "tokens")])
def test_vectors_in_fewer_bytes(photos, tmp_path, monkeypatch, store, native, kind):
    """In lists of a fixed size of such numbers; of int8 with their scale beside them."""
    model = save_two_towers(tmp_path / "model", is_native=native)
    one, other = both(photos, tmp_path, monkeypatch, model, features=kind, store=store)
    assert (one.metadata, one.stored) == (other.metadata, store)
    np.testing.assert_array_equal(one.features, np.asarray(other.features))
    np.testing.assert_array_equal(one.tokens(5), other.tokens(5))
    table = pq.read_table(one.path)
    assert ("scale" in table.column_names) == (store == "int8")
    if kind == "projected":
        assert table.schema.field("features").type == pa.list_(pa.from_numpy_dtype(store), 8)
        np.testing.assert_array_equal(
            np.concatenate([block for _, block in one.blocks(5)]),
            np.concatenate([block for _, block in other.blocks(5)]),
        )
        query = embed_query(one, photos / "03.png")
        assert search(one, query, 6) == search(other, query, 6)
        assert near_duplicates(one, 0.9) == near_duplicates(other, 0.9)


def test_the_same_bytes_whether_interrupted_or_not(two_towers, photos, tmp_path):
    arguments = {"model": two_towers, "batch_size": 4}
    path = tmp_path / "f.parquet"
    embed([photos], path, **arguments)
    whole = path.read_bytes()
    path.unlink()

    def stop(done, total):
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed([photos], path, **arguments, progress=stop)
    assert embed([photos], path, **arguments).continued == 12
    assert path.read_bytes() == whole


def test_other_tables_and_damage(two_towers, photos, tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"name": ["a"], "n": [1]}), path)
    with pytest.raises(CheckpointError, match="is no file of features: its format is None"):
        open_features(path)
    embed([photos], path, model=two_towers, overwrite=True)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="no Parquet file of features, or damaged"):
        open_features(path)


@pytest.mark.parametrize("within", ["the pages", "anything"])
def test_damaged_anywhere_it_is_an_error_that_names_the_file_or_can_be_searched(two_towers, photos, tmp_path, within):
    path, draw = tmp_path / "f.parquet", random.Random(0)
    embed([photos], path, model=two_towers)
    whole = path.read_bytes()
    query = np.ones(open_features(path).features.shape[1])
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[draw.randrange(1200 if within == "the pages" else len(whole))] = draw.choice(
            [0, 255, draw.randrange(256)]
        )
        path.write_bytes(damaged)
        for use in (lambda found: search(found, query, threads=1), lambda found: (found.features[:], found.counts)):
            try:
                use(open_features(path))
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017


@pytest.mark.filterwarnings("ignore::aimv2_np.errors.UntrainedSizeWarning")
@pytest.mark.parametrize(("features", "native"), [("projected", False), ("tokens", False), ("tokens", True)])
def test_pictures_are_added_as_to_other_files(tmp_path, monkeypatch, features, native):
    monkeypatch.chdir(tmp_path)
    model = save_two_towers(tmp_path / "model", is_native=native)
    names = ["0.png", "1.png", "2\udcff.png", "3.png"]  # of which one is no UTF-8
    for number, name in enumerate(names):
        photo(16 + 8 * (number % 2), 24, seed=number).save(name)
        if number == 1:
            (tmp_path / name).write_bytes(b"nothing")
        result = embed(["*.png"], "f.parquet", model=model, features=features, checksum=True, sync=True)
        assert (result.kept, result.absent, result.dropped) == (number, 0, 0)
    embed(["*.png"], "clean.parquet", model=model, features=features, checksum=True)
    assert (tmp_path / "f.parquet").read_bytes() == (tmp_path / "clean.parquet").read_bytes()
    photo(20, 30, seed=9).save("0.png")
    with pytest.raises(ValueError, match=r"1 of its 4 pictures have changed"):
        embed(["*.png"], "f.parquet", model=model, features=features, checksum=True)


def test_another_column_is_other_pictures(two_towers, tmp_path, monkeypatch):
    """They have the same names, table and row; a complete file of the first is not one of the second."""
    monkeypatch.chdir(tmp_path)
    front, back = ([as_bytes(photo(20, 30, seed=seed)) for seed in seeds] for seeds in ((1, 2), (3, 4)))
    pq.write_table(pa.table({"front": front, "back": back}), "two.parquet")
    embed(["two.parquet"], "f.npz", model=two_towers, column="front")
    with pytest.raises(ValueError, match="2 of its 2 pictures have changed"):
        embed(["two.parquet"], "f.npz", model=two_towers, column="back")
    done = embed(["two.parquet"], "f.npz", model=two_towers, column="back", sync=True)
    assert (done.changed, done.kept) == (2, 0)
