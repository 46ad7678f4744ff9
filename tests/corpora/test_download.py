"""Broken downloads; damaged and malicious archives."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from deepspeech.corpora import download
from deepspeech.errors import InputError
from tests.corpora.archive_server import serve, tar


@pytest.fixture
def server():
    with serve() as server:
        yield server


def test_a_download_without_ranges_restarts(tmp_path, server):
    server.files["a"], server.ranges = b"0123456789", False
    assert download.download(server.url("a"), tmp_path / "a").read_bytes() == b"0123456789"
    assert len(server.requests) == 2


def test_a_later_run_resumes_a_download(tmp_path, server):
    server.files["a"] = b"0123456789"
    server.broken.add("a")
    (tmp_path / "a.part").write_bytes(b"0123")
    assert download.download(server.url("a"), tmp_path / "a").read_bytes() == b"0123456789"
    assert server.requests == [("a", "bytes=4-")]


def test_a_wrong_checksum_is_refused(tmp_path, server):
    server.files["a"] = b"0123456789"
    with pytest.raises(InputError, match="not md5:00, as published"):
        download.download(server.url("a"), tmp_path / "a", "md5:00")
    assert not list(tmp_path.iterdir())
    right = "md5:" + hashlib.md5(b"0123456789").hexdigest()
    assert download.download(server.url("a"), tmp_path / "a", right).exists()


def test_a_missing_file_is_reported_in_one_line(tmp_path, server):
    with pytest.raises(InputError, match=r"nothing: cannot download: 404 .*--url or --archive") as error:
        download.download(server.url("nothing"), tmp_path / "a")
    assert "\n" not in str(error.value)


def test_an_unwritable_folder_is_reported_in_one_line(tmp_path, server):
    server.files["a"] = b"0123456789"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"--target-dir .*file: cannot write there: .*choose another folder"):
        download.download(server.url("a"), tmp_path / "file" / "a")
    assert not server.requests


def test_a_stopped_download_can_be_resumed(tmp_path, server):
    server.files["a"], stop = b"0123456789", threading.Event()
    stop.set()
    with pytest.raises(InputError, match="stopped; run again to resume"):
        download.download(server.url("a"), tmp_path / "a", stop=stop)
    assert download.download(server.url("a"), tmp_path / "a").read_bytes() == b"0123456789"


def malicious_tar(name: str, link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        if link:
            info.type, info.linkname = tarfile.SYMTYPE, link
        else:
            info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    return buffer.getvalue()


def malicious_zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "evil")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        malicious_tar("../escaped"),
        malicious_tar("a/../../escaped"),
        malicious_tar("/tmp/escaped"),
        malicious_tar("link", "../../escaped"),
        malicious_tar("link", "/etc/passwd"),
        malicious_zip("../escaped"),
        malicious_zip("/tmp/escaped"),
        malicious_zip("..\\escaped"),
    ],
)
def test_an_archive_with_members_outside_is_refused(tmp_path, content):
    archive = tmp_path / "in" / "evil.archive"
    archive.parent.mkdir()
    archive.write_bytes(content)
    with pytest.raises(InputError, match="refused, it is not safe") as error:
        download.extract(archive, tmp_path / "in" / "out")
    assert "\n" not in str(error.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]
    assert not (tmp_path / "in" / "out").exists()


@pytest.mark.slow
def test_a_script_refuses_an_unsafe_archive_in_one_line(tmp_path):
    (tmp_path / "evil.tar").write_bytes(malicious_tar("../escaped"))
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "data/an4.py", "--archive", tmp_path / "evil.tar", "--target-dir", tmp_path / "a"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert errors
    assert errors[0].startswith("an4.py: error: ")
    assert "refused, it is not safe" in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"no archive", tar({"a": bytes(10**5)})[:-40]])
def test_a_damaged_archive_is_reported_in_one_line_and_leaves_nothing(tmp_path, content):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tar\.gz: cannot extract: .*remove the file") as error:
        download.extract(tmp_path / "a.tar.gz", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_zip_archive_is_extracted(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/file", "content")
    assert (
        download.extract(tmp_path / "a.zip", tmp_path / "out") / "folder" / "file"
    ).read_text() == "content"


def test_a_python_that_cannot_extract_safely_is_named(tmp_path, monkeypatch):
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"")
    monkeypatch.delattr("tarfile.data_filter", raising=False)
    with pytest.raises(InputError, match=r"a\.tar: this Python cannot .* 3\.11\.4"):
        download.extract(archive, tmp_path / "a")
    assert not (tmp_path / "a").exists()
