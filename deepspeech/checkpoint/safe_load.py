"""Load model files as plain data without running code.

A `.pth` file is a pickle, and a pickle may name any function to call. Only names that tensors need pass to
`torch.load(weights_only=True)`. The configuration classes in files of deepspeech.pytorch 2.1 and 3.0 become
`StandIn` objects, which only hold what is stored; with any other name the file is refused.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch

from deepspeech.errors import InputError

ZIP = b"PK\x03\x04"
LEGACY_PICKLES = 5  # magic number, protocol, machine, content, storage keys; then raw storages
TENSORS = re.compile(
    r"collections\.(OrderedDict|Counter)|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)"
    r"|torch\.(cuda\.)?(Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage|torch\.Size"
)
CLASSES = re.compile(
    r"deepspeech_pytorch\.[\w.]+|omegaconf\.[\w.]+"
    r"|torch\.nn\.modules\.rnn\.(LSTM|GRU|RNN)|(pytorch_)?lightning\.[\w.]+"
    r"|builtins\.(bool|int|float|str|list|tuple|dict|type)|collections\.defaultdict"
    r"|typing\.\w+|_?operator\.getitem|pathlib\.PosixPath"
    r"|numpy\.(core|_core)\.multiarray\.scalar|numpy\.dtype"
)


class StandIn:
    """Takes the place of an object of a known class: holds what is stored, does nothing.

    `read` makes a subclass for every class that a file names; it also stands in for the class itself.
    """

    name = ""  # of the class, with its module
    arguments: tuple[Any, ...]
    dump_patches = False  # read by torch in old files

    def __new__(cls, *arguments: Any) -> StandIn:
        made = super().__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __init__(self, *arguments: Any) -> None:
        """`__new__` holds the arguments."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


def plain(value: Any) -> Any:
    """Convert stand-ins to plain data: dictionaries, lists, strings, numbers.

    An omegaconf container becomes its content, an enumeration member its value, an object the dictionary of
    its attributes, a class its bare name.
    """
    if isinstance(value, StandIn):
        if not isinstance(value.state, dict):
            return plain(value.arguments[0]) if value.arguments else None
        for inner in ("_content", "_val"):  # of an omegaconf container, of a node in it
            if inner in value.state:
                return plain(value.state[inner])
        return plain(value.state)
    if isinstance(value, type) and issubclass(value, StandIn):
        return value.name.rsplit(".", 1)[1]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def read(path: str | Path, name: str | Path | None = None) -> Any:
    """Load a file of `torch.save`, zip or older, onto the CPU.

    Args:
        path: The file.
        name: Its name in messages, if not the path.

    Raises:
        InputError: The file is missing or damaged, or names something that no model needs.
    """
    name = name or path
    if not os.path.isfile(path):
        raise InputError(f"{name}: no such model file; correct the path")
    try:
        names = _names(path)
        unknown = [each for each in names if not CLASSES.fullmatch(each) and not TENSORS.fullmatch(each)]
        if not unknown:
            stand_ins = [
                type("StandIn", (StandIn,), {"name": each}) for each in names if CLASSES.fullmatch(each)
            ]
            with warnings.catch_warnings(action="ignore"):
                return _load(path, stand_ins)
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise InputError(f"{name}: not a readable model file: {_reason(error)}; take another file") from None
    raise InputError(
        f"{name}: refused, as it could run code: it names {', '.join(unknown[:5])}, which no model needs; "
        "take a file that train.py or deepspeech.pytorch wrote"
    )


def _load(path: str | Path, stand_ins: Sequence[type[StandIn]]) -> Any:
    if stand_ins and not _is_zip(path):  # the older format can name classes that torch refuses
        restricted = _restricted_pickle({each.name: each for each in stand_ins})
        return torch.load(path, map_location="cpu", pickle_module=restricted, weights_only=False)
    with torch.serialization.safe_globals([(each, each.name) for each in stand_ins]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _restricted_pickle(stand_ins: Mapping[str, type[StandIn]]) -> SimpleNamespace:
    """A `pickle` module for `torch.load` that only finds stand-ins and what tensors need."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            full = f"{module}.{name}"
            if full not in stand_ins and not TENSORS.fullmatch(full):
                raise pickle.UnpicklingError(f"it names {full}")
            return stand_ins.get(full) or super().find_class(module, name)

    return SimpleNamespace(
        __name__="restricted",
        Unpickler=Unpickler,
        load=lambda file, **options: Unpickler(file, **options).load(),
    )


def _reason(error: Exception) -> str:
    """The reason in an error's text, without torch's advice, in one line."""
    text = str(error) or type(error).__name__
    text = text.rpartition("WeightsUnpickler error:")[2].partition("In PyTorch 2.6")[0]
    return " ".join(text.partition("Check the documentation")[0].split())[:200]


def _is_zip(path: str | Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(ZIP)) == ZIP


def _names(path: str | Path) -> list[str]:
    """The functions and classes that a file names, once its checksums are verified."""
    if not _is_zip(path):
        with open(path, "rb") as file:
            return sorted(set().union(*(_names_in_pickle(file) for _ in range(LEGACY_PICKLES))))
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise InputError("it is compressed")  # and might unpack to more than memory holds
        if damaged := archive.testzip():
            raise InputError(f"the checksum of {damaged} is wrong")
        names: set[str] = set()
        for entry in archive.namelist():
            if entry.endswith(".pkl"):
                with archive.open(entry) as file:
                    names |= _names_in_pickle(file)
        return sorted(names)


def _names_in_pickle(file: IO[bytes]) -> set[str]:
    names, strings = set(), ["", ""]
    for operation, argument, _ in pickletools.genops(file):
        if operation.name in ("GLOBAL", "INST"):
            module, name = str(argument).split(" ", 1)
        elif operation.name == "STACK_GLOBAL":  # newer pickles, which torch refuses anyway
            module, name = strings
        else:
            if isinstance(argument, str):
                strings = [strings[1], argument]
            continue
        if module == "__builtin__":  # Python 2's names, as in torch.save's pickles
            module, name = "builtins", {"long": "int", "unicode": "str"}.get(name, name)
        names.add(f"{module}.{name}")
    return names
