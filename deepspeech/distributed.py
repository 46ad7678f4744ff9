"""Several processes that work as one: which of them this is, and what all of them agree on.

torchrun starts the processes and tells each its place in environment variables. Where it did not,
or started one only, everything here does nothing.

What is agreed on goes over gloo between the CPUs, so that no GPU is waited for; gradients and
statistics of GPUs go over nccl.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from deepspeech.errors import InputError

T = TypeVar("T")
PATIENCE = timedelta(hours=1)  # the first process may check a large corpus while the others wait
GRACE = timedelta(seconds=10)  # for the first process to tell of an error that all have


def join() -> None:
    """Find the other processes, if there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store, number, count = next(dist.rendezvous("env://", timeout=PATIENCE))
        if os.environ.get("GROUP_WORLD_SIZE") == "1":
            # torchrun keeps the store when it starts the processes of one machine again: without
            # a prefix they would find the addresses of those that have died
            store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=PATIENCE)


def leave() -> None:
    """Take leave of the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def size() -> int:
    """How many processes work together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes files and speaks to the user."""
    return rank() == 0


def local_rank() -> int:
    """Which of the processes on this machine this is: it takes the GPU of that number."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def share_of_cores() -> int:
    """The cores of this machine for each of the processes on it."""
    return max((os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def run_id() -> str:
    """What torchrun calls this run, the same after it has restarted the processes."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "")


def restarted() -> bool:
    """Whether torchrun started the processes again after one of them had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def gather(value: T) -> list[T]:
    """The value of every process, in every process."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    dist.all_gather_object(values, value)
    return values


def on_first(function: Callable[[], T]) -> T:
    """Run a function in the first process; every process gets what it returns.

    Raises:
        InputError: The function raised it; in every process.
    """
    result: list[Any] = [None, None]
    if is_first():
        try:
            result[0] = function()
        except InputError as error:
            result[1] = error
    if size() > 1:
        dist.broadcast_object_list(result, src=0)
    if result[1] is not None:
        raise result[1]
    return result[0]


def together(batches: Iterable[T]) -> Iterator[T]:
    """Iterate over as many batches as the other processes do.

    Raises:
        InputError: A process could not make its batch; in every process, the same.
    """
    iterator, error = iter(batches), None
    while True:
        try:
            batch = next(iterator, None)
        except InputError as caught:
            batch, error = None, caught
        if errors := [each for each in gather(error) if each is not None]:
            raise errors[0]
        if batch is None:
            return
        yield batch


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give every process the tensors of the first."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def total(values: Tensor) -> Tensor:
    """The sum over all processes, through which gradients flow back to each of them."""
    return _Total.apply(values) if size() > 1 else values


class _Total(torch.autograd.Function):
    """The loss of every process depends on the sum: their gradients add up too."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        values = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient


def tell(message: str) -> None:
    """Print what concerns all processes, once."""
    if is_first():
        tqdm.write(message)


def tell_error(message: str) -> None:
    """Print an error on standard error: once, if all processes have it.

    The first process prints. Another one does if the first has nothing to tell in time, because
    the error is its own. torchrun ends the others when one process has ended.
    """
    if size() == 1:
        print(message, file=sys.stderr)
        return
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    told = f"deepspeech/told/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    if not is_first():
        try:
            store.wait([told], GRACE)
        except dist.DistStoreError:
            pass  # it is this process's own
        else:
            return
    print(message, file=sys.stderr, flush=True)
    store.set(told, "")
