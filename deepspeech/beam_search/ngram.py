"""N-gram language models in ARPA files and KenLM binaries.

An ARPA file becomes the content of a KenLM binary: one function scores both.
"""

from __future__ import annotations

import gzip
import mmap
import zlib
from pathlib import Path

import numpy as np

from deepspeech.beam_search.arpa import parse_arpa
from deepspeech.beam_search.kenlm_format import MAGIC, VOCABULARY, Bytes, view, word_id
from deepspeech.errors import InputError

MARKS = ("<unk>", "<s>", "</s>")
MAPPED_FROM = 64 << 20  # bytes; smaller files are copied to memory, where nothing can happen to them
GZIP = b"\x1f\x8b"
REMEDY = "build one with `build_binary probing model.arpa model.bin`, or pass the ARPA file"


class NGramModel:
    """An n-gram model with back-off, of order 1 to 6; `score` and `initial_state` take its `tables`.

    Large binaries stay in the file and share its pages with other processes.

    Raises:
        InputError: It has no words for the start and end of sentences.
    """

    def __init__(self, name: str, image: Bytes, file: mmap.mmap | None = None) -> None:
        """Use `NGramModel.open`; `image` is the content of a KenLM binary, which can be kept as a file."""
        self._name, self.image, self._file = name, image, file
        self.tables = view(image)
        self.order = self.tables.order
        if not self.tables.sentence_start or not self.tables.sentence_end:
            raise InputError(f"{name}: its words lack <s> or </s>; build it from whole sentences")

    @classmethod
    def open(cls, path: str | Path) -> NGramModel:
        """Read an ARPA file, plain or gzip, or open a binary of KenLM's default kind (probing).

        Raises:
            InputError: The file cannot be read, is damaged, or of another kind.
        """
        name = f"--lm-path {path}"
        try:
            with open(path, "rb") as file:
                text = file.read(len(MAGIC))
                if text == MAGIC:
                    mapped, size = None, file.seek(0, 2)
                    file.seek(0)
                    if size >= MAPPED_FROM:
                        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                    # Writable, as the tables of ARPA files are: one type to compile for
                    return cls(name, np.frombuffer(mapped or bytearray(file.read()), np.uint8), mapped)
                text += file.read()
            return cls(name, parse_arpa(name, gzip.decompress(text) if text.startswith(GZIP) else text))
        except ValueError as error:
            raise InputError(f"{name}: {error}; {REMEDY}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise InputError(f"{name}: truncated or damaged gzip file; compress or copy it again") from None
        except OSError as error:
            raise InputError(f"{name}: cannot read: {error.strerror}; correct the path") from None

    def index(self, word: str) -> int:
        """The id of a word, 0 for unknown ones."""
        return int(word_id(self.tables, np.frombuffer(word.encode(), np.uint8)))

    def words(self) -> list[str]:
        """The vocabulary without `<s>`, `</s>` and `<unk>`.

        Raises:
            InputError: The file is damaged there, or was built without words.
        """
        self.check()
        strings = self.image[self.tables.words.nbytes :].tobytes()
        if not strings:
            raise InputError(f"{self._name}: built without its words; {REMEDY}")
        count = int(self.tables.words[self.tables.offsets[VOCABULARY] - 1])
        try:
            *found, rest = strings.decode().split("\0")
        except UnicodeDecodeError:
            raise InputError(f"{self._name}: its words are not UTF-8; build it from UTF-8 text") from None
        if len(found) != count or rest:
            raise InputError(f"{self._name}: truncated: {len(found)} of {count} words; {REMEDY}")
        return [word for word in found if word not in MARKS]

    def check(self) -> None:
        """Call before scoring an utterance: reading pages that a mapped file has lost kills the process.

        Raises:
            InputError: The file has shrunk since it was opened.
        """
        if self._file is not None and self._file.size() < len(self.image):
            raise InputError(
                f"{self._name}: shrank from {len(self.image)} to {self._file.size()} bytes while in use; "
                "build it again, and replace it by renaming"
            )
