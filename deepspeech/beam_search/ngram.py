"""N-gram language models: ARPA files and KenLM binaries, scored by compiled functions.

An ARPA file is read into the very tables that a KenLM binary holds, so that one function scores
both, and writing a binary is writing them down.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from deepspeech.atomic_file import write_atomic
from deepspeech.beam_search.arpa import decompress, parse_arpa
from deepspeech.beam_search.compiled import compiled
from deepspeech.beam_search.kenlm_format import (
    MAGIC,
    MAX_ORDER,
    PARAMETERS,
    SANITY,
    VERSION,
    Tables,
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
MAPPED_FROM = 64 << 20  # bytes; smaller files are read, and are safe from whatever happens to them
KINDS = ("probing", "rest-cost", "trie", "quantised trie", "compressed trie", "quantised compressed trie")
REMEDY = "build one with `build_binary probing model.arpa model.bin`, or pass the ARPA file"


class NGramModel:
    """An n-gram model with back-off, of order 1 to 6.

    `score` and `initial_state` of this module take its `tables`. Large binaries stay in the file
    and share its pages with other processes.
    """

    def __init__(self, name: str, image: NDArray[np.uint8], file: mmap.mmap | None = None) -> None:
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
                    return cls(name, *_open_binary(name, file, start))
                image = parse_arpa(name, decompress(name, start + file.read()))
        except OSError as error:
            raise InputError(f"{name}: cannot read: {error.strerror}; correct the path") from None
        return cls(name, image)

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
        strings = self._image[4 * len(self.tables.words) :].tobytes()
        bound = int(self.tables.words[self.tables.offsets[0] - 1])
        if strings.count(b"\0") != bound or not strings.endswith(b"\0"):
            raise InputError(f"{self._name}: {bound} words are not at its end; truncated: build it again")
        try:
            found = strings.decode().split("\0")[:-1]
        except UnicodeDecodeError:
            raise InputError(f"{self._name}: its words are not UTF-8; build it from UTF-8 text") from None
        return [word for word in found if word not in MARKS]

    def check(self) -> None:
        """Call before a time of scoring: reading pages that a mapped file has lost would end the process.

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
        ids = [np.uint32(self.index(word)) for word in words]
        total = 0.0
        for word in [*ids, np.uint32(self.tables.sentence_end)] if eos else ids:
            total += score(self.tables, state, word, after)
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


def _open_binary(name: str, file: BinaryIO, start: bytes) -> tuple[NDArray[np.uint8], mmap.mmap | None]:
    """The content of a KenLM binary, which is mapped if it is large, and its mapping."""
    if not start.startswith(VERSION):
        found = start[len(MAGIC) :].split(b"\n")[0].decode(errors="replace").strip()
        raise InputError(f"{name}: a KenLM binary of {found!r}, not of format version 5; {REMEDY}")
    if start != SANITY:
        fault = (
            "truncated" if len(start) < len(SANITY) else "damaged, or of a machine with another byte order"
        )
        raise InputError(f"{name}: KenLM binary is {fault}; {REMEDY}")
    rest = file.read(PARAMETERS.size + 8 * MAX_ORDER).ljust(PARAMETERS.size + 8 * MAX_ORDER, b"\0")
    order, multiplier, kind, has_words, version = PARAMETERS.unpack_from(rest)
    if kind != 0 or version != 0:
        found = KINDS[kind] if 0 < kind < len(KINDS) else f"unknown ({kind}, version {version})"
        raise InputError(
            f"{name}: a KenLM binary of the kind {found}, only probing ones can be used; {REMEDY}"
        )
    if not 2 <= order <= MAX_ORDER:
        raise InputError(f"{name}: order {order} of a KenLM binary, it must be 2 to {MAX_ORDER}; {REMEDY}")
    counts = struct.unpack_from(f"<{order}Q", rest, PARAMETERS.size)
    if not 1 <= multiplier < 1000 or not all(0 < count < 2**40 for count in counts):
        raise InputError(f"{name}: n-gram counts {counts} are damaged; {REMEDY}")
    needed = layout(counts, multiplier)[2]
    size = file.seek(0, 2)
    if size < needed + 6 * has_words:
        raise InputError(f"{name}: truncated: {size} bytes are too few for {counts} n-grams; {REMEDY}")
    file.seek(0)
    if size < MAPPED_FROM:
        image, mapping = np.fromfile(file, np.uint8), None
    else:
        mapping = mmap.mmap(
            file.fileno(), 0, access=mmap.ACCESS_COPY
        )  # writable, as arrays of ARPA files: one type to compile for
        image = np.frombuffer(mapping, np.uint8)
    words = int(image[:needed].view(np.uint32)[layout(counts, multiplier)[0][0] - 1])
    ends = image[needed : needed + 6].tobytes(), image[-1]
    if words not in (counts[0], counts[0] + 1) or (has_words and ends != (b"<unk>\0", 0)):
        raise InputError(f"{name}: damaged: its {words} words are not where they should be; {REMEDY}")
    return image, mapping


@compiled
def initial_state(tables: Tables, state_out: NDArray[np.uint32]) -> None:
    """The state after `<s>`: number of words of context, the words (latest first), their back-offs.

    The back-offs are float32 bits. What is not in use is 0, so equal states have equal bits.
    """
    state_out[:] = 0
    state_out[0] = 1
    state_out[1] = tables.sentence_start
    state_out[1 + CONTEXT] = tables.words[tables.offsets[1] + 2 * tables.sentence_start + 1]


@compiled
def score(
    tables: Tables, state: NDArray[np.uint32], word: np.uint32, state_out: NDArray[np.uint32]
) -> np.float64:
    """Log10 probability of a word after a state, and the state after it (in another array).

    The longest n-gram counts that ends with the word and the latest words of the state, plus the
    back-offs of the longer contexts. The new state keeps no more words than some n-gram may
    need, so that states that cannot be told apart are equal.
    """
    length, matched, kept = np.int64(state[0]), 1, 0
    key = np.uint64(word)
    offset = tables.offsets[1] + 2 * np.int64(word)
    state_out[:] = 0
    while True:
        if matched < tables.order:
            backoff = tables.words[offset + 1]
            state_out[CONTEXT + matched] = backoff
            if backoff != SIGN:
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
    for index in range(1, CONTEXT + 1):
        if index > kept:
            state_out[CONTEXT + index] = 0
        else:
            state_out[index] = state[index - 1] if index > 1 else word
    return total
