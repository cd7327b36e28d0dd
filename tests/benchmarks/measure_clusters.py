"""How many pictures a second `embed` does on one process of Ray or Dask and on two, and what of it does not divide.

    python -m tests.benchmarks.measure_clusters [--large] [--pictures N] [--side PIXELS] [--batch B]

For each engine and number of processes, in a process of its own: starts the cluster, embeds a few pictures, so that all
processes have opened the model, and then N drawn JPEG files. "command" is the processor time of the command
itself, which does not divide among processes; "own" the most memory of it that belongs to no file. Of each process of
the engine: how much of the weights it has touched, and its share of that memory, which the others use, too.
"""

import argparse
import contextlib
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path

from aimv2_np import Aimv2ImageProcessor, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.bench.memory import read_memory
from aimv2_np.cli.output import bytes_of
from aimv2_np.data import tiny_model_path
from aimv2_np.tasks import embed
from tests.benchmarks.measure_embedding import draw
from tests.support.watched import mapped

WARM = 8  # batches: two tasks


@contextlib.contextmanager
def cluster(engine, processes):
    """One of so many processes; without an engine this one, with as many threads as it takes by itself."""
    if engine == "ray":
        import ray

        with ray.init(num_cpus=processes, include_dashboard=False, log_to_driver=False, logging_level="error"):
            yield
    elif engine == "dask":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=processes, threads_per_worker=1, dashboard_address=None) as local,
            Client(local),
        ):
            yield
    else:
        yield


def of_others(name):
    """What other processes have mapped of the weights."""
    for process in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        with contextlib.suppress(OSError):
            found = mapped(name, process) if process != os.getpid() else {"Rss": 0}
            if found["Rss"]:
                yield found


def prepare(folder, number, side, large, batch):
    """Pictures in `folder`, and what it returns: the model."""
    (folder / "first").mkdir()
    (folder / "pictures").mkdir()
    draw(folder / "pictures", number, side)
    for path in sorted((folder / "pictures").iterdir())[: WARM * batch]:
        (folder / "first" / path.name).write_bytes(path.read_bytes())
    if not large:
        return tiny_model_path()
    Aimv2VisionModel(Aimv2VisionConfig()).save_pretrained(folder / "model")
    Aimv2ImageProcessor().save_pretrained(folder / "model")
    return folder / "model"


def look(most, over):
    """Write down, once a second, how much memory of this process belongs to no file."""
    while not over.wait(1):
        most.append(read_memory().anonymous or 0)


def measure(engine, processes, folder, model, number, batch):
    """Embed the pictures and print one line."""
    options = {"model": model, "engine": engine, "batch_size": batch}
    with cluster(engine, processes):
        embed([folder / "first"], folder / f"first-{engine}{processes}.safetensors", **options)
        most, over = [0], threading.Event()
        watch = threading.Thread(target=look, args=(most, over), daemon=True)
        watch.start()
        wall, own = time.perf_counter(), time.process_time()
        embed([folder / "pictures"], folder / f"{engine}{processes}.safetensors", **options)
        wall, own = time.perf_counter() - wall, time.process_time() - own
        over.set()
        watch.join()
        weights = str(model / "model.safetensors")
        shares = [f"{bytes_of(found['Pss'])} of {bytes_of(found['Rss'])}" for found in of_others(weights)]
    print(
        f"{engine or 'one process'}, {processes}: {number} pictures in {wall:.1f} s, {number / wall:.2f}/s; command "
        f"{1000 * own / number:.2f} ms a picture, {bytes_of(max(most))} own; weights: {', '.join(shares)}",
        flush=True,
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--side", type=int, default=480)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, number = Path(temporary), options.pictures
        model = prepare(folder, number, options.side, options.large, options.batch)
        for engine, processes in ((None, 1), ("dask", 1), ("dask", 2), ("ray", 1), ("ray", 2)):
            args = (engine, processes, folder, model, number, options.batch)
            one = multiprocessing.get_context("spawn").Process(target=measure, args=args)
            one.start()
            one.join()


if __name__ == "__main__":
    main()
