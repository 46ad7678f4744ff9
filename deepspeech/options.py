"""What an option is: a dataclass field with a default, a help text, a check and a flag."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from deepspeech.errors import InputError


@dataclass(frozen=True)
class Check:
    """What a value must fulfil, and the words that say so."""

    holds: Callable[[Any], bool]
    words: str


POSITIVE = Check(lambda value: 0 < value < float("inf"), "must be positive")
NOT_NEGATIVE = Check(lambda value: 0 <= value < float("inf"), "must not be negative")
SEED = Check(lambda value: 0 <= value < 2**63, "must be from 0 to 2**63 - 1")
FRACTION = Check(lambda value: 0 <= value < 1, "must be at least 0 and below 1")
PROBABILITY = Check(lambda value: 0 <= value <= 1, "must be from 0 to 1")
TEMPO = Check(lambda value: 0.5 <= value <= 2, "must be from 0.5 to 2")
CHUNK = Check(lambda value: value == 0 or 2 <= value < float("inf"), "must be at least 2 seconds, or 0")
LEVEL = Check(lambda value: -100 <= value <= 100, "must be from -100 to 100 dB")


def one_of(*choices: str) -> Check:
    return Check(lambda value: value in choices, f"must be one of {', '.join(choices)}")


def option(
    default: Any, help: str, check: Check | None = None, flags: tuple[str, ...] = (), **argparse: Any
) -> Any:
    """A dataclass field that is also a flag.

    Args:
        default: The value without the flag. A field that is True by default gets the flag `--no-NAME`.
        help: What the user reads in `--help`.
        check: What the value must fulfil.
        flags: Flag names, where they differ from the field's name.
        argparse: More arguments for `ArgumentParser.add_argument`.
    """
    metadata = {"help": help, "check": check, "flags": flags, "argparse": argparse}
    return field(default=default, metadata=metadata)


def flag_names(entry: dataclasses.Field) -> tuple[str, ...]:
    """The command-line names of an option, e.g. `("--hidden-size",)`."""
    prefix = "--no-" if entry.default is True else "--"
    return entry.metadata["flags"] or (prefix + entry.name.replace("_", "-"),)


@dataclass(frozen=True)
class Options:
    """Base of all option groups: checks every field when it is made."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            check, value = entry.metadata.get("check"), getattr(self, entry.name)
            if check is None or value is None:
                continue
            values = value if isinstance(value, tuple) else (value,)
            try:
                fulfilled = all(check.holds(each) for each in values)
            except TypeError:  # a value of another type, from a damaged file
                fulfilled = False
            if not fulfilled:
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
                raise InputError(f"{entry.name} is {value!r}, which is no {kind.__name__}")
        return cls(**values)
