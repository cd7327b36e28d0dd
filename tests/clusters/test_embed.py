"""`embed --engine` on real clusters of two processes: the file of one machine, whatever is killed meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from threadpoolctl import threadpool_limits

from aimv2_np.tasks import embed
from aimv2_np.tasks.embedding.engines import opened
from tests.support.watched import DEATHS, reports

pytestmark = pytest.mark.filterwarnings("default")
ENGINES = [("ray", "ray"), ("dask", "distributed")]


@pytest.mark.parametrize(("engine", "library"), ENGINES)
def test_a_killed_process_loses_and_doubles_nothing(engine, library, watched, work, tmp_path):
    pytest.importorskip(library)
    done = embed(["photos"], tmp_path / "many.safetensors", engine=engine)
    assert (tmp_path / "many.safetensors").read_bytes() == (work / "one.safetensors").read_bytes()
    assert (done.count, len(done.broken)) == (297, 3)
    assert (watched / "death-0").exists()
    assert len(reports(watched)) >= 2
    assert os.getpid() not in reports(watched)


@pytest.mark.parametrize(("engine", "library"), ENGINES)
def test_a_task_that_kills_every_process_is_one_sentence(engine, library, watched, monkeypatch, tmp_path):
    pytest.importorskip(library)
    monkeypatch.setenv(DEATHS, "1000")
    with pytest.raises(RuntimeError, match="processes of the engine died again and again at one task") as caught:
        embed(["photos"], tmp_path / "many.safetensors", engine=engine)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "many.safetensors").exists()


@pytest.mark.parametrize(("engine", "library"), ENGINES)
def test_a_killed_command_is_continued(engine, library, watched, monkeypatch, work, tmp_path):
    """By one that computes here, by one on the engine again: the file is that of one run."""
    pytest.importorskip(library)
    monkeypatch.setenv(DEATHS, "0")
    output, manifest = tmp_path / "many.safetensors", tmp_path / "many.safetensors.parts" / "manifest.jsonl"
    command = [sys.executable, "-m", "aimv2_np", "embed", "photos", "-o", str(output), "--save-every", "16"]
    begun = subprocess.Popen([*command, "--engine", engine], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (manifest.exists() and manifest.read_bytes().count(b"\n") > 2):
        assert begun.poll() is None
        time.sleep(0.01)  # nothing tells that another process has written a line
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    more = [] if engine == "ray" else ["--engine", engine]
    ended = subprocess.run([*command, *more], check=True, capture_output=True, text=True)
    assert "done before" in ended.stdout
    assert output.read_bytes() == (work / "one.safetensors").read_bytes()


@pytest.mark.parametrize(("engine", "library"), ENGINES)
def test_nobody_at_the_address(engine, library, watched, monkeypatch, tmp_path):
    pytest.importorskip(library)
    monkeypatch.setattr("aimv2_np.tasks.embedding.engines.SECONDS", 1)
    with pytest.raises(ConnectionError, match=r"address is .*127\.0\.0\.1:9, and nobody answers there") as caught:
        embed(["photos"], tmp_path / "a.npz", engine=engine, address={"dask": "tcp://"}.get(engine, "") + "127.0.0.1:9")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [watched]


def test_a_cluster_that_goes_away(watched, monkeypatch, work, tmp_path):
    """What is computed is kept, and the same call goes on without it."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv(DEATHS, "0")
    output = tmp_path / "many.safetensors"
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:

        def leave(done, total):
            if done > 64 and cluster.status.name == "running":
                cluster.close()

        with distributed.Client(cluster), pytest.raises(ConnectionError, match="the cluster is gone") as caught:
            embed(["photos"], output, engine="dask", progress=leave)
    assert "the same command continues" in caught.value.__notes__[-1]
    assert embed(["photos"], output).continued > 0
    assert output.read_bytes() == (work / "one.safetensors").read_bytes()


@pytest.mark.parametrize("given", [True, False], ids=["an address", "dask's own setting"])
def test_a_cluster_that_runs_somewhere(given, watched, monkeypatch, work, tmp_path):
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    monkeypatch.setenv(DEATHS, "0")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        with dask.config.set({"scheduler-address": None if given else address}):
            embed(["photos"], tmp_path / "many.safetensors", engine="dask", address=address if given else None)
        assert set(reports(watched)) <= {worker.pid for worker in cluster.workers.values()}
        assert cluster.status.name == "running"
    assert (tmp_path / "many.safetensors").read_bytes() == (work / "one.safetensors").read_bytes()


def test_a_cluster_without_a_process(watched, monkeypatch, tmp_path):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv(DEATHS, "0")
    monkeypatch.setattr("aimv2_np.tasks.embedding.engines.SECONDS", 2)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:

        def leave(done, total):
            if done == 64:
                cluster.scale(0)

        with (
            distributed.Client(cluster),
            pytest.raises(ConnectionError, match="has had no process to compute in for 2 s"),
        ):
            embed(["photos"], tmp_path / "many.safetensors", engine="dask", progress=leave)


@pytest.mark.parametrize(("engine", "library"), ENGINES)
def test_something_else_listens_at_the_address(engine, library, watched, monkeypatch, tmp_path):
    pytest.importorskip(library)
    monkeypatch.setattr("aimv2_np.tasks.embedding.engines.SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="and nobody answers there as expected"):
            embed(["photos"], tmp_path / "many.safetensors", engine=engine, address=address)


def test_threads_of_blas_are_those_of_the_command(work, monkeypatch, tmp_path):
    """Float16 is computed by BLAS, which rounds by its threads; workers have one."""
    pytest.importorskip("distributed")
    monkeypatch.chdir(work)
    some, options = [f"photos/{number:03}.png" for number in range(24)], {"dtype": "float16", "batch_size": 3}
    with (
        threadpool_limits(2),
        pytest.raises(ValueError, match=r"threads of BLAS: 1 in a process on \S+, 2 in this"),
    ):
        embed(some, tmp_path / "many.safetensors", engine="dask", **options)
    with threadpool_limits(1):
        embed(some, tmp_path / "one.safetensors", **options)
        embed(some, tmp_path / "many.safetensors", engine="dask", **options)
    assert (tmp_path / "many.safetensors").read_bytes() == (tmp_path / "one.safetensors").read_bytes()


def test_ray_without_a_process(watched, monkeypatch, tmp_path):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr("aimv2_np.tasks.embedding.engines.SECONDS", 2)
    message = "has had no process to compute in for 2 s"
    with ray.init(num_cpus=0, include_dashboard=False), pytest.raises(ConnectionError, match=message):
        embed(["photos"], tmp_path / "many.safetensors", engine="ray")


def test_ray_has_as_many_processes_as_gpus(watched):
    ray = pytest.importorskip("ray")
    with ray.init(num_cpus=3, num_gpus=2, include_dashboard=False):
        for gpu, count in ((False, 3), (True, 2)):
            with opened("ray", None, gpu=gpu) as engine:
                assert engine.processes() == count
        assert ray.is_initialized()  # it was there before, and stays
