"""Atomic writes: a complete file or the one that was there."""

import os
import threading

import pytest

from deepspeech.atomic_file import write_atomic
from deepspeech.errors import InputError


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    for data in (b"first", b"second"):
        write_atomic(tmp_path / "m.pth", data)
        assert (tmp_path / "m.pth").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


@pytest.mark.parametrize("target", ["file/m.pth", "folder"])
def test_an_unwritable_path_is_an_error(tmp_path, target):
    (tmp_path / "file").write_text("a file, no folder")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        write_atomic(tmp_path / target, b"data")
    assert str(caught.value).startswith(f"{tmp_path / target}: cannot write: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_keeps_the_existing_file(tmp_path, disk_full_at):
    (tmp_path / "m.pth").write_bytes(b"before")
    with disk_full_at(50_000), pytest.raises(InputError) as caught:
        write_atomic(tmp_path / "m.pth", bytes(100_000))
    assert f"{tmp_path / 'm.pth'}: cannot write: File too large; make room" in str(caught.value)
    assert (tmp_path / "m.pth").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_atomic(pipe, b"data")
    reader.join(10)
    assert received == [b"data"]
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert pipe.is_fifo()


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "real").write_bytes(b"before")
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"data"


@pytest.mark.parametrize("target", ["gone", "link"])
def test_a_link_that_leads_nowhere_is_no_traceback(tmp_path, target):
    (tmp_path / "link").symlink_to(target)  # also to itself
    write_atomic(tmp_path / "link", b"data")
    assert (tmp_path / "link").read_bytes() == b"data"
