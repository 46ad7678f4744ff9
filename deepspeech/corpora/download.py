"""Download and extract archives; resumable, path-safe, idempotent."""

from __future__ import annotations

import errno
import hashlib
import http.client
import re
import shutil
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from tqdm import tqdm

from deepspeech.atomic_file import check_writable
from deepspeech.errors import InputError

CHUNK = 1 << 20  # bytes
TIMEOUT = 60  # seconds
ATTEMPTS = 6  # in a row without new data, before giving up
HEADERS = {"User-Agent": "deepspeech"}
LOCAL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}  # trying again is no use


def download(
    url: str, path: str | Path, checksum: str | None = None, stop: threading.Event | None = None
) -> Path:
    """Download a file, unless it exists.

    A broken connection is resumed with an HTTP range, also by a later run: `PATH.part` holds the data so far.

    Args:
        url: http or https.
        path: The file to write.
        checksum: As published, for example "md5:2a93...".
        stop: Setting it cancels the download.

    Raises:
        InputError: The server refuses or does not answer, the checksum is wrong, or the disk is not writable.
    """
    path = Path(path)
    if path.exists():
        return path
    check_writable(path.parent, "--target-dir")
    part = path.with_name(path.name + ".part")
    failures = 0
    with tqdm(desc=path.name, unit="B", unit_scale=True, leave=False) as bar:
        while True:
            before, reason = _size(part), "the connection breaks"
            try:
                if _fetch(url, part, bar, stop or threading.Event()):
                    break
            except (OSError, http.client.HTTPException) as error:
                reason = _temporary_reason(url, error)
            failures = 0 if _size(part) > before else failures + 1
            if failures == ATTEMPTS:
                raise InputError(f"{url}: cannot download: {reason}; run again to resume, or pass --archive")
            if failures:
                time.sleep(2 ** (failures - 1))
    if checksum and _checksum(part, checksum) != checksum:
        part.unlink()
        raise InputError(f"{url}: not {checksum}, as published; run again, or pass --archive")
    return part.rename(path)


def _temporary_reason(url: str, error: Exception) -> str:
    """Why a request failed that may succeed when repeated.

    Raises:
        InputError: It cannot succeed.
    """
    if isinstance(error, urllib.error.HTTPError):
        reason = f"{error.code} {error.reason}"
        if error.code < 500 and error.code not in (408, 429):
            raise InputError(f"{url}: cannot download: {reason}; pass --url or --archive") from None
        return reason
    if getattr(error, "errno", None) in LOCAL_ERRORS:
        raise InputError(f"{url}: cannot write the file: {error}; free space or choose another folder")
    return str(getattr(error, "reason", error)) or type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(url: str, part: Path, bar: tqdm, stop: threading.Event) -> bool:
    """Append what one connection brings to `part`; returns whether the file is complete."""
    have = _size(part)
    request = urllib.request.Request(url, headers=HEADERS | ({"Range": f"bytes={have}-"} if have else {}))  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        complete = (error.headers.get("Content-Range") or "").rpartition("/")[2] == str(have)
        if not complete:
            part.unlink()  # of another file
        return complete
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        start, size = have if resumed else 0, response.headers.get("Content-Length")
        bar.total, bar.n = (None if size is None else start + int(size)), start
        with open(part, "ab" if resumed else "wb") as file:
            while data := response.read(CHUNK):
                if stop.is_set():
                    raise InputError(f"{url}: stopped; run again to resume")
                file.write(data)
                bar.update(len(data))
    return size is None or _size(part) == start + int(size)


def _checksum(path: Path, like: str) -> str:
    kind = like.partition(":")[0]
    with open(path, "rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def extract(archive: str | Path, folder: str | Path) -> Path:
    """Extract a tar or zip archive into a folder of its own, unless that exists.

    The folder appears only when it is complete.

    Raises:
        InputError: It is no archive, is damaged, or has members that would land outside the folder.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        return folder
    if not archive.is_file():
        raise InputError(f"{archive}: no such archive; correct the path")
    if not hasattr(tarfile, "data_filter"):  # in Python's releases of before June 2023
        raise InputError(f"{archive}: this Python cannot extract archives safely; run Python 3.11.4 or newer")
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    check_writable(partial, "--target-dir")
    try:
        (_extract_zip if zipfile.is_zipfile(archive) else _extract_tar)(archive, partial)
        return partial.rename(folder)
    except tarfile.FilterError as error:
        raise InputError(f"{archive}: refused, it is not safe: {error}; get it from its publisher") from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise InputError(f"{archive}: cannot extract: {reason}; remove the file and run again") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as package:
        for name in tqdm(package.namelist(), f"Extracting {archive.name}", unit="file", leave=False):
            paths = PurePosixPath(name), PureWindowsPath(name)
            if any(path.is_absolute() or path.drive or ".." in path.parts for path in paths):
                raise _outside(name)  # zipfile would silently drop the ".."
            package.extract(name, folder)


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as package:
        for member in tqdm(package, f"Extracting {archive.name}", unit="file", leave=False):
            if PurePosixPath(member.name).is_absolute():
                raise _outside(member.name)
            package.extract(member, folder, filter="data")  # refuses the other ways out


def _outside(name: str) -> tarfile.FilterError:
    return tarfile.FilterError(f"{name!r} would be extracted outside the folder")


def stem(archive: str | Path) -> str:
    """The name of an archive without its folder and suffixes."""
    return re.sub(r"\.(tar\.gz|tar\.bz2|tgz|tar|zip)$", "", Path(archive).name)
