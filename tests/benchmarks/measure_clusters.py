"""How many pictures a second `embed` does on one process of Ray or Dask and on two, and what of it does not divide.

    python -m tests.benchmarks.measure_clusters [--large] [--pictures N] [--side PIXELS]

For each engine and number of processes, in a process of its own: starts the cluster, embeds a few pictures, so that all
processes have opened the model, and then N others, drawn JPEG files. "command" is the processor time of the command
itself, which does not divide among processes; "own" the most memory of it that belongs to no file. Of each process of
the engine: how much of the weights it has touched, and its share of that memory, which the others use, too.
"""

import argparse
import contextlib
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

from aimv2_np import Aimv2ImageProcessor, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.cli.output import bytes_of
from aimv2_np.data import tiny_model_path
from aimv2_np.tasks import embed
from tests.benchmarks.measure_embedding import Watch, draw
from tests.support.watched import mapped

WARM = 64  # pictures for each process: one task


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


def measure(engine, processes, number, side, large):
    """Embed so many pictures and print one line."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, count in (("first", WARM * processes), ("pictures", number)):
            (folder / name).mkdir()
            draw(folder / name, count, side)
        model = None
        if large:
            model = folder / "model"
            Aimv2VisionModel(Aimv2VisionConfig()).save_pretrained(model)
            Aimv2ImageProcessor().save_pretrained(model)
        weights = str((model or tiny_model_path()) / "model.safetensors")
        with cluster(engine, processes):
            embed([folder / "first"], folder / "first.safetensors", model=model, engine=engine)
            watch = Watch()
            watch.start()
            wall, own = time.perf_counter(), time.process_time()
            embed([folder / "pictures"], folder / "f.safetensors", model=model, engine=engine)
            wall, own = time.perf_counter() - wall, time.process_time() - own
            watch.over.set()
            watch.join()
            shares = [f"{bytes_of(found['Pss'])} of {bytes_of(found['Rss'])}" for found in of_others(weights)]
    print(
        f"{engine or 'one process'}, {processes}: {number} pictures of {side * 4 // 3}x{side} in {wall:.1f} s, "
        f"{number / wall:.2f}/s; command {1000 * own / number:.2f} ms a picture, {bytes_of(watch.own_bytes)} own; "
        f"weights: {', '.join(shares)}",
        flush=True,
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--side", type=int, default=480)
    options = parser.parse_args()
    for engine, processes in ((None, 1), ("dask", 1), ("dask", 2), ("ray", 1), ("ray", 2)):
        args = (engine, processes, options.pictures, options.side, options.large)
        one = multiprocessing.get_context("spawn").Process(target=measure, args=args)
        one.start()
        one.join()


if __name__ == "__main__":
    main()
