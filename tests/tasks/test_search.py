import os
import shutil
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aimv2_np import Aimv2Model, Aimv2Processor, CheckpointError
from aimv2_np.data import tiny_model_path
from aimv2_np.tasks import (
    draw_groups,
    draw_sheet,
    embed,
    embed_query,
    open_features,
    recall,
    save_sheet,
    search,
    search_many,
)
from aimv2_np.tasks.embedding.stored import STORES
from tests.support.feature_files import write_features
from tests.support.shapes import draw_shapes
from tests.support.two_towers import save_two_towers


def exact(features, query, top):
    """Rows by their cosines in float64, equal ones by number."""
    wide, query = features.astype(np.float64), query.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1))
    unit = query / np.abs(query).max()
    unit = unit / np.linalg.norm(unit)
    cosines = (wide * unit).sum(axis=1) / np.where(lengths == 0, 1, lengths)
    order = np.argsort(-cosines, kind="stable")[:top]
    return order.tolist(), cosines[order]


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 20), st.integers(1, 40), st.integers(1, 30))
def test_it_is_exact_and_equal_ones_are_in_the_order_of_the_file(tmp_path_factory, seed, rows, size, top, different):
    random = np.random.default_rng(seed)
    # Few different vectors, of very different lengths, so that there are ties and near ties; and zeros.
    vectors = random.standard_normal((different, size)) * 10.0 ** random.integers(-20, 19, (different, 1))
    vectors[0] = 0
    features = vectors.astype(np.float32)[random.integers(0, different, rows)]
    query = random.standard_normal(size)
    file = write_features(tmp_path_factory.mktemp("search") / "f.safetensors", features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[search.__module__], "BLOCK_BYTES", 4 * size * 16)  # 16 rows a block
        hits = search(file, query, top, threads=2)
    order, cosines = exact(features, query, top)
    assert [hit.row for hit in hits] == order
    np.testing.assert_allclose([hit.score for hit in hits], cosines, atol=1e-15 * size)
    assert [hit.name for hit in hits] == [f"{row}.png" for row in order]


STORED = {"seed": st.integers(0, 2**32 - 1), "rows": st.integers(1, 200), "size": st.integers(1, 40),
          "count": st.integers(1, 40), "top": st.integers(1, 30), "store": st.sampled_from(sorted(STORES)),
          "least": st.sampled_from([-1.0, 0.0, 0.3, 0.9, 1.0]),
          "patterns": st.sampled_from([(), ("*7*",), ("1?.*", "*5.png")])}  # fmt: skip


@given(**STORED)
def test_many_queries_over_what_is_stored(tmp_path_factory, seed, rows, size, count, top, store, least, patterns):
    """The order is that of the exact cosines of the stored vectors, among the rows of such names, down to a score."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((rows, size))[random.integers(0, rows, rows)].astype(np.float32)
    features[random.integers(0, rows)] = 0
    queries = random.standard_normal((count, size))
    file = write_features(tmp_path_factory.mktemp("search") / "f.safetensors", features, store=store)
    numbers = file.arrays["features"]
    chosen = [row for row in range(rows) if not patterns or any(fnmatchcase(f"{row}.png", it) for it in patterns)]
    if not chosen:
        with pytest.raises(ValueError, match=r"no name in .* matches"):
            search_many(file, queries, names=patterns)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[search.__module__], "BLOCK_BYTES", numbers.itemsize * size * 16)
        found = search_many(file, queries, top, least=least, names=patterns, threads=2)
    for query, hits in zip(queries, found, strict=True):
        order, cosines = exact(numbers[chosen], query, len(chosen))
        expected = [chosen[row] for row, cosine in zip(order, cosines, strict=True) if cosine >= least][:top]
        assert [hit.row for hit in hits] == expected
        np.testing.assert_allclose([hit.score for hit in hits], cosines[: len(hits)], atol=1e-15 * size)
    assert search(file, queries[0], top, least=least, names=patterns) == found[0]


def test_what_is_stored_in_fewer_bytes_finds_nearly_the_same(tmp_path):
    random = np.random.default_rng(0)
    features = random.standard_normal((4000, 64)).astype(np.float32)
    queries = features[:50] + random.standard_normal((50, 64))
    found = {
        store: search_many(write_features(tmp_path / f"{store}.npz", features, store=store), queries)
        for store in STORES
    }
    assert recall(found["float32"], found["float32"]) == 1
    assert recall(found["float16"], found["float32"]) > 0.99
    assert 0.9 < recall(found["int8"], found["float32"]) < 1
    with pytest.raises(ValueError, match="expected as many, and hits"):
        recall(found["int8"][:3], found["float32"])


def test_names_and_queries_that_make_no_sense(tmp_path):
    file = write_features(tmp_path / "f.npz", np.eye(3))
    with pytest.raises(ValueError, match=r"no name in .*f.npz matches 'holiday/\*'; the first is '0.png'"):
        search(file, np.ones(3), names=["holiday/*"])
    with pytest.raises(TypeError, match="expected a list of patterns"):
        search(file, np.ones(3), names="holiday/*")
    with pytest.raises(ValueError, match=r"queries have \[3, 4\] numbers"):
        search_many(file, [np.ones(3), np.ones(4)])
    assert search_many(file, []) == []


def test_what_is_not_searched_need_not_be_finite(tmp_path):
    features = np.ones((20, 4), np.float32)
    features[13] = np.nan
    file = write_features(tmp_path / "f.npz", features)
    assert len(search(file, np.ones(4), 20, names=["?.png"])) == 10
    with pytest.raises(CheckpointError, match="row 13 is not finite"):
        search(file, np.ones(4), 20, names=["1*"])


def test_near_ties_that_float32_cannot_tell_apart(tmp_path):
    # Cosines that differ by 1e-9, in the order opposite to that of the rows.
    rows, size = 1000, 64
    query = np.zeros(size)
    query[0] = 1
    features = np.zeros((rows, size), np.float32)
    features[:, 0] = 1
    features[:, 1] = np.sqrt(2e-9 * np.arange(rows, 0, -1))
    hits = search(write_features(tmp_path / "f.safetensors", features), query, 5)
    assert [hit.row for hit in hits] == [999, 998, 997, 996, 995]


def test_vectors_that_are_not_finite_are_told(tmp_path):
    features = np.ones((50, 4), np.float32)
    features[33, 2] = np.nan
    with pytest.raises(CheckpointError, match="the vector in row 33 is not finite"):
        search(write_features(tmp_path / "f.safetensors", features), np.ones(4), 3)


@pytest.mark.parametrize(
    ("query", "top", "message"),
    [
        (np.ones(5), 10, r"query has 5 numbers, and .*f.safetensors vectors of 4"),
        (np.zeros(4), 10, "expected one vector .* not all zero"),
        (np.array([1, np.inf, 0, 0]), 10, "of finite numbers"),
        (np.ones((2, 4)), 10, r"query has the shape \(2, 4\)"),
        (np.ones(4), 0, "top is 0"),
    ],
)
def test_queries_that_make_no_sense(tmp_path, query, top, message):
    with pytest.raises(ValueError, match=message):
        search(write_features(tmp_path / "f.safetensors", np.ones((3, 4))), query, top)


@pytest.mark.parametrize(("name", "value"), [("least", float("nan")), ("least", 7), ("threads", 0), ("threads", 1.5)])
def test_settings_that_make_no_sense(tmp_path, name, value):
    file = write_features(tmp_path / "f.npz", np.eye(3))
    with pytest.raises(ValueError, match=f"{name} is {value}; expected a"):
        search(file, [1, 0, 0], **{name: value})


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    paths = draw_shapes(folder / "pictures", 12)
    embed([folder / "pictures"], folder / "f.safetensors")
    return open_features(folder / "f.safetensors"), paths


def test_texts_find_what_they_say(shapes):
    file, _ = shapes
    captions = [Path(name).stem.split(" ", 1)[1] for name in file.names]
    single = sorted({caption for caption in captions if len(caption.split()) == 4})
    assert len(single) > 30
    right = [captions[search(file, embed_query(file, text), 1)[0].row] == text for text in single]
    assert np.mean(right) > 0.9


def test_the_score_of_a_text_is_the_models_cosine(shapes):
    file, paths = shapes
    model, processor = (kind.from_pretrained(tiny_model_path()) for kind in (Aimv2Model, Aimv2Processor))
    text = "a yellow ring"
    output = model(**processor(text=[text], images=paths[:5], padding=True))
    hits = {hit.row: hit.score for hit in search(file, embed_query(file, text), 100)}
    assert len(hits) == len(file) == 96
    cosines = output.image_embeds @ output.text_embeds[0]
    np.testing.assert_allclose([hits[row] for row in range(5)], cosines, atol=1e-5)


def test_a_picture_finds_itself(shapes):
    file, paths = shapes
    for query in (str(paths[17]), paths[17], paths[17].read_bytes()):
        best, second = search(file, embed_query(file, query), 2)
        assert (best.row, best.name) == (17, str(paths[17]))
        assert best.score == pytest.approx(1, abs=1e-6)
        assert second.score < best.score


def test_a_picture_query_has_the_kind_of_the_file(tmp_path, shapes):
    _, paths = shapes
    embed(paths[:6], tmp_path / "f.npz", features="mean", normalize=True)
    file = open_features(tmp_path / "f.npz")
    assert search(file, embed_query(file, paths[3]), 1)[0].row == 3
    with pytest.raises(ValueError, match=r"holds 'mean' features.*texts are compared with 'projected' ones"):
        embed_query(file, "a red star")


def test_queries_that_are_neither(shapes, tmp_path):
    file, _ = shapes
    with pytest.raises(FileNotFoundError, match=r"there is no picture 'star.png'.*--text"):
        embed_query(file, "star.png")
    assert embed_query(file, "star.png", text=True).shape == (64,)
    with pytest.raises(ValueError, match=r"is a folder or a special file; expected a picture .*--text"):
        embed_query(file, str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is a folder or a special file"):
        embed_query(file, str(tmp_path / "pipe"))
    with pytest.raises(ValueError, match="the text is ''; expected words"):
        embed_query(file, "")
    with pytest.raises(ValueError, match="the text is '  '; expected words"):
        embed_query(file, "  ")
    with pytest.raises(ValueError, match="tokens long"):
        embed_query(file, "red " * 100)
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"bad.png: the content is empty"):
        embed_query(file, tmp_path / "bad.png")


def test_another_model_is_refused(shapes, tmp_path):
    file, paths = shapes
    with pytest.raises(CheckpointError, match="was made with other weights than those of"):
        embed_query(file, "a red star", model=save_two_towers(tmp_path / "other"))
    moved = shutil.copytree(tiny_model_path(), tmp_path / "moved")
    np.testing.assert_array_equal(embed_query(file, "a star", model=moved), embed_query(file, "a star"))
    embed(paths[:3], tmp_path / "f.npz", model=moved)
    elsewhere = open_features(tmp_path / "f.npz")
    shutil.rmtree(moved)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        embed_query(elsewhere, "a star")
    assert embed_query(elsewhere, "a star", model=tiny_model_path()).shape == (64,)


def test_features_of_patches_are_not_searched(tmp_path, shapes):
    _, paths = shapes
    embed(paths[:2], tmp_path / "f.npz", features="tokens")
    with pytest.raises(ValueError, match="vectors of patches; expected one per picture"):
        search(open_features(tmp_path / "f.npz"), np.ones(128))
    with pytest.raises(ValueError, match="vectors of patches; expected one per picture"):
        embed_query(open_features(tmp_path / "f.npz"), "a red star")


def test_the_sheet_shows_the_pictures_and_says_which_are_missing(shapes, tmp_path):
    file, paths = shapes
    hits = search(file, embed_query(file, paths[0]), 7)
    sheet = draw_sheet(hits, "the first")
    side = 176
    shown = np.asarray(sheet).astype(int)
    assert sheet.height < 2.5 * (side + 60)  # two rows of five
    # The first picture, 64 x 64, in the middle of its place.
    with Image.open(paths[0]) as picture:
        wanted = np.asarray(picture.convert("RGB")).astype(int)
    top, left = 34 + 12 + (side - 64) // 2, 12 + (side - 64) // 2  # the title, the gap, half of what is left
    np.testing.assert_array_equal(shown[top : top + 64, left : left + 64], wanted)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    gone = [type(hit)(hit.row, str(name), hit.score) for hit, name in zip(hits, ["gone.png", broken], strict=False)]
    blank = np.asarray(draw_sheet(gone, "gone"))
    assert (blank == 232).all(axis=2).sum() > 1.9 * side * side - 4000  # two grey places with a word in each
    save_sheet(sheet, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == sheet.size
    with pytest.raises(FileExistsError):
        save_sheet(sheet, tmp_path / "sheet.png")
    with pytest.raises(ValueError, match="hits is 0 pictures"):
        draw_sheet([], "nothing")


def test_a_sheet_of_groups(shapes, monkeypatch):
    """Each begins in a row of its own, under its name."""
    file, _ = shapes
    groups = [(text, search(file, embed_query(file, text), count)) for text, count in (("a ring", 7), ("a star", 2))]
    sheet = draw_groups([*groups, ("nothing", [])], "both")
    one = draw_sheet(groups[0][1], "both")
    assert sheet.height - one.height == 2 * 22 + (176 + 2 * 17 + 12)  # two names, a row
    shown, first = np.asarray(sheet).astype(int), groups[1][1][0]
    with Image.open(first.name) as picture:
        wanted = np.asarray(picture.convert("RGB")).astype(int)
    top, left = one.height + 2 * 22 + (176 - 64) // 2, 12 + (176 - 64) // 2
    np.testing.assert_array_equal(shown[top : top + 64, left : left + 64], wanted)
    monkeypatch.setattr("aimv2_np.tasks.contact_sheet.MAX_PICTURES", 8)
    assert draw_groups(groups, "both").height == sheet.height
    monkeypatch.setattr("aimv2_np.tasks.contact_sheet.MAX_PICTURES", 7)
    assert draw_groups(groups, "both").height == one.height + 22
    with pytest.raises(ValueError, match="groups have no pictures"):
        draw_groups([("nothing", [])], "none")


def test_the_sheet_finds_pictures_in_archives(shapes, tmp_path, monkeypatch):
    import tarfile

    _, paths = shapes
    with tarfile.open(tmp_path / "p.tar.gz", "w:gz") as tar:
        for path in paths[:3]:
            tar.add(path, f"in/{path.name}")
    monkeypatch.chdir(tmp_path)
    embed(["p.tar.gz"], "f.npz")
    hits = search(open_features("f.npz"), np.ones(64), 3)
    monkeypatch.chdir("/")
    sheet = np.asarray(draw_sheet(hits, "all", root=tmp_path))
    assert not (sheet == 232).all(axis=2).sum() > 176 * 88
