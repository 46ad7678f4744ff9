"""N-gram language models: ARPA files and KenLM binaries, scored by compiled functions.

An ARPA file is read into the very tables that a KenLM binary holds: one function scores both, and
writing a binary is writing the tables down.
"""

from __future__ import annotations

import gzip
import mmap
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from deepspeech.atomic_file import write_atomic
from deepspeech.beam_search.arpa import parse_arpa
from deepspeech.beam_search.compiled import compiled
from deepspeech.beam_search.kenlm_format import (
    MAGIC,
    MAX_ORDER,
    PARAMETERS,
    SANITY,
    Bytes,
    Tables,
    Words,
    extend_hash,
    find,
    layout,
    view,
    word_id,
)
from deepspeech.errors import InputError

CONTEXT = MAX_ORDER - 1  # words that a state can hold
STATE = 1 + 2 * CONTEXT  # size of a state
SIGN = np.uint32(1 << 31)
MARKS = ("<unk>", "<s>", "</s>")
MAPPED_FROM = 64 << 20  # bytes; smaller files are copied to memory, where nothing can happen to them
GZIP = b"\x1f\x8b"
REMEDY = "build one with `build_binary probing model.arpa model.bin`, or pass the ARPA file"


class NGramModel:
    """An n-gram model with back-off, of order 1 to 6; `score` and `initial_state` take its `tables`.

    Large binaries stay in the file and share its pages with other processes.
    """

    def __init__(self, name: str, image: Bytes, file: mmap.mmap | None = None) -> None:
        """Use `NGramModel.open`; `image` is the content of a KenLM binary."""
        self._name, self._image, self._file = name, image, file
        order, multiplier, _, self._has_words, _ = PARAMETERS.unpack_from(image.data, len(SANITY))
        counts = struct.unpack_from(f"<{order}Q", image.data, len(SANITY) + PARAMETERS.size)
        self.order: int = order
        self.tables = view(image, counts, multiplier)
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
                start = file.read(len(SANITY))
                if start.startswith(MAGIC):
                    return cls(name, *_open_binary(file, start))
                text = start + file.read()
            return cls(name, parse_arpa(name, gzip.decompress(text) if start.startswith(GZIP) else text))
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
        if not self._has_words:
            raise InputError(f"{self._name}: built without its words; {REMEDY}")
        self.check()
        count = int(self.tables.words[self.tables.offsets[0] - 1])
        try:
            *found, rest = self._image[4 * len(self.tables.words) :].tobytes().decode().split("\0")
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
        if self._file is not None and self._file.size() < len(self._image):
            raise InputError(
                f"{self._name}: shrank from {len(self._image)} to {self._file.size()} bytes while in use; "
                "build it again, and replace it by renaming"
            )

    def score_sentence(self, words: Iterable[str], bos: bool = True, eos: bool = True) -> float:
        """Log10 probability of words, after `<s>` and with `</s>` by default."""
        self.check()
        state, after = np.zeros(STATE, np.uint32), np.zeros(STATE, np.uint32)
        if bos:
            initial_state(self.tables, state)
        total = 0.0
        for word in [*map(self.index, words), *[self.tables.sentence_end] * eos]:
            total += score(self.tables, state, np.uint32(word), after)
            state, after = after, state
        return total

    def write_binary(self, path: str | Path) -> None:
        """Write the file that KenLM's `build_binary probing` would.

        Raises:
            InputError: The file cannot be written, or KenLM could not read it.
        """
        if self.order < 2:
            raise InputError(f"{path}: KenLM has no binaries of order 1; build a model of order 2 or more")
        self.check()
        write_atomic(path, self._image.data)


def _open_binary(file: BinaryIO, start: bytes) -> tuple[Bytes, mmap.mmap | None]:
    """The content of a KenLM binary, and its mapping if it is large."""
    if start != SANITY:
        version = start[len(MAGIC) :].split(b"\n")[0].decode(errors="replace").strip()
        raise ValueError(
            f"a KenLM binary of {version!r}, or damaged; only version 5, little-endian, can be read"
        )
    rest = file.read(PARAMETERS.size + 8 * MAX_ORDER).ljust(PARAMETERS.size + 8 * MAX_ORDER, b"\0")
    order, multiplier, kind, has_words, version = PARAMETERS.unpack_from(rest)
    counts = struct.unpack_from(f"<{min(order, MAX_ORDER)}Q", rest, PARAMETERS.size)
    size = file.seek(0, 2)
    if kind or version:
        raise ValueError(f"a KenLM binary of kind {kind}.{version}: a trie, quantised, or with rest costs")
    if (
        not 2 <= order <= MAX_ORDER
        or not 1 <= multiplier < 1000
        or not all(0 < count < size for count in counts)
    ):
        raise ValueError(f"KenLM binary of order {order} (2 to {MAX_ORDER} can be) with {counts} n-grams")
    (vocabulary, *_), _, end = layout(counts, multiplier)
    if size < end + 6 * has_words:
        raise ValueError(f"truncated KenLM binary: {size} bytes are too few for {counts} n-grams")
    file.seek(0)
    # Writable, as the tables of ARPA files are: one type to compile for. Nothing is ever written
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if size >= MAPPED_FROM else None
    image = np.fromfile(file, np.uint8) if mapped is None else np.frombuffer(mapped, np.uint8)
    words = int(image[:end].view(np.uint32)[vocabulary - 1])
    if words not in (counts[0], counts[0] + 1) or (
        has_words and image[end : end + 6].tobytes() != b"<unk>\0"
    ):
        raise ValueError(f"damaged KenLM binary: its {words} words are not where they belong")
    return image, mapped


@compiled
def initial_state(tables: Tables, state_out: Words) -> None:
    """The state after `<s>`.

    A state holds the number of words of context, then these words, the latest first, and from
    `1 + CONTEXT` on the bits of the back-offs (float32) of the latest word, the latest two, and
    so on. What is not in use is 0, so that equal states have equal bits. All zeros: no context.
    """
    state_out[:] = 0
    state_out[0] = 1
    state_out[1] = tables.sentence_start
    state_out[1 + CONTEXT] = tables.words[tables.offsets[1] + 2 * tables.sentence_start + 1]


@compiled
def score(tables: Tables, state: Words, word: np.uint32, state_out: Words) -> np.float64:
    """Log10 probability of a word after a state; `state_out`, another array, becomes the state after it.

    The longest n-gram of the state's latest words and the word counts, with the back-offs of the
    contexts that are longer. The new state keeps as many words as some n-gram starts with, so
    that states that make no difference are equal.
    """
    length, matched, kept = np.int64(state[0]), 1, 0
    key = np.uint64(word)
    offset = tables.offsets[1] + 2 * np.int64(word)
    state_out[:] = 0
    while True:
        if matched < tables.order:
            backoff = tables.words[offset + 1]
            state_out[CONTEXT + matched] = backoff
            if backoff != SIGN:  # -0.0: nothing starts with it
                kept = matched
        if matched > length or matched == tables.order or tables.words[offset] >= SIGN:
            break
        key = extend_hash(key, state[matched])
        found, entry = find(tables, matched + 1, key)
        if not found:
            break
        matched, offset = matched + 1, entry + 2
    total = -np.float64(abs(tables.floats[offset]))
    for words in range(matched, length + 1):
        total += np.float64(np.uint32(state[CONTEXT + words]).view(np.float32))
    state_out[0] = kept
    state_out[1 + CONTEXT + kept :] = 0
    for index in range(kept):
        state_out[1 + index] = state[index] if index else word
    return total
