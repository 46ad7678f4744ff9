"""The folder that a training run writes to, on this machine or at a URL."""

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

from deepspeech import distributed, log
from deepspeech.atomic_file import check_writable
from deepspeech.checkpoint import remote
from deepspeech.checkpoint.format import in_order
from deepspeech.errors import InputError

ATTEMPTS = 4
PAUSE = 2.0  # seconds before the second attempt, doubled before each further one

Action = Callable[[str], int]  # takes the name of a file


class SaveFolder:
    """The folder that a training run writes to; a process opens one.

    Files are written to `path`. For a URL this is a folder on the local disk; `publish` uploads its files in
    the background, each to a temporary name that is then moved into place, so that the URL never names an
    incomplete file. A file leaves the disk once it is uploaded. If an upload fails, the file stays, the user
    is warned, and it is tried again with the next one: neither a slow nor a failing remote delays training.

    Args:
        place: Path or URL.

    Raises:
        InputError: The folder cannot be written to; on every rank.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/") or place
        self.is_remote = remote.is_url(place)
        self.path = _local_path(self.place) if self.is_remote else Path(place)
        self._there: set[str] = set()  # names of the files at the URL
        self._thread = ThreadPoolExecutor(1, "upload")
        self._tasks: dict[str, tuple[Action, Future[int | None]]] = {}  # the latest for each file
        self._failing: set[str] = set()  # files whose last attempts failed; only the thread uses it
        distributed.on_rank_zero(self._open)

    def _open(self) -> None:
        check_writable(self.path, "--save-folder")
        if not self.is_remote:
            return
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
        """File names, including those still to be uploaded."""
        return self._there | set(os.listdir(self.path))

    def latest_checkpoint(self) -> str | None:
        """Path or URL of the latest checkpoint; a copy still on the disk is as good as the one at the URL."""
        for name in reversed(in_order(self.names())):
            local = self.path / name
            return f"{self.place}/{name}" if self.is_remote and not local.exists() else str(local)
        return None

    def describe(self, name: str) -> str:
        """The path or URL of a file, for messages."""
        return f"{self.place}/{name}" if self.is_remote else str(self.path / name)

    def publish(self, *names: str) -> None:
        """Upload files that were written to `path`, in the background."""
        if self.is_remote:
            self._there |= set(names)
            self._submit(self._settle() | dict.fromkeys(names, self._upload))

    def remove_older(self, name: str, keep: int) -> None:
        """Keep the `keep` latest checkpoints up to `name`; later ones belong to another run."""
        checkpoints = in_order(self.names())
        for old in checkpoints[: checkpoints.index(name) + 1][:-keep]:
            (self.path / old).unlink(missing_ok=True)
            if self.is_remote:
                self._there.discard(old)
                self._submit({old: self._delete})

    def finish(self) -> None:
        """Wait until everything is at the URL.

        Raises:
            InputError: Something could not be uploaded; says where it is.
        """
        for _ in range(2):
            self._submit(self._settle())
            tasks = [task for _, task in self._tasks.values()]
            for task in tqdm(tasks, f"Uploading to {self.place}", leave=False, disable=not tasks):
                task.result()
        if failed := self._settle():
            raise InputError(
                f"{self.place}: could not be reached: {', '.join(sorted(failed))}; "
                f"the files are in {self.path}, copy them by hand"
            )

    def _submit(self, actions: dict[str, Action]) -> None:
        for name, action in actions.items():
            if earlier := self._tasks.pop(name, None):
                earlier[1].cancel()  # unless it has started; this one replaces it
            self._tasks[name] = action, self._thread.submit(self._attempt, action, name)

    def _settle(self) -> dict[str, Action]:
        """Forget tasks that succeeded and delete uploaded files from the disk; returns the failed tasks.

        Called only where files are written, so that none is replaced while it is being deleted.
        """
        done = {name: (action, task.result()) for name, (action, task) in self._tasks.items() if task.done()}
        for name, (_, uploaded) in done.items():
            path = self.path / name
            if uploaded is not None:
                del self._tasks[name]
                if path.exists() and path.stat().st_mtime_ns == uploaded:
                    path.unlink()
        return {name: action for name, (action, uploaded) in done.items() if uploaded is None}

    def _attempt(self, action: Action, name: str) -> int | None:
        """Try an action several times, in the background; None if all attempts fail."""
        if action == self._delete and self._failing - {name}:
            return None  # files stay until those that replace them are uploaded
        for attempt in range(ATTEMPTS):
            try:
                done = action(name)
                self._failing.discard(name)
                return done
            except Exception as error:  # every filesystem has its own
                reason = remote.reason(error)
                if attempt + 1 < ATTEMPTS:
                    time.sleep(PAUSE * 2**attempt)
        self._failing.add(name)
        log.warning(
            f"{self.place}/{name}: cannot be reached: {reason}; training continues, "
            f"it is tried again with the next file, {self.path} keeps it"
        )
        return None

    def _upload(self, name: str) -> int:
        """Returns the file's modification time in nanoseconds."""
        local, temporary = self.path / name, f"{self._root}/.{name}.part"
        modified = local.stat().st_mtime_ns
        self._filesystem.put_file(str(local), temporary)
        self._filesystem.mv(temporary, f"{self._root}/{name}")
        return modified

    def _delete(self, name: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm(f"{self._root}/{name}")
        return 0


def _local_path(url: str) -> Path:
    """A folder for this user on the disk, the same in every run: it may hold files still to be uploaded."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return Path(tempfile.gettempdir(), f"deepspeech-{user}", quote(url, safe=""))
