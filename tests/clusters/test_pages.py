"""The pipelines of docs/clusters.md, as they stand there, on real clusters of two processes, of which one is killed."""

import shutil

import numpy as np
import pytest

from tests.clusters.conftest import BROKEN, COUNT
from tests.docs.test_code import blocks
from tests.support.watched import reports

pytestmark = pytest.mark.filterwarnings("default")  # of libraries about each other


@pytest.fixture
def started(request, watched):
    """What a page takes for granted: a cluster, and Java."""
    if request.node.callspec.params["engine"] == "ray":
        ray = pytest.importorskip("ray")
        with ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False):
            yield
        return
    if request.node.callspec.params["engine"] == "pyspark" and not shutil.which("java"):
        pytest.skip("no Java on this machine, which Spark needs")
    yield


@pytest.mark.parametrize(("engine", "folder"), [("ray", "ray"), ("dask", "dask"), ("pyspark", "spark")])
def test_a_pipeline_gives_the_bits_of_one_machine(engine, folder, started, watched, work, one):
    pytest.importorskip(engine)
    parquet = pytest.importorskip("pyarrow.parquet")
    (code,) = [block for block in blocks("docs/clusters.md") if f'"vectors-{folder}"' in block]
    exec(compile(code, "docs/clusters.md", "exec"), {})

    rows = parquet.read_table(work / f"vectors-{folder}").to_pylist()
    by_name = {row["path"].rpartition("/")[2]: row for row in rows}
    assert len(rows) == len(by_name) == COUNT  # nothing is lost, nothing is there twice
    for name, row in by_name.items():
        if name in one:
            assert row["error"] is None
            np.testing.assert_array_equal(np.array(row["features"], np.float32), one[name])
        else:
            assert row["features"] is None
            assert row["error"].startswith("the content is not an image")
    assert sorted(set(by_name) - set(one)) == [f"{number:03}.png" for number in BROKEN]

    found = reports(watched)
    assert (watched / "death-0").exists()
    assert len(found) >= 2  # a third, in the place of the one that was killed, may come when all is done
    assert all(report["Rss"] > 0 for report in found.values())
    assert min(report["Pss"] / report["Rss"] for report in found.values()) < 0.75  # the same memory, not one's own
