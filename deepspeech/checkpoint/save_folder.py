"""Where a training writes to: a folder here, or one at a URL."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from deepspeech import log
from deepspeech.atomic_file import check_writable
from deepspeech.checkpoint import remote
from deepspeech.errors import InputError

ATTEMPTS = 4
PAUSE = 2.0  # seconds before the second attempt, twice as long before each further one


class SaveFolder:
    """The folder that a training writes to. At a URL, what is written gets there in the background.

    Files are written into `path`. If the folder is at a URL, `path` is one on this machine's disk,
    from which `publish` copies them under a temporary name and then moves them into place, so that
    the URL never names half a file. A file leaves the disk when it is safe; if it cannot be copied,
    it stays, the user is told, and it is tried again with the next one. So neither a slow nor a
    failing remote holds training up.

    Args:
        place: Path or URL.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/") or place
        self.is_remote = remote.is_url(place)
        self.path = _path_for(self.place) if self.is_remote else Path(place)
        self._there: set[str] = set()  # names of the files at the URL
        self._tasks: dict[str, Future] = {}
        self._failed: dict[str, Callable[[str], None]] = {}  # what is to be tried again
        self._safe: dict[str, int] = {}  # files that were copied, and their times of change then
        self._thread = ThreadPoolExecutor(1, "upload")

    def open(self) -> None:
        """Make the folder, see that it can be written to, and what is there.

        Raises:
            InputError: It cannot be written to.
        """
        check_writable(self.path, "--save-folder")
        if self.is_remote:
            self._filesystem, self._root = remote.open_url(self.place)
            try:
                self._filesystem.makedirs(self._root, exist_ok=True)
                self._filesystem.pipe_file(f"{self._root}/.writable", b"1")
                self._filesystem.rm(f"{self._root}/.writable")
                self._filesystem.invalidate_cache()
                found = self._filesystem.ls(self._root, detail=False)
            except Exception as error:  # every filesystem has its own
                raise InputError(
                    f"--save-folder {self.place}: cannot write there: {remote.reason(error)}; "
                    "choose another folder"
                ) from None
            self._there = {os.path.basename(name.rstrip("/")) for name in found}

    def names(self) -> set[str]:
        """The files in it, those included that are on their way."""
        return self._there | set(os.listdir(self.path))

    def has(self, name: str) -> bool:
        return name in self.names()

    def locate(self, name: str) -> str:
        """Path or URL of a file; a copy that is still on this disk is as good or newer."""
        local = self.path / name
        return f"{self.place}/{name}" if self.is_remote and not local.exists() else str(local)

    def describe(self, name: str) -> str:
        """What the user knows a file as."""
        return f"{self.place}/{name}" if self.is_remote else str(self.path / name)

    def publish(self, *names: str) -> None:
        """Let files that were written into `path` get to the URL, in the background."""
        if self.is_remote:
            self._sweep()
            self._try_again()
            for name in names:
                self._there.add(name)
                self._submit(self._upload, name)

    def remove(self, name: str) -> None:
        """Delete a file; at a URL not before those published earlier are safe."""
        (self.path / name).unlink(missing_ok=True)
        if self.is_remote:
            self._there.discard(name)
            self._submit(self._delete, name)

    def finish(self) -> None:
        """Wait until everything is at the URL.

        Raises:
            InputError: Something could not be copied in spite of all attempts; says where it is.
        """
        self._wait()
        if self._failed:
            self._try_again()
            self._wait()
        self._sweep()
        if self._failed:
            raise InputError(
                f"{self.place}: could not be reached: {', '.join(sorted(self._failed))}; "
                f"the files are in {self.path}, copy them by hand"
            )

    def _submit(self, action: Callable[[str], None], name: str) -> None:
        if (earlier := self._tasks.get(name)) is not None:
            earlier.cancel()  # if it waits: this one will do
        self._tasks[name] = self._thread.submit(self._attempt, action, name)

    def _try_again(self) -> None:
        for name, action in sorted(self._failed.items(), key=lambda failed: failed[1] == self._delete):
            if self._tasks[name].done():
                del self._failed[name]
                self._submit(action, name)

    def _attempt(self, action: Callable[[str], None], name: str) -> None:
        """Do something at the URL, several times if need be; in the background."""
        if action == self._delete and self._failed:
            self._failed[name] = action  # files that newer ones shall replace stay until those are safe
            return
        for attempt in range(ATTEMPTS):
            try:
                action(name)
                self._failed.pop(name, None)
                return
            except Exception as error:  # every filesystem has its own
                reason = remote.reason(error)
                if attempt + 1 < ATTEMPTS:
                    time.sleep(PAUSE * 2**attempt)
        self._failed[name] = action
        log.warning(
            f"{self.place}/{name}: cannot be reached: {reason}; training goes on, "
            f"it is tried again with the next file, {self.path} keeps it"
        )

    def _upload(self, name: str) -> None:
        local, temporary = self.path / name, f"{self._root}/.{name}.part"
        changed = local.stat().st_mtime_ns
        self._filesystem.put_file(str(local), temporary)
        self._filesystem.mv(temporary, f"{self._root}/{name}")
        self._safe[name] = changed

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm(f"{self._root}/{name}")

    def _wait(self) -> None:
        waiting = [task for task in self._tasks.values() if not task.done()]
        for task in tqdm(waiting, f"Copying to {self.place}", unit="file", leave=False, disable=not waiting):
            if not task.cancelled():
                task.result()

    def _sweep(self) -> None:
        """Delete what is safe, unless it was written anew: only here, where files are written."""
        for name in list(self._safe):
            path, changed = self.path / name, self._safe.pop(name)
            if path.exists() and path.stat().st_mtime_ns == changed:
                path.unlink()


def _path_for(url: str) -> Path:
    """A folder of this user on the disk, the same for every run: it may hold what is not yet safe."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return Path(tempfile.gettempdir(), f"deepspeech-{user}", quote(url, safe=""))
