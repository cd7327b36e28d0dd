"""A training that is cut off at any moment goes on to the same bits."""

import json
import os
import signal

import numpy as np
import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.training import DivergedError, Schedule, train
from aimv2_np.training.log import read
from aimv2_np.training.state import FILE, State
from tests.support.training import Squares, recipe, task

KILLS = 20
PATH = "decoder.connector.bias"


def bits(network):
    return {path: array.tobytes() for path, array in network.state_dict().items()}


def bits_of(folder):
    """Of all that is kept, which is more than the weights."""
    state, _ = State.load(folder)
    return {
        (part, path): array.tobytes()
        for part in ("weights", "first", "second", "average") for path, array in getattr(state, part).items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Twelve steps in one go: the network and the folder."""
    folder = tmp_path_factory.mktemp("whole")
    return train(task(), recipe(12, average=0.9), folder, save_every=1), folder


def test_it_learns(tmp_path):
    numbers = []
    train(task(), recipe(60, schedule=Schedule(60, 1e-2, 5), batch_size=8), tmp_path, progress=numbers.append)
    losses = [line["text"] for line in numbers]
    assert np.mean(losses[-5:]) < 0.2 * losses[0]  # captions are one word of three
    assert [line["step"] for line in numbers] == list(range(1, 61))


def test_interrupted_it_goes_on_to_the_same_bits(tmp_path, whole):
    network, folder = whole

    for last in (3, 7):

        def stop(numbers, last=last):
            if numbers["step"] == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt) as caught:
            train(task(), recipe(12, average=0.9), tmp_path, save_every=2, progress=stop)
    assert caught.value.__notes__ == [f"6 of 12 steps are kept in {tmp_path}; the same call goes on from there"]
    again = train(task(), recipe(12, average=0.9), tmp_path, save_every=5)
    assert bits(again) == bits(network)
    assert bits_of(tmp_path) == bits_of(folder)
    assert [line["step"] for line in read(tmp_path / "log.jsonl")] == list(range(1, 13))
    losses = [[line["loss"] for line in read(place / "log.jsonl")] for place in (tmp_path, folder)]
    assert losses[0] == losses[1]


def train_in_a_child(folder, save_every, precision):
    """The number of a process that trains, and where it writes a point for each step."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            train(
                task(), recipe(12, average=0.9, precision=precision), folder, save_every=save_every,
                progress=lambda numbers: os.write(writer, b".") and None,
            )  # fmt: skip
        finally:
            os._exit(0)
    os.close(writer)
    return child, reader


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
@pytest.mark.parametrize(("precision", "kills"), [(None, KILLS), ("float16", 4), ("bfloat16", 4)])
def test_killed_twenty_times_it_goes_on_to_the_same_bits(tmp_path, whole, tmp_path_factory, precision, kills):
    """`kill -9` before the first step has ended, or while a later one is computed, written or logged."""
    how = recipe(12, average=0.9, precision=precision)
    if precision:
        folder = tmp_path_factory.mktemp("whole")
        whole = train(task(), how, folder), folder
    rng = np.random.default_rng(0)
    for kill in range(kills):
        child, reader = train_in_a_child(tmp_path, 1 + kill % 3, precision)
        for _ in range(int(rng.integers(0, 3))):
            os.read(reader, 1)  # nothing comes any more where it has come to its end
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
    again = train(task(), how, tmp_path)
    assert bits(again) == bits(whole[0])
    assert bits_of(tmp_path) == bits_of(whole[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".training.lock", "log.jsonl", FILE]


@pytest.mark.parametrize("save_every", [0, -1, 1.5, True])
def test_save_every_is_a_number_of_steps(tmp_path, save_every):
    with pytest.raises(ValueError, match=r"save_every is .*; expected a whole number"):
        train(task(), recipe(1), tmp_path, save_every=save_every)


def test_at_its_end_nothing_is_computed_again(tmp_path, whole):
    network, folder = whole
    numbers = []
    again = train(task(), recipe(12, average=0.9), folder, progress=numbers.append)
    assert not numbers
    assert bits(again) == bits(network)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": {"seed": 1}}, r"task.seed is 0, and now it is 1; expected the same"),
        ({"task": {"pictures": Squares(11)}}, r"task.pictures.squares is 10, and now it is 11"),
        ({"task": {"pixel_weight": 0.2}}, r"task.pixel_weight is 0.4, and now it is 0.2"),
        ({"recipe": {"batch_size": 8}}, r"recipe.batch_size is 4, and now it is 8"),
        ({"recipe": {"schedule": Schedule(13, 1e-2, 2)}}, r"recipe.schedule.steps is 12, and now it is 13"),
    ],
)
def test_another_training_is_not_gone_on_with(whole, changes, said):
    settings = {"average": 0.9, **changes.get("recipe", {})}
    before = (whole[1] / FILE).read_bytes()
    with pytest.raises(ValueError, match=said):
        train(task(**changes.get("task", {})), recipe(12, **settings), whole[1])
    assert (whole[1] / FILE).read_bytes() == before


def test_two_do_not_train_in_one_folder(tmp_path):
    def inside(numbers):
        with pytest.raises(RuntimeError, match="another process trains in"):
            train(task(), recipe(2), tmp_path)

    train(task(), recipe(1), tmp_path, progress=inside)


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\x02" + bytes(7) + b"{}", b"\x04" + bytes(7) + b"{,}}"])
def test_what_is_damaged_is_told(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"training\.safetensors .*remove it to begin anew, or train in an"
    ) as caught:
        train(task(), recipe(1), tmp_path)
    assert "fetch" not in str(caught.value)  # from where?


def test_a_training_beyond_its_last_step_is_refused(tmp_path):
    train(task(), recipe(2), tmp_path)
    state, facts = State.load(tmp_path)
    state.step = 3
    state.save(tmp_path, facts)
    with pytest.raises(CheckpointError, match=r"after step 3 of 2; expected at most the last: remove it"):
        train(task(), recipe(2), tmp_path)


def test_numbers_of_numpy_are_numbers(tmp_path):
    one, two = np.int64(1), np.int64(2)
    schedule = Schedule(two, np.float32(0.5), one)
    for _ in range(2):  # and goes on
        made = task(pictures=Squares(np.int64(10)))
        train(made, recipe(schedule=schedule, batch_size=two, accumulate=one, recompute=one), tmp_path, save_every=one)
    assert [line["step"] for line in read(tmp_path / "log.jsonl")] == [1, 2]


def test_facts_that_json_does_not_have_are_refused(tmp_path):
    pictures = Squares(10)
    vars(pictures)["number"] = {1, 2}
    with pytest.raises(TypeError, match=r"facts or its recipe hold a set; expected what JSON has"):
        train(task(pictures=pictures), recipe(1), tmp_path)


def test_a_log_that_was_cut_off_in_a_line_goes_on(tmp_path):
    train(task(), recipe(3), tmp_path)
    path = tmp_path / "log.jsonl"
    path.write_bytes(path.read_bytes() + b'{"step": 4, "lo')
    train(task(), recipe(3), tmp_path)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_a_rate_that_is_far_too_high_is_told(tmp_path):
    from aimv2_np.training.optimizer import AdamW

    wild = recipe(50, schedule=Schedule(50, 300.0), optimizer=AdamW(weight_decay=0.0), clip=None)
    with pytest.raises(DivergedError, match=r"step \d+: the loss is .*lower the rate's peak") as caught:
        train(task(), wild, tmp_path, save_every=1)
    assert "steps are kept in" in caught.value.__notes__[0]
    state, _ = State.load(tmp_path)
    assert all(np.isfinite(array).all() for array in state.weights.values())
    assert isinstance(caught.value, RuntimeError)  # which the command line tells as it is


def test_weights_in_half_precision_are_refused(tmp_path):
    """Where ε is 0, and a weight that has no gradient becomes 0/0."""
    made = task()
    vars(made)["network"] = made.network.map(lambda path, array: array.astype(np.float16))
    with pytest.raises(ValueError, match=r"the weight .* is of float16; expected float32 or float64 to train: call"):
        train(made, recipe(2), tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda arrays: arrays.pop(PATH), "is None; expected of float32"),
     (lambda arrays: arrays.update({PATH: arrays[PATH][:1]}), r"is of float32, shape \(1,\); expected"),
     (lambda arrays: arrays.update(more=arrays[PATH]), "more is of float32.*; expected None")],
    ids=["missing", "shorter", "more"],
)  # fmt: skip
@pytest.mark.parametrize("part", ["weights", "first"])
def test_a_training_with_other_arrays_is_refused(tmp_path, part, change, said):
    train(task(), recipe(2), tmp_path, save_every=1)
    state, facts = State.load(tmp_path)
    change(getattr(state, part))
    state.save(tmp_path, facts)
    with pytest.raises(CheckpointError, match=said + ".*; remove it to begin anew"):
        train(task(), recipe(2), tmp_path)
