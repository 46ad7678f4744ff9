"""Helpers for several processes started by torchrun; on one process all of them are no-ops.

torchrun passes every process its rank in environment variables. Control messages go over a gloo group of
their own, so that they never wait for a GPU; gradients and statistics on GPUs go over NCCL. Functions import
torch only where there are several processes: one that transcribes by onnxruntime has no need of it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from deepspeech.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Note = TypeVar("Note")
TIMEOUT = timedelta(minutes=10)  # of gradients and statistics, which all ranks send at about the same time
CONTROL_TIMEOUT = timedelta(hours=1)  # rank 0 may check a large corpus while the others wait
ERROR_GRACE = timedelta(seconds=10)  # how long the other ranks wait for rank 0 to print a common error


def init() -> None:
    """Initialise the process group if torchrun started several processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _group():
        import torch
        import torch.distributed as dist
        from torch._C._distributed_c10d import PrefixStore  # torch.distributed does not export it
        from torch.distributed.rendezvous import rendezvous

        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store, number, count = next(rendezvous("env://", timeout=TIMEOUT))
        if os.environ.get("GROUP_WORLD_SIZE") == "1":
            # On one machine torchrun keeps the store when it restarts the processes: without a prefix
            # they would find the addresses of the processes that died.
            store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=TIMEOUT)
        _control_group()


def _group() -> Any:
    """torch.distributed, once it is imported and has a process group, else None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist and dist.is_initialized() else None


@functools.cache
def _control_group() -> Any:  # torch's types do not agree with each other
    return _group().new_group(timeout=CONTROL_TIMEOUT, backend="gloo")


def shutdown() -> None:
    """Destroy the process groups, if there are any."""
    if dist := _group():
        dist.destroy_process_group()
        _control_group.cache_clear()


def world_size() -> int:
    """Number of processes."""
    return _group().get_world_size() if _group() else 1


def rank() -> int:
    """Rank of this process, from 0."""
    return _group().get_rank() if _group() else 0


def is_rank_zero() -> bool:
    """Whether this is the process that writes files and reports to the user."""
    return rank() == 0


def local_rank() -> int:
    """Rank among the processes of this machine: the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def cores_per_process() -> int:
    """CPU cores of this machine for each of its processes."""
    return max((os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def run_id() -> str:
    """torchrun's id of this run; it survives a restart of the processes."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "")


def restarted() -> bool:
    """Whether torchrun restarted the processes after one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def gather(value: T) -> list[T]:
    """The value of every process by rank, in every process."""
    values: list[Any] = [value] * world_size()
    if dist := _group():
        dist.all_gather_object(values, value, _control_group())
    return values


def on_rank_zero(function: Callable[[], T]) -> T:
    """Call a function on rank 0 and return its result on every rank.

    Raises:
        InputError: The function raised it; on every rank.
    """
    result: list[Any] = [None, None]
    if is_rank_zero():
        try:
            result[0] = function()
        except InputError as error:
            result[1] = error
    if dist := _group():
        dist.broadcast_object_list(result, src=0, group=_control_group())
    if result[1] is not None:
        raise result[1]
    return result[0]  # type: ignore[no-any-return]  # broadcast_object_list fills an untyped list


def in_lockstep(batches: Iterable[T], describe: Callable[[T], Note]) -> Iterator[tuple[T, list[Note]]]:
    """Iterate over batches in step with the other processes, which have as many.

    Each comes with the descriptions of all processes' batches by rank, exchanged in one message.

    Raises:
        InputError: One process could not make its batch; the same error on every rank.
    """
    iterator = iter(batches)
    while True:
        note: Note | InputError | None = None
        try:
            if (batch := next(iterator, None)) is not None:
                note = describe(batch)
        except InputError as error:
            note = error
        notes: list[Any] = gather(note)
        if errors := [each for each in notes if isinstance(each, InputError)]:
            raise errors[0]
        if batch is None:
            return
        yield batch, notes


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of rank 0."""
    if dist := _group():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def print_error(message: str) -> None:
    """Print an error on standard error, once if all processes have it.

    Rank 0 prints. Another rank prints only if rank 0 prints nothing within `ERROR_GRACE`, because then the
    error is its own. torchrun stops the other processes when one has ended.
    """
    if not (dist := _group()):
        print(message, file=sys.stderr)
        return
    from torch._C._distributed_c10d import TCPStore  # torch.distributed does not export it

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    printed = f"deepspeech/printed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    if not is_rank_zero():
        with contextlib.suppress(dist.DistStoreError):  # raised if the error is this rank's own
            store.wait([printed], ERROR_GRACE)
            return
    print(message, file=sys.stderr, flush=True)
    store.set(printed, "")
