"""Models on the device: what goes in and comes out, where it runs, what it takes, and what a full device does."""

import gc
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from aimv2_np import Aimv2Model, Aimv2VisionModel, CheckpointError, load, to_numpy, trace
from aimv2_np.backends.arrays import dtype_of
from aimv2_np.storage.digest import hash_weights
from tests.support.gpu import emulated_cupy, release
from tests.support.graphs import counted
from tests.support.models import both_model, pixels, text_model, tokens, vision_model

DTYPES = ("float32", "float16", "bfloat16")
EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7, "float64": 2.0**-52}


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("checkpoints") / "both"
    both_model().save_pretrained(place)
    return place


@pytest.mark.parametrize("dtype", [*DTYPES, "float64"])
def test_outputs_are_of_the_device(cupy: ModuleType, dtype: str) -> None:
    model = both_model()
    inputs = {"pixel_values": pixels(), "input_ids": tokens()}
    expected = model.to(dtype="float64")(**inputs, return_loss=True)
    found = model.to("cupy", dtype)(**inputs, return_loss=True)
    for name, array in found.items():
        if not name.endswith("output"):
            assert isinstance(array, cupy.ndarray), name
            assert array.dtype == dtype_of(dtype)
            # a few dozen roundings of weights and activations; logits carry the absolute error of a cosine
            assert relative(to_numpy(array), expected[name]) <= 64 * EPS[dtype], name


def test_inputs_may_be_anywhere(cupy: ModuleType) -> None:
    model = both_model().to("cupy")
    here = {"pixel_values": pixels(), "input_ids": tokens(), "attention_mask": np.ones_like(tokens())}
    there = {name: cupy.asarray(array) for name, array in here.items()}
    for name, array in model(**here).items():
        if isinstance(array, cupy.ndarray):
            np.testing.assert_array_equal(to_numpy(array), to_numpy(model(**there)[name]))
    np.testing.assert_array_equal(
        to_numpy(model.get_text_features(tokens())), to_numpy(model.get_text_features(there["input_ids"]))
    )


def test_bad_input_is_named(cupy: ModuleType) -> None:
    model = both_model().to("cupy")
    for make in (np.asarray, cupy.asarray):
        bad = pixels()
        bad[0, 0, 0, 0] = np.nan
        with pytest.raises(ValueError, match="NaN or infinity"):
            model(pixel_values=make(bad))
        with pytest.raises(ValueError, match=r"beyond ±1e\+06"):
            model(pixel_values=make(pixels() * np.float32(1e8)))
        with pytest.raises(ValueError, match=r"outside the vocabulary \(0 to \d+\)"):
            model(input_ids=make(tokens() + 1000))
        with pytest.raises(ValueError, match="values other than 0 and 1; expected 1 for a token"):
            model(input_ids=make(tokens()), attention_mask=make(2 * np.ones_like(tokens())))
        with pytest.raises(ValueError, match="hides all patches of an image"):
            model(pixel_values=make(pixels(2)), pixel_attention_mask=make(np.zeros((2, 9), np.int64)))
        with pytest.raises(ValueError, match=r"^image 1: pixel_values hold NaN or infinity \(as float32\)"):
            model.encode_images([make(pixels()[1]), make(bad[0])])
    with pytest.raises(ValueError, match="cannot be made an array"):
        model(pixel_values=[cupy.asarray(pixels()[0])] * 2)


def test_a_damaged_weight_is_named(cupy: ModuleType) -> None:
    def spoil(path: str, array: np.ndarray) -> np.ndarray:
        return np.full_like(array, np.inf) if path == "vision_model.head.output_proj.weight" else array

    model = both_model().map(spoil).to("cupy")
    with pytest.raises(ValueError, match=r"vision_model\.head\.output_proj\.weight|head\.output_proj\.weight"):
        model(pixel_values=pixels())


def test_a_pass_waits_once(cupy: ModuleType, request: pytest.FixtureRequest) -> None:
    """At its end, for all its checks together: are the inputs good, are the outputs finite?"""
    if "gpu" in request.node.name:
        pytest.skip("only the stand-in counts how often the host waits")
    from tests.support.fake_cupy import devices

    model, mask, patches = both_model().to("cupy"), np.ones_like(tokens()), np.ones((2, 9), np.int64)
    vision, text = {"pixel_values": pixels(2)}, {"input_ids": tokens(), "attention_mask": mask}
    for given in (vision, text, vision | text, vision | {"pixel_attention_mask": patches}):
        there = {name: cupy.asarray(array) for name, array in given.items()}
        for inputs in (given, there):
            for _ in range(3):  # launched one by one, recorded, replayed
                devices.waits.clear()
                model(**inputs)
                assert devices.waits == ["bool"]


def test_graphs_are_replayed(cupy: ModuleType) -> None:
    """There is one for each tower, and what it computes is what was computed without."""
    model, inputs = both_model().to("cupy"), {"pixel_values": pixels(), "input_ids": tokens()}
    plain = model(**inputs).logits_per_image
    with counted() as graphs:
        for _ in range(3):
            replayed = model(**inputs).logits_per_image
            assert relative(to_numpy(replayed), to_numpy(plain)) <= 64 * EPS["float32"]
    assert graphs == {"recorded": 2, "replayed": 6, "failed": 0}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_picture_does_not_depend_on_its_neighbours(cupy: ModuleType, dtype: str) -> None:
    """To rounding: another batch may take another kernel of cuBLAS."""
    model, many = vision_model().to("cupy", dtype), pixels(5)
    together = to_numpy(model(many).last_hidden_state)
    for i in range(5):
        alone = to_numpy(model(many[i : i + 1]).last_hidden_state)
        assert relative(alone[0], together[i]) <= 16 * EPS[dtype]


@pytest.mark.parametrize("dtype", [*DTYPES, "float64"])
@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16", "float64"])
def test_loading(cupy: ModuleType, folder: Path, tmp_path: Path, stored: str, dtype: str) -> None:
    """Whatever the file holds, the device gets what NumPy's conversion gives."""
    source = Aimv2Model.from_pretrained(folder)
    (source.to("cupy", stored) if stored == "bfloat16" else source.to(dtype=stored)).save_pretrained(tmp_path)
    steps: list[tuple[int, int]] = []
    model = load(tmp_path, backend="cupy", dtype=dtype, progress=lambda *it: steps.append(it))
    assert (model.backend, model.dtype, model.device) == ("cupy", dtype, 0)
    total = model.num_parameters() * dtype_of(dtype).itemsize
    assert steps[-1] == (total, total)
    assert steps == sorted(steps)
    wide = load(tmp_path, dtype="float64" if stored == "float64" else "float32")
    assert hash_weights(model.state_dict()) == hash_weights(wide.state_dict(), dtype)


def test_another_layout(cupy: ModuleType, folder: Path, tmp_path: Path) -> None:
    from aimv2_np.tasks import convert

    for layout in ("apple", "mlx", "flax"):
        convert(folder, tmp_path / layout, layout)
        model = load(tmp_path / layout, backend="cupy")
        assert hash_weights(model.state_dict()) == hash_weights(load(folder).state_dict())


def test_what_cannot_be_loaded(cupy: ModuleType, folder: Path, tmp_path: Path) -> None:
    def grown(path: str, array: np.ndarray) -> np.ndarray:
        return array * np.float32(1e6) if path.endswith("visual_projection.weight") else array

    load(folder).map(grown).save_pretrained(tmp_path / "large")
    with pytest.raises(CheckpointError, match=r"visual_projection.weight.*more than float16 can.*load it as float32"):
        load(tmp_path / "large", backend="cupy", dtype="float16")
    with pytest.raises(ValueError, match=r"visual_projection.weight does not fit float16"):
        load(tmp_path / "large", backend="cupy").to(dtype="float16")


def test_saving_bfloat16(cupy: ModuleType, folder: Path, tmp_path: Path) -> None:
    model = load(folder, backend="cupy", dtype="bfloat16")
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(to_numpy(array), again.state_dict()[path])


def test_there_and_back(cupy: ModuleType) -> None:
    model = both_model()
    moved = model.to("cupy")
    assert moved.to("cupy").visual_projection.weight is moved.visual_projection.weight
    back = moved.to("numpy")
    assert back.device is None
    assert hash_weights(back.state_dict()) == hash_weights(model.state_dict())
    half = model.to("cupy", "bfloat16").to("numpy")
    assert half.dtype == "bfloat16"
    for name, array in model.to(dtype="bfloat16").state_dict().items():
        np.testing.assert_allclose(half.state_dict()[name], array, rtol=2**-8)
    with pytest.raises(ValueError, match=r"device is 7; this machine has"):
        model.to("cupy", device=7)
    with pytest.raises(ValueError, match="the backend is numpy; drop it"):
        model.to("numpy", device=0)


def test_tracing(cupy: ModuleType) -> None:
    model = vision_model()
    with trace(model) as here:
        model(pixels())
    moved = model.to("cupy")
    with trace(moved) as there:
        moved(pixels())
    assert set(here) == set(there)
    for path, array in there.items():
        assert isinstance(array, cupy.ndarray)
        assert relative(to_numpy(array), here[path]) <= 64 * EPS["float32"]


def test_text_features_leave_padding_out(cupy: ModuleType) -> None:
    model, ids = text_model(), tokens(3, 6)
    mask = np.ones_like(ids)
    ids[1, 2:], mask[1, 3:] = model.config.eos_token_id, 0
    expected = model(ids, mask).pooler_output
    assert relative(to_numpy(model.to("cupy").features(ids, mask)), expected) <= 64 * EPS["float32"]


def test_memory_returns(cupy: ModuleType) -> None:
    model = vision_model().to("cupy")
    before = release(cupy)
    for batch in (1, 3, 7, 1):
        for _ in range(3):
            model(pixels(batch))
    assert release(cupy) == before
    del model
    assert release(cupy) < before


def test_a_full_device(cupy: ModuleType) -> None:
    """The error says how much was missing, nothing is left allocated, and the model goes on."""
    model = vision_model().to("cupy")
    expected = to_numpy(model(pixels(1)).last_hidden_state)
    before = release(cupy)
    pool = cupy.get_default_memory_pool()
    pool.set_limit(before + (1 << 20))
    try:
        with pytest.raises(
            MemoryError, match=r"device 0 is out of memory: .*B more were needed, and .* are free"
        ) as info:
            model(pixels(512))
        assert pool.used_bytes() == before
        np.testing.assert_array_equal(to_numpy(model(pixels(1)).last_hidden_state), expected)
        del info
        with pytest.raises(MemoryError, match=r"the weights take .*, and device 0 has .* free"):
            Aimv2VisionModel(model.config).to("cupy", "float64").to(dtype="float32").to("numpy").map(
                lambda _, array: np.resize(array, (64, *array.shape))
            ).to("cupy")
    finally:
        pool.set_limit(0)
    assert release(cupy) <= before


def test_a_full_device_inside_two_towers(cupy: ModuleType) -> None:
    """The error comes out of the second tower, while the first one's outputs are held."""
    model = both_model().to("cupy")
    before = release(cupy)
    pool = cupy.get_default_memory_pool()
    pool.set_limit(before + (1 << 21))
    try:
        with pytest.raises(MemoryError, match="device 0 is out of memory") as info:
            model(pixel_values=pixels(1), input_ids=tokens(4096))
        assert pool.used_bytes() == before, info
    finally:
        pool.set_limit(0)


def test_a_stream_of_ones_own(cupy: ModuleType) -> None:
    model = vision_model().to("cupy")
    expected = to_numpy(model(pixels()).last_hidden_state)
    stream = cupy.cuda.Stream(non_blocking=True)
    given = cupy.asarray(pixels())
    cupy.cuda.get_current_stream().synchronize()  # `given` is written on this stream, and read on the other
    for _ in range(3):
        with stream:
            found = model(given).last_hidden_state
            assert cupy.cuda.get_current_stream().ptr == stream.ptr
        stream.synchronize()
        np.testing.assert_array_equal(to_numpy(found), expected)


def test_weights_are_there_for_every_stream(cupy: ModuleType, folder: Path) -> None:
    """Whoever moves a model waits until it has arrived; nobody else has to."""
    source = load(folder)
    with_pictures = [pixels(1)[0], pixels(1, 8, 16)[0]]
    expected = source.encode_images(with_pictures, interpolate_pos_encoding=True).image_embeds
    for make in (
        lambda: load(folder, backend="cupy"), lambda: source.to("cupy"), lambda: source.to("cupy").to(dtype="float64"),
    ):  # fmt: skip
        model = make()
        for _ in range(2):  # of the second pack, what was copied for the first is at hand
            with cupy.cuda.Stream(non_blocking=True) as stream:
                model(pixel_values=pixels(), input_ids=tokens())
                found = model.encode_images(with_pictures, interpolate_pos_encoding=True).image_embeds
                stream.synchronize()
            assert relative(to_numpy(found), expected) <= 64 * EPS["float32"]


def test_a_graph_serves_several_streams(cupy: ModuleType) -> None:
    model, given = vision_model().to("cupy"), pixels()
    expected = [to_numpy(model(given).last_hidden_state) for _ in range(3)][-1]
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
    with counted() as graphs:
        found = []
        for stream in streams:
            with stream:
                found.append(model(given).last_hidden_state)
        for stream, array in zip(streams, found, strict=True):
            stream.synchronize()
            np.testing.assert_array_equal(to_numpy(array), expected)
    assert graphs == {"recorded": 0, "replayed": 3, "failed": 0}


def check_two_devices(cupy: ModuleType) -> None:
    model = both_model()
    second = model.to("cupy", device=1)
    assert (second.device, second.vision_model.device) == (1, 1)
    inputs = {"pixel_values": pixels(), "input_ids": tokens()}
    found = second(**inputs)
    assert cupy.cuda.runtime.getDevice() == 0
    assert found.logits_per_image.device.id == 1
    expected = model(**inputs).logits_per_image
    assert relative(to_numpy(found.logits_per_image), expected) <= 64 * EPS["float32"]
    there = {name: cupy.asarray(array) for name, array in inputs.items()}  # on device 0
    np.testing.assert_array_equal(to_numpy(second(**there).logits_per_image), to_numpy(found.logits_per_image))
    for features, given in ((second.get_image_features, pixels()), (second.get_text_features, tokens())):
        assert features(given).device.id == 1
    first = second.to(device=0)
    assert first.device == 0
    np.testing.assert_array_equal(to_numpy(first(**inputs).logits_per_image), to_numpy(found.logits_per_image))


def test_two_emulated_devices() -> None:
    with emulated_cupy(2) as cupy:
        check_two_devices(cupy)


@pytest.mark.gpu
def test_two_devices() -> None:
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("this machine has one GPU")
    check_two_devices(cupy)


def test_nothing_is_kept_of_a_model(cupy: ModuleType) -> None:
    """Graphs and stacks go with the model they belong to."""
    before = release(cupy)
    model = both_model().to("cupy")
    for _ in range(3):
        model(pixel_values=pixels(), input_ids=tokens())
    del model
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    assert cupy.get_default_memory_pool().used_bytes() == before
