"""Option groups: dataclass fields with a default, a help text, a check and a flag.

A group stands with what it configures; `cli` turns its fields into flags, and a checkpoint stores it as plain
data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from deepspeech.errors import InputError


@dataclass(frozen=True)
class Check:
    """What a value must satisfy, and the words that say so."""

    holds: Callable[[Any], bool]
    words: str
    choices: tuple[str, ...] = ()


POSITIVE = Check(lambda value: 0 < value < float("inf"), "must be positive")
COUNT = Check(lambda value: 0 < value <= 100_000, "must be positive, at most 100000")  # allocated at once
NOT_NEGATIVE = Check(lambda value: 0 <= value < float("inf"), "must not be negative")
WEIGHT = Check(lambda value: -1000 <= value <= 1000, "must be from -1000 to 1000")
SEED = Check(lambda value: 0 <= value < 2**63, "must be from 0 to 2**63 - 1")
FRACTION = Check(lambda value: 0 <= value < 1, "must be at least 0 and below 1")
PROBABILITY = Check(lambda value: 0 <= value <= 1, "must be from 0 to 1")
TEMPO = Check(lambda value: 0.5 <= value <= 2, "must be from 0.5 to 2")
CHUNK = Check(lambda value: value == 0 or 2 <= value < float("inf"), "must be at least 2 seconds, or 0")
LEVEL = Check(lambda value: -100 <= value <= 100, "must be from -100 to 100 dB")


def one_of(*choices: str | int) -> Check:
    names = tuple(map(str, choices))
    return Check(lambda value: value in choices, f"must be one of {', '.join(names)}", names)


def option(
    default: Any,
    help: str,
    check: Check | None = None,
    flags: tuple[str, ...] = (),
    needs: str = "",
    positional: bool = False,
    **argparse: Any,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
        default: The value without the flag.
        help: The text in `--help`. It describes the field, also where the default is True and the usual flag
            is the negation, `--no-NAME`.
        check: What the value must satisfy.
        flags: The flag's names, where they differ from the field's.
        needs: Name of the field without which this one has no effect, so that setting it is a mistake.
        positional: Whether the command line gives the value without a flag.
        argparse: More arguments for `ArgumentParser.add_argument`.
    """
    metadata = {"help": help, "check": check, "flags": flags, "needs": needs, "positional": positional}
    return field(default=default, metadata=metadata | {"argparse": argparse})


def flag_names(entry: dataclasses.Field[Any]) -> tuple[str, ...]:
    """The flags of an option, e.g. `("--hidden-size",)`."""
    flags: tuple[str, ...] = entry.metadata["flags"]
    return flags or ("--" + entry.name.replace("_", "-"),)


def shown(entry: dataclasses.Field[Any], value: Any) -> str:
    """An option as the user would write it: `--hidden-size 512`, `--adam`, `--no-bidirectional`."""
    name = flag_names(entry)[0]
    if isinstance(value, bool):
        return name if value else name.replace("--", "--no-", 1)
    if isinstance(value, tuple):
        value = " ".join(map(str, value))
    return f"{name} {value}"


@dataclass(frozen=True)
class Options:
    """Base of all option groups: checks every field when it is made."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            check, value = entry.metadata.get("check"), getattr(self, entry.name)
            needs = entry.metadata.get("needs")
            if needs and value != entry.default and not getattr(self, needs):
                switch = flag_names(type(self).__dataclass_fields__[needs])[0]
                raise InputError(f"{shown(entry, value)}: has no effect without {switch}; add it")
            if check is None or value is None:
                continue
            values = value if isinstance(value, tuple) else (value,)
            try:
                holds = all(check.holds(each) for each in values)
            except TypeError:  # a value of another type, from a damaged file
                holds = False
            if not holds:
                raise InputError(f"{flag_names(entry)[0]} {value}: {check.words}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data: dictionaries, lists, strings, numbers."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Unknown names are a `TypeError`.

        Raises:
            InputError: A value has another type than the option's default, or fails its check.
        """
        for entry in fields(cls):
            value, kind = values.get(entry.name, entry.default), type(entry.default)
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise InputError(f"{entry.name} is {value!r}, not of type {kind.__name__}")
        return cls(**values)
