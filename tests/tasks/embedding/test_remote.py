"""Pictures at addresses: from a server on this machine, which can refuse, break off and go."""

import io
import re
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aimv2_np.tasks import embed, open_features
from aimv2_np.tasks.embedding import remote
from aimv2_np.tasks.embedding.remote import Remote, is_remote
from aimv2_np.tasks.embedding.sources import find_pictures
from tests.support.pictures import photo


def png(seed):
    buffer = io.BytesIO()
    photo(20, 30, seed=seed).save(buffer, "PNG")
    return buffer.getvalue()


def tar_of(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def server():
    """Gives what is in its `files`, parts too; breaks off in the middle of what is in `torn`, refuses `closed`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            data = at.files.get(self.path)
            if data is None or self.path in at.closed:
                self.send_error(404 if data is None else at.closed[self.path])
                return
            part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            self.send_response(206 if part else 200)
            if part:
                first, last = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
                data = data[first : last + 1]
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[: len(data) // 2] if self.path in at.torn else data)
            self.close_connection = self.path in at.torn

        def log_message(self, *_):
            pass

    at = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    at.files, at.torn, at.closed = {}, set(), {}
    at.address = f"http://127.0.0.1:{at.server_port}"
    threading.Thread(target=at.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield at
    at.shutdown()
    at.server_close()


@pytest.fixture
def http():
    pytest.importorskip("aiohttp", reason="addresses need fsspec with aiohttp, the extra remote")
    return pytest.importorskip("fsspec")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i in range(6):
        (tmp_path / "photos" / f"{i}.png").write_bytes(png(i))
    return tmp_path


def test_what_is_an_address():
    assert is_remote("https://example.org/a.jpg")
    assert is_remote("s3://bucket/a/")
    assert not any(map(is_remote, ["photos", "file:///etc/passwd", "C://x", "local://x", "x/https://"]))


def test_a_scheme_may_be_in_capitals(here, monkeypatch):
    monkeypatch.setattr(remote, "system", lambda address: None)
    Path("list.txt").write_text("HTTPS://example.org/A.jpg?of=HTTP://b\n")
    wanted = Remote("https://example.org/A.jpg?of=HTTP://b")
    for paths in (["list.txt"], ["HTTPS://example.org/A.jpg?of=HTTP://b"]):
        assert list(find_pictures(paths).places.values()) == [wanted]


def test_without_fsspec_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    remote._system.cache_clear()
    for paths in (["https://example.org/a.jpg"], ["s3://bucket/a/"]):
        with pytest.raises(ImportError, match=r"pip install 'aimv2-np\[remote\]'"):
            find_pictures(paths)


def test_a_list_of_addresses(two_towers, here, server, http):
    server.files |= {f"/{i}.png": png(i) for i in range(6)}
    server.closed["/3.png"] = 403
    names = [f"{server.address}/{i}.png" for i in range(5)]
    Path("list.txt").write_text("\n".join([*names, f"{server.address}/missing.png"]))
    result = embed(["list.txt"], "f.npz", model=two_towers, batch_size=2)
    assert dict(result.broken) == {
        names[3]: "the server refuses it (403 Forbidden)",
        f"{server.address}/missing.png": "there is nothing at this address (404)",
    }
    embed(["photos"], "files.npz", model=two_towers)
    assert list(open_features("f.npz").names) == [name for name in names if name != names[3]]
    assert (open_features("f.npz").features == open_features("files.npz").features[[0, 1, 2, 4]]).all()
    Path("list.txt").write_text("\n".join([*names, f"{server.address}/missing.png", f"{server.address}/5.png"]))
    assert embed(["list.txt"], "f.npz", model=two_towers, batch_size=2).kept == 6


def test_a_tar_at_an_address(two_towers, here, server, http):
    server.files["/a/shard.tar"] = tar_of({f"{i}.{kind}": png(i) for i in range(6) for kind in ("png", "json")})
    address = f"{server.address}/a/shard.tar"
    result = embed([address], "f.npz", model=two_towers)
    embed(["photos"], "files.npz", model=two_towers)
    assert list(open_features("f.npz").names) == [f"{address}/{i}.png" for i in range(6)]
    assert (open_features("f.npz").features == open_features("files.npz").features).all()
    assert result.passed_over == {".json": 6}
    server.files["/a/shard.tar"] = server.files["/a/shard.tar"][:5000]
    assert "it cannot be read to its end" in find_pictures([address]).places[address]
    with pytest.raises(FileNotFoundError, match=r"http://127.0.0.1:\d+/none.tar: there is nothing at this address"):
        find_pictures([f"{server.address}/none.tar"])
    server.closed["/a/shard.tar"] = 403
    with pytest.raises(ValueError, match=r"http://127.0.0.1:\d+/a/shard.tar: the server refuses it \(403 Forbidden\)"):
        find_pictures([address])
    server.closed["/a/shard.tar"] = 503
    with pytest.raises(OSError, match=r"the network failed .*http://127.0.0.1:\d+/a/shard.tar"):
        find_pictures([address])
    for name in ("a.zip", "a.tar.gz", "list.txt", "a.parquet"):
        with pytest.raises(ValueError, match=r"is read where it lies only as .tar; fetch it first"):
            find_pictures([f"{server.address}/{name}"])


@pytest.mark.parametrize("how", ["torn", "busy"])
def test_a_network_that_fails_stops_the_run_which_goes_on(two_towers, here, server, http, how):
    server.files |= {f"/{i}.png": png(i) for i in range(6)}
    names = [f"{server.address}/{i}.png" for i in range(6)]
    if how == "torn":
        server.torn.add("/4.png")
    else:
        server.closed["/4.png"] = 503
    with pytest.raises(OSError, match=r"the network failed \(\w+: .*'http://127.0.0.1:\d+/4.png'") as caught:
        embed(names, "f.npz", model=two_towers, batch_size=2, threads=1)
    assert caught.value.__notes__[-1] == "4 of 6 pictures are kept in f.npz.parts; the same command continues"
    server.torn.clear()
    server.closed.clear()
    result = embed(names, "f.npz", model=two_towers, batch_size=2)
    assert (result.continued, result.count) == (4, 6)


def test_a_server_that_does_not_end(server, http, monkeypatch):
    monkeypatch.setattr(remote, "MAX_BYTES", 1000)
    monkeypatch.setattr(remote, "BLOCK", 100)
    server.files["/0.png"] = bytes(10**6)
    with pytest.raises(ValueError, match="has more than 1,000 bytes"):
        Remote(f"{server.address}/0.png").read()


def test_nobody_at_the_address(here, server, http):
    address = server.address
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match="the network failed"):
        Remote(f"{address}/0.png").read()


@pytest.fixture
def bucket(monkeypatch):
    """A bucket called so on a stand-in for S3."""
    pytest.importorskip("s3fs", reason="S3 needs s3fs, the extra remote")
    pytest.importorskip("moto", reason="a stand-in for S3")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    remote._system.cache_clear()
    pytest.importorskip("fsspec").filesystem("s3", skip_instance_cache=True).clear_instance_cache()
    yield boto3.resource("s3").create_bucket(Bucket="bucket")
    server.stop()


def test_a_bucket_of_s3(two_towers, here, bucket):
    for i in range(6):
        bucket.put_object(Key=f"photos/{i % 2}/{i}.png", Body=png(i))
    bucket.put_object(Key="photos/notes.md", Body=b"no picture")
    bucket.put_object(Key="shard.tar", Body=tar_of({f"{i}.png": png(i) for i in range(6)}))
    embed(["photos"], "files.npz", model=two_towers)
    wanted = open_features("files.npz").features
    result = embed(["s3://bucket/photos/"], "f.npz", model=two_towers)
    order = [0, 2, 4, 1, 3, 5]
    assert list(open_features("f.npz").names) == [f"s3://bucket/photos/{i % 2}/{i}.png" for i in order]
    assert (open_features("f.npz").features == wanted[order]).all()
    assert result.passed_over == {".md": 1}
    embed(["s3://bucket/shard.tar"], "tar.npz", model=two_towers)
    assert (open_features("tar.npz").features == wanted).all()
    embed(["s3://bucket/photos/1/3.png"], "one.npz", model=two_towers)
    assert (open_features("one.npz").features == wanted[[3]]).all()
    result = embed(["s3://bucket/photos/1/3.png", "s3://bucket/9.png"], "two.npz", model=two_towers)
    assert "there is nothing" in dict(result.broken)["s3://bucket/9.png"]
    for address in ("s3://bucket/none.tar", "s3://nowhere/none.tar", "s3://nowhere/photos/"):
        with pytest.raises(FileNotFoundError, match=f"{address}: there is nothing at this address"):
            find_pictures([address])


def test_what_is_empty_in_a_bucket_is_a_broken_picture(two_towers, here, bucket):
    bucket.put_object(Key="a/0.png", Body=png(0))
    bucket.put_object(Key="a/empty.png", Body=b"")
    Path("photos/empty.png").touch()
    reason = dict(embed(["photos"], "files.npz", model=two_towers).broken)["photos/empty.png"]
    result = embed(["s3://bucket/a/"], "f.npz", model=two_towers)
    assert (result.count, dict(result.broken)) == (1, {"s3://bucket/a/empty.png": reason})


def test_what_is_empty_on_a_server_is_a_broken_picture(two_towers, here, server, http):
    server.files |= {"/empty.png": b"", "/a.tar": tar_of({"0.png": png(0), "empty.png": b"", "1.png": png(1)})}
    Path("photos/empty.png").touch()
    reason = dict(embed(["photos"], "files.npz", model=two_towers).broken)["photos/empty.png"]
    names = [f"{server.address}/empty.png", f"{server.address}/a.tar/empty.png"]
    result = embed([names[0], f"{server.address}/a.tar"], "f.npz", model=two_towers)
    assert (result.count, dict(result.broken)) == (2, dict.fromkeys(names, reason))
