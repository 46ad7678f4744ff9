"""Inputs with random damage, the same in every run."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from deepspeech.errors import InputError

COUNT = 1000  # mutated inputs of every kind
LIMIT = 10  # seconds for each
EXTREMES = (0, 1, 127, 128, 255)
Value = TypeVar("Value")


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """Bytes with one to four of: flipped bits, extreme bytes, and parts cut, repeated or inserted."""
    content = bytearray(data)
    for _ in range(random.integers(1, 5)):
        size = max(len(content), 1)
        # headers are small: half of the damage lies near the start
        place = int(random.integers(min(size, 64) if random.random() < 0.5 else size))
        length = int(min(random.geometric(0.05), size - place))
        match random.integers(7):
            case 0 if content:
                content[place] ^= 1 << int(random.integers(8))
            case 1 if content:
                content[place] = random.choice(EXTREMES)
            case 2 if content:
                content[place : place + 4] = bytes([random.choice((0, 255))]) * len(
                    content[place : place + 4]
                )
            case 3:
                del content[place : place + length]
            case 4:
                content[place:place] = content[place : place + length]
            case 5:
                content[place:place] = random.bytes(length)
            case _:
                del content[place:]
    return bytes(content)


def mutations(originals: list[bytes], seed: int, count: int = COUNT) -> Iterator[tuple[int, bytes]]:
    """Mutated inputs, each with the index of its original."""
    random = np.random.default_rng(seed)
    for number in range(count):
        index = number % len(originals)
        yield index, mutate(originals[index], random)


@contextmanager
def time_limit() -> Iterator[None]:
    """Fail what hangs, and say where."""

    def stop(number: int, frame: object) -> None:
        faulthandler.dump_traceback()
        raise TimeoutError(f"no answer in {LIMIT} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def value_or_refusal(function: Callable[[], Value]) -> Value | str:
    """What a function returns, or its one message; every other exception, and a hang, is a failure."""
    try:
        with time_limit():
            return function()
    except InputError as error:
        return str(error)
