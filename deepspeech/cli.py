"""Option groups <-> command-line flags."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import textwrap
import typing
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from deepspeech import distributed, log
from deepspeech.errors import InputError
from deepspeech.options import Options, flag_names

T = TypeVar("T", bound=Options)

# Threads of OpenMP that wait for each other leave the processor; else a busy process beside them takes four
# fifths of the throughput (benchmarks/contention.py). It must be set before torch is imported.
if "GOMP_SPINCOUNT" not in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@dataclass(frozen=True)
class Arguments:
    """The parsed command line."""

    values: dict[str, Any]  # only the flags that were given

    def make(self, group: type[T], **more: Any) -> T:
        """An option group from the flags that were given, with defaults for the rest.

        Raises:
            InputError: A value fails its check.
        """
        names = {entry.name for entry in fields(group)}
        return group(**{name: value for name, value in self.values.items() if name in names}, **more)


def parse(
    argv: Sequence[str] | None,
    description: str | None,
    *groups: type[Options],
    extend: Callable[[argparse.ArgumentParser], Any] = lambda parser: None,
    examples: str = "",
) -> Arguments:
    """Parse the flags of option groups. `@FILE` stands for the flags in a file; later flags win.

    Args:
        argv: The command line without the program's name; None for that of the process.
        description: The first lines of `--help`.
        groups: Each becomes a section of `--help`.
        extend: May add arguments of the command's own.
        examples: The last lines of `--help`.

    Raises:
        InputError: The command line cannot be parsed.
    """
    log.configure()
    parser = _Parser(
        prog=os.path.basename(sys.argv[0]),
        description=description,
        epilog=_examples(examples)
        + "@FILE stands for the flags in a file; later flags override earlier ones.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    for group in groups:
        section = parser.add_argument_group((group.__doc__ or group.__name__).splitlines()[0])
        types = typing.get_type_hints(group)
        for entry in fields(group):
            if "help" in entry.metadata:
                _add_flag(section, entry, types[entry.name])
    extend(parser)
    words = sys.argv[1:] if argv is None else argv
    values = vars(parser.parse_intermixed_args(list(chain.from_iterable(map(_expand, words)))))
    return Arguments({name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # argparse takes -1e-3 and -inf for flags
        self._negative_number_matcher = re.compile(r"-(\.?\d.*|inf|nan)$")

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help lists the flags")  # without argparse's 60 lines of usage


def _examples(text: str) -> str:
    return f"examples:\n{textwrap.indent(textwrap.dedent(text).strip(), '  ')}\n\n" if text else ""


def _expand(word: str) -> list[str]:
    """The flags in a file for `@FILE`, where `#` starts a comment; else the word itself."""
    if not word.startswith("@"):
        return [word]
    try:
        return shlex.split(Path(word[1:]).read_text(encoding="utf-8"), comments=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{word}: cannot read flags from this file: {reason}; correct it") from None


def _add_flag(section: argparse._ArgumentGroup, entry: Field[Any], kind: Any) -> None:
    metadata, default = entry.metadata, entry.default
    help = metadata["help"].replace("%", "%%")
    if metadata["needs"]:
        help += f", with --{metadata['needs'].replace('_', '-')}"
    if kind in (bool, bool | None):  # what None means depends on other things, which the help text names
        action = argparse.BooleanOptionalAction if default is not False else "store_true"
        help += " (default: yes)" if default is True else ""
        section.add_argument(*flag_names(entry), dest=entry.name, action=action, help=help)
        return
    value_type, check = _value_type(kind), metadata["check"]
    if default not in (None, (), ""):
        text = " ".join(map(str, default)) if isinstance(default, tuple) else default
        help += f" (default: {text})"
    metavar = value_type.__name__.upper() if value_type is not str else "TEXT"
    if check and check.choices:
        metavar = f"{{{','.join(check.choices)}}}"
    arguments = {"metavar": metavar} | metadata["argparse"]
    names = () if metadata["positional"] else flag_names(entry)
    section.add_argument(*names, dest=entry.name, type=value_type, help=help, **arguments)


def _value_type(kind: Any) -> type:
    """The type of one word of the command line: float for `float | None` and `tuple[float, float]`."""
    while inner := [each for each in typing.get_args(kind) if each is not type(None)]:
        kind = inner[0]
    return typing.cast("type", kind)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's `main` and exit: the user's mistake is one line on standard error and status 2."""
    log.secure_standard_streams()
    try:
        status = main() or 0
        distributed.shutdown()
        sys.stdout.flush()
        sys.exit(status)
    except InputError as error:
        distributed.print_error(f"{os.path.basename(sys.argv[0])}: error: {error}")
        log.end_output()
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output is gone, as with `| head`
        log.end_output()
        sys.exit(141)
