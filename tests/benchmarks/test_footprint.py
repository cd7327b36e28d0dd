from tests.benchmarks.measure_footprint import size_of


def test_files_count_once_and_links_not_at_all(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_bytes(b"x" * 10)
    (folder / "deep" / "b").write_bytes(b"x" * 5)
    (folder / "deep" / "again").hardlink_to(folder / "a")
    (tmp_path / "outside").write_bytes(b"x" * 1000)
    (folder / "link").symlink_to(tmp_path / "outside")
    assert size_of(folder) == (15, 2)
