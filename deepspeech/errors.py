"""The one exception that scripts turn into a message for the user."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """A mistake in what the user gave: says the place, the value and the remedy.

    Scripts print the message on standard error and exit with status 2.
    """


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put the place, if it is known, before the message of an `InputError`.

    Raises:
        InputError: With that message.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}" if place else str(error)) from None
