"""Option dataclasses <-> command-line flags."""

from __future__ import annotations

import argparse
import os
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, NoReturn, TypeVar

from deepspeech import distributed, log
from deepspeech.errors import InputError
from deepspeech.options import Options, flag_names

T = TypeVar("T", bound=Options)


@dataclass(frozen=True)
class Arguments:
    """What the command line said."""

    values: dict[str, Any]  # only the flags that were given

    def make(self, group: type[T], **more: Any) -> T:
        """An option group from the flags that were given; its defaults stand for the rest.

        Raises:
            InputError: A value fails its check.
        """
        names = {entry.name for entry in fields(group)}
        return group(**{name: value for name, value in self.values.items() if name in names}, **more)


def parse(
    argv: Sequence[str] | None,
    description: str,
    *groups: type[Options],
    extend: Callable[[argparse.ArgumentParser], Any] = lambda parser: None,
) -> Arguments:
    """Parse the flags of the option groups; `extend` may add arguments of the script's own.

    Raises:
        InputError: The command line cannot be parsed.
    """
    log.configure()
    parser = _Parser(description=description, argument_default=argparse.SUPPRESS)
    for group in groups:
        section = parser.add_argument_group((group.__doc__ or group.__name__).splitlines()[0])
        types = typing.get_type_hints(group)
        for entry in fields(group):
            if "help" in entry.metadata:
                _add_flag(section, entry, types[entry.name])
    extend(parser)
    values = vars(parser.parse_intermixed_args(argv))
    return Arguments({name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help lists the flags")  # without argparse's 60 lines of usage


def _add_flag(section: argparse._ArgumentGroup, entry: Field, kind: Any) -> None:
    metadata, default = entry.metadata, entry.default
    help = metadata["help"].replace("%", "%%")
    if kind is bool:
        action = "store_false" if default else "store_true"
        section.add_argument(*flag_names(entry), dest=entry.name, action=action, help=help)
        return
    if kind == bool | None:  # what it is without the flag depends on other things
        names, action = flag_names(entry), argparse.BooleanOptionalAction
        section.add_argument(*names, dest=entry.name, action=action, help=help)
        return
    value_type = _value_type(kind)
    if default not in (None, ()):
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        help += f" (default: {shown})"
    arguments = {"metavar": value_type.__name__.upper() if value_type is not str else "TEXT"}
    section.add_argument(
        *flag_names(entry), dest=entry.name, type=value_type, help=help, **(arguments | metadata["argparse"])
    )


def _value_type(kind: Any) -> type:
    """What one word of the command line becomes: float for `float | None` and `tuple[float, float]`."""
    while inner := [each for each in typing.get_args(kind) if each is not type(None)]:
        kind = inner[0]
    return kind


def run(main: Callable[[], int | None]) -> None:
    """Run a script's `main`: a user's mistake is one line on standard error and status 2."""
    try:
        status = main() or 0
        distributed.shutdown()
        sys.exit(status)
    except InputError as error:
        distributed.print_error(f"{os.path.basename(sys.argv[0])}: error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
