"""Get archives from the network and out of their wrapping, safely and never twice."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import shutil
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from tqdm import tqdm

from deepspeech.errors import InputError

PIECE = 1 << 20  # bytes
TIMEOUT = 60  # seconds without an answer
ATTEMPTS = 6  # in a row that bring nothing, before giving up
HEADERS = {"User-Agent": "deepspeech"}
OUR_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}  # no fault of the network


def download(
    url: str, path: str | Path, checksum: str | None = None, stop: threading.Event | None = None
) -> Path:
    """Get a file; does nothing if it is there.

    A connection that breaks is taken up again where it broke (HTTP ranges), also by a later
    run: what has come so far is kept in `PATH.part`.

    Args:
        url: Where from, http or https.
        path: Where to.
        checksum: What its publisher says, e.g. "md5:2a93...".
        stop: Ends the download when it is set.

    Raises:
        InputError: The server refuses, does not answer, or sends something else; or the file
            cannot be written.
    """
    path = Path(path)
    if path.exists():
        return path
    _make(path.parent)
    part = path.with_name(path.name + ".part")
    fruitless = 0
    with tqdm(desc=path.name, unit="B", unit_scale=True, leave=False) as bar:
        while True:
            before = part.stat().st_size if part.exists() else 0
            reason = "the connection breaks"
            try:
                if _fetch(url, part, bar, stop or threading.Event()):
                    break
            except (OSError, http.client.HTTPException) as error:
                reason = _refusal(url, error)
            fruitless = 0 if part.exists() and part.stat().st_size > before else fruitless + 1
            if fruitless == ATTEMPTS:
                raise InputError(f"{url}: cannot download: {reason}; run again to go on, or give --archive")
            if fruitless:
                time.sleep(2 ** (fruitless - 1))
    if checksum and _checksum(part, checksum) != checksum:
        part.unlink()
        raise InputError(f"{url}: the file is not {checksum}, as published; run again, or give --archive")
    return part.rename(path)


def _refusal(url: str, error: Exception) -> str:
    """Why a request failed, if it may succeed the next time.

    Raises:
        InputError: It will not: the server knows no such file, or does not give it.
    """
    if isinstance(error, urllib.error.HTTPError):
        if error.code < 500 and error.code not in (408, 429):
            raise InputError(
                f"{url}: cannot download: {error.code} {error.reason}; give another --url or an --archive"
            ) from None
        return f"{error.code} {error.reason}"
    if getattr(error, "errno", None) in OUR_DISK:
        raise InputError(f"{url}: cannot write what it sends: {error}; make room or choose another folder")
    return str(getattr(error, "reason", error)) or type(error).__name__


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot make the folder: {error.strerror}; choose another one") from None


def _fetch(url: str, part: Path, bar: tqdm, stop: threading.Event) -> bool:
    """Add to `part` what one connection brings; whether the file is whole."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers=HEADERS | ({"Range": f"bytes={have}-"} if have else {}))  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if total == str(have):
                return True
            part.unlink()  # not the beginning of this file
            return False
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        size = response.headers.get("Content-Length")
        start = have if resumed else 0
        bar.total, bar.n = (None if size is None else start + int(size)), start
        with open(part, "ab" if resumed else "wb") as file:
            while data := response.read(PIECE):
                if stop.is_set():
                    raise InputError(f"{url}: stopped; run again to go on")
                file.write(data)
                bar.update(len(data))
    return size is None or part.stat().st_size == start + int(size)


def _checksum(path: Path, like: str) -> str:
    kind = like.partition(":")[0]
    with open(path, "rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def extract(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a tar or zip archive into a folder of its own; does nothing if that is there.

    The folder appears only when all of the archive is in it.

    Raises:
        InputError: It is no archive, is damaged, or has members that would land elsewhere.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        return folder
    if not archive.is_file():
        raise InputError(f"{archive}: no such archive; correct the path")
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    _make(partial)
    try:
        for _ in tqdm(_unpack(archive, partial), f"Extracting {archive.name}", unit="file", leave=False):
            pass
        return partial.rename(folder)
    except (tarfile.FilterError, _Escape) as error:
        raise InputError(f"{archive}: refused, it is not safe: {error}; get it from its publisher") from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise InputError(f"{archive}: cannot extract: {reason}; remove the file and run again") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Escape(Exception):
    """A member of a zip archive names a place outside the folder."""


def _unpack(archive: Path, folder: Path) -> Iterator[None]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as package:
            for name in package.namelist():
                # zipfile would drop the ".." without a word
                paths = PurePosixPath(name), PureWindowsPath(name)
                if any(path.is_absolute() or path.drive or ".." in path.parts for path in paths):
                    raise _Escape(f"{name!r} would be extracted outside the folder")
                yield package.extract(name, folder) and None
        return
    with tarfile.open(archive) as package:
        for member in package:
            if PurePosixPath(member.name).is_absolute():
                raise _Escape(f"{member.name!r} would be extracted outside the folder")
            yield package.extract(member, folder, filter="data")


def stem(archive: str | Path) -> str:
    """The name of an archive without its folder and endings."""
    name = os.path.basename(archive)
    with contextlib.suppress(StopIteration):
        ending = next(each for each in (".tar.gz", ".tar.bz2", ".tgz", ".tar", ".zip") if name.endswith(each))
        return name.removesuffix(ending)
    return name
