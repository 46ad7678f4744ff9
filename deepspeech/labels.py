"""The alphabet of a model: text to label indices and back."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from deepspeech.errors import InputError

BLANK = "_"
DEFAULT_PATH = "labels.json"  # in the working folder
SHIPPED = Path(__file__).with_name("labels.json")  # English
PATH_HELP = (
    f"JSON list of characters; without the flag {DEFAULT_PATH}, or the package's English list if missing"
)


class UnknownCharacters(ValueError):
    """Text holds characters that are not in the labels."""

    def __init__(self, text: str, characters: Iterable[str]) -> None:
        self.text, self.characters = text, sorted(set(characters))
        shown = ", ".join(repr(character) for character in self.characters)
        super().__init__(f"{text!r} has characters that are not in the labels: {shown}")


class Labels(tuple[str, ...]):
    """An ordered alphabet with the CTC blank `_` in it.

    Args:
        characters: Single characters (after Unicode NFC), each once, the blank among them.

    Raises:
        InputError: No blank, a duplicate character, or an entry that is not one character.
    """

    def __new__(cls, characters: Sequence[str]) -> Self:
        if isinstance(characters, str) or not all(isinstance(each, str) for each in characters):
            raise InputError("labels must be a list of single characters")
        labels = super().__new__(cls, (unicodedata.normalize("NFC", each) for each in characters))
        if wrong := [each for each in labels if len(each) != 1]:
            raise InputError(f"labels must be single characters, found {wrong[0]!r}")
        if twice := [each for each, count in Counter(labels).items() if count > 1]:
            raise InputError(f"labels hold {', '.join(map(repr, sorted(twice)))} more than once; keep one")
        if BLANK not in labels:
            raise InputError(f"labels have no blank; add {BLANK!r} as the first entry")
        return labels

    def __init__(self, characters: Sequence[str]) -> None:
        self.blank = self.index(BLANK)
        self._ids = {character: index for index, character in enumerate(self) if character != BLANK}

    @classmethod
    def load(cls, path: str | Path | None = None) -> Labels:
        """Read a JSON list of characters.

        Args:
            path: The file; None for `labels.json` in the working folder or, without such a file, the English
                labels that the package ships.

        Raises:
            InputError: The file cannot be read, or its list is not an alphabet.
        """
        path = path or (DEFAULT_PATH if Path(DEFAULT_PATH).exists() else SHIPPED)
        try:
            characters = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot read labels: {error}; give a JSON list of characters") from None
        if not isinstance(characters, list):
            raise InputError(f"{path}: labels must be a JSON list of characters")
        try:
            return cls(characters)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @property
    def characters(self) -> tuple[str, ...]:
        """Plain data, as checkpoints hold it."""
        return tuple(self)

    def encode(self, text: str, unknown: str = "error") -> list[int]:
        """Text -> label indices, after NFC and with every run of white space as one space.

        Args:
            text: A transcript; line breaks count as spaces.
            unknown: "error", or "drop" to leave out characters that are not in the labels.

        Raises:
            UnknownCharacters: `unknown` is "error" and the text has some.
        """
        text = _normalize(text)
        try:
            return [self._ids[character] for character in text]  # the usual case; corpora are large
        except KeyError:
            pass
        if unknown == "error" and (strange := self.unknown(text)):
            raise UnknownCharacters(text, strange)
        known = "".join(character for character in text if character in self._ids)
        return [self._ids[character] for character in " ".join(known.split())]

    def unknown(self, text: str) -> set[str]:
        """The characters of a text, normalised as by `encode`, that are not in the labels."""
        return set(_normalize(text)) - self._ids.keys()

    def decode(self, ids: Iterable[int]) -> str:
        """Label indices -> text."""
        return "".join(map(self.__getitem__, ids))


def _normalize(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
