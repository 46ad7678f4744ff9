"""ARPA files, read into the tables of a KenLM binary."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepspeech.beam_search.compiled import compiled
from deepspeech.beam_search.kenlm_format import (
    MAX_ORDER,
    VOCABULARY,
    Tables,
    extend_hash,
    find,
    header,
    layout,
    view,
    word_hash,
)
from deepspeech.errors import InputError

UNKNOWN = (np.uint64(0xEA91E7561F5B392B), np.uint64(0x7E163219007D2F54))  # hashes of <unk> and <UNK>
LINE_BREAK = 10
UNKNOWN_PROBABILITY = -100.0  # if a file has no <unk>, as in KenLM
MULTIPLIER = 1.5  # of the tables' sizes, KenLM's default


class TablesFull(Exception):
    """Suffixes that the file lacks take more room than the tables have."""


def decompress(name: str, content: bytes) -> bytes:
    """The content of a file that may be compressed by gzip."""
    parts = []
    try:
        while content.startswith(b"\x1f\x8b"):
            stream = zlib.decompressobj(wbits=31)
            parts.append(stream.decompress(content))
            if not stream.eof:
                raise zlib.error("incomplete")
            content = stream.unused_data
    except zlib.error:
        raise InputError(f"{name}: truncated or damaged gzip file; compress or copy it again") from None
    return b"".join(parts) if parts else content


def parse_arpa(name: str, text: bytes) -> NDArray[np.uint8]:
    """The content of the binary that KenLM would build from an ARPA file.

    Raises:
        InputError: It is damaged, or not an ARPA file.
    """
    text = text.removeprefix(b"\xef\xbb\xbf")
    counts, start = _counts(name, text)
    multiplier = MULTIPLIER
    while True:
        try:
            return _fill(name, text, start, counts, multiplier)
        except TablesFull:
            multiplier *= 2


def _counts(name: str, text: bytes) -> tuple[list[int], int]:
    """Numbers of n-grams by order, and where the list of them ends."""
    head = re.match(rb"\s*\\data\\[ \t\r]*\n", text)
    if not head:
        raise InputError(
            f"{name}: not a language model: neither an ARPA file nor a KenLM binary; "
            "build one with data/build_lm.py"
        )
    counts: list[int] = []
    end = head.end()
    while found := re.compile(rb"\s*ngram[ \t]+(\d+)[ \t]*=[ \t]*(\d+)[ \t\r]*\n").match(text, end):
        counts.append(int(found[2]))
        end = found.end()
        if int(found[1]) != len(counts) or not 0 < counts[-1] < len(text):
            raise InputError(
                f"{name}: the count {found[0].decode().strip()!r} cannot be right; build it again"
            )
    if not 1 <= len(counts) <= MAX_ORDER:
        raise InputError(f"{name}: order {len(counts)}, it must be 1 to {MAX_ORDER}; build another one")
    return counts, end


def _fill(name: str, text: bytes, start: int, counts: Sequence[int], multiplier: float) -> NDArray[np.uint8]:
    size = layout(counts, multiplier)[2]
    image = np.zeros(size + len(text), np.uint8)
    head = header(counts, multiplier)
    image[: len(head)] = np.frombuffer(head, np.uint8)
    tables = view(image, counts, multiplier)
    used = np.zeros(len(counts) + 1, np.int64)
    strings = 0
    content = np.frombuffer(text, np.uint8)
    cursor = np.array([start])
    try:
        for n, count in enumerate(counts, 1):
            _title(text, cursor, f"\\{n}-grams:")
            if n == 1:
                strings = _read_words(content, cursor, count, tables, image[size:])
            else:
                _read_ngrams(content, cursor, n, count, tables, used)
        _title(text, cursor, "\\end\\")
        image[size : size + strings].tobytes().decode()
    except UnicodeDecodeError:
        raise InputError(f"{name}: its words are not UTF-8; build it from UTF-8 text") from None
    except ValueError as error:
        line = text.count(b"\n", 0, cursor[0]) + 1
        raise InputError(f"{name}:{line}: {error}; the file is damaged: build it again") from None
    return image[: size + strings]


def _title(text: bytes, cursor: NDArray[np.int64], title: str) -> None:
    """Move past the next line that is not blank, which must be the title of a section."""
    cursor[0] = re.compile(rb"\s*").match(text, cursor[0]).end()  # type: ignore[union-attr]  # matches always
    end = cursor[0] + len(title)
    if text[cursor[0] : end] != title.encode():
        raise ValueError(f"expected {title}, the n-grams before it are not as many as counted at the top")
    cursor[0] = end


@compiled
def _read_words(
    text: NDArray[np.uint8], cursor: NDArray[np.int64], count: int, tables: Tables, strings: NDArray[np.uint8]
) -> int:
    """Read the 1-grams and copy the words; returns the bytes of these."""
    size, words, unknowns = 6, np.uint32(1), 0
    for index, byte in enumerate((60, 117, 110, 107, 62)):  # <unk>
        strings[index] = byte
    tables.floats[tables.offsets[1]] = UNKNOWN_PROBABILITY
    for _ in range(count):
        probability = _probability(text, cursor)
        word = _token(text, cursor)
        key, entry = word_hash(word), tables.offsets[1]
        if key == UNKNOWN[0] or key == UNKNOWN[1]:
            unknowns += 1
        else:
            offset = _insert(tables, VOCABULARY, key)
            tables.words[offset] = words
            entry += 2 * np.int64(words)
            words += np.uint32(1)
            strings[size : size + len(word)] = word
            size += len(word) + 1
        if len(word) == 0 or unknowns > 1:
            raise ValueError("no word, or <unk> again")
        tables.floats[entry] = probability
        tables.floats[entry + 1] = _backoff(text, cursor)
    tables.words[tables.offsets[0] - 1] = words
    return size


@compiled
def _read_ngrams(
    text: NDArray[np.uint8],
    cursor: NDArray[np.int64],
    n: int,
    count: int,
    tables: Tables,
    used: NDArray[np.int64],
) -> None:
    ids = np.zeros(n, np.uint32)  # the last word first
    for _ in range(count):
        probability = _probability(text, cursor)
        for index in range(n - 1, -1, -1):
            key = word_hash(_token(text, cursor))
            found, offset = find(tables, VOCABULARY, key)
            if not found and key != UNKNOWN[0] and key != UNKNOWN[1]:
                raise ValueError("a word is missing, or not among the 1-grams")
            ids[index] = tables.words[offset + 2] if found else np.uint32(0)
        backoff = _backoff(text, cursor)
        if n == tables.order and backoff != 0:
            raise ValueError("a back-off at the highest order")
        _add(tables, ids, probability, backoff, used)
        _mark_suffixes(tables, ids, used)
        if not _mark_context(tables, ids[1:])[0]:
            raise ValueError("the n-gram without its last word is missing")


@compiled
def _mark_suffixes(tables: Tables, ids: NDArray[np.uint32], used: NDArray[np.int64]) -> None:
    """Clear the sign bits of an n-gram's suffixes; add those that are missing, by backing off.

    A look-up goes from short n-grams to long ones, and would stop before this one.
    """
    n = len(ids)
    suffix = n - 1
    while not _entry(tables, ids[:suffix])[0]:
        suffix -= 1
    offset = _entry(tables, ids[:suffix])[1]
    probability = -abs(tables.floats[offset])
    tables.floats[offset] = -probability
    for longer in range(suffix + 1, n):
        found, offset = _mark_context(tables, ids[1:longer])
        if found:
            probability += tables.floats[offset + 1]
        _add(tables, ids[:longer], abs(probability), np.float32(-0.0), used)


@compiled
def _mark_context(tables: Tables, ids: NDArray[np.uint32]) -> tuple[bool, int]:
    """Let an n-gram's back-off say that a longer n-gram starts with it; whether and where it is."""
    found, offset = _entry(tables, ids)
    if found and tables.floats[offset + 1] == 0:
        tables.floats[offset + 1] = 0.0
    return found, offset


@compiled
def _entry(tables: Tables, ids: NDArray[np.uint32]) -> tuple[bool, int]:
    """Whether an n-gram is there, and the offset of its probability."""
    if len(ids) == 1:
        return True, tables.offsets[1] + 2 * np.int64(ids[0])
    found, offset = find(tables, len(ids), _key(ids))
    return found, offset + 2


@compiled
def _key(ids: NDArray[np.uint32]) -> np.uint64:
    key = np.uint64(ids[0])
    for word in ids[1:]:
        key = extend_hash(key, word)
    return key


@compiled
def _add(
    tables: Tables,
    ids: NDArray[np.uint32],
    probability: np.float32,
    backoff: np.float32,
    used: NDArray[np.int64],
) -> None:
    used[len(ids)] += 1
    if used[len(ids)] >= tables.buckets[len(ids)]:
        raise TablesFull
    offset = _insert(tables, len(ids), _key(ids))
    tables.floats[offset] = probability
    if len(ids) < tables.order:
        tables.floats[offset + 1] = backoff


@compiled
def _insert(tables: Tables, table: int, key: np.uint64) -> int:
    """Add a key to a table; returns the offset of its value."""
    found, offset = find(tables, table, key)
    if found:
        raise ValueError("the same n-gram again")
    tables.words[offset] = np.uint32(key & np.uint64(0xFFFFFFFF))
    tables.words[offset + 1] = np.uint32(key >> np.uint64(32))
    return offset + 2


@compiled
def _token(text: NDArray[np.uint8], cursor: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The next token of the line, empty if there is none."""
    start = cursor[0]
    while start < len(text) and text[start] != LINE_BREAK and _is_space(text[start]):
        start += 1
    end = start
    while end < len(text) and not _is_space(text[end]):
        end += 1
    cursor[0] = end
    return text[start:end]


@compiled
def _is_space(byte: np.uint8) -> bool:
    return byte == 32 or byte == 9 or byte == LINE_BREAK or byte == 13 or byte == 0


@compiled
def _probability(text: NDArray[np.uint8], cursor: NDArray[np.int64]) -> np.float32:
    """Skip blank lines and read a log10 probability; its sign bit is set, even that of 0."""
    while cursor[0] < len(text) and _is_space(text[cursor[0]]):
        cursor[0] += 1
    value = _number(_token(text, cursor))
    if not value <= 0:
        raise ValueError("expected a log10 probability, at most 0, of an n-gram counted at the top")
    return np.float32(-abs(value))


@compiled
def _backoff(text: NDArray[np.uint8], cursor: NDArray[np.int64]) -> np.float32:
    """Read the back-off that may end a line; 0 becomes -0.0, as if it were left out."""
    token = _token(text, cursor)
    value = _number(token) if len(token) else 0.0
    if np.isnan(value) or len(_token(text, cursor)):
        raise ValueError("expected a back-off and the end of the line")
    return np.float32(value if value != 0 else -0.0)


@compiled
def _number(token: NDArray[np.uint8]) -> float:
    """The value of a decimal number, NaN if it is something else."""
    for index in range(len(token)):
        if token[index] == 101 or token[index] == 69:  # e
            return _decimal(token[:index], _decimal(token[index + 1 :], 0.0))
    return _decimal(token, 0.0)


@compiled
def _decimal(token: NDArray[np.uint8], exponent: float) -> float:
    signed = len(token) > 0 and (token[0] == 45 or token[0] == 43)
    value, digits, point = 0.0, 0, False
    for byte in token[int(signed) :]:
        if 48 <= byte <= 57:
            value = 10 * value + (byte - 48)
            digits += 1
            exponent -= point
        elif byte == 46 and not point:
            point = True
        else:
            return np.nan
    if digits == 0:
        return np.nan
    value = value * 10.0**exponent if exponent > 0 else value / 10.0**-exponent  # exact if it can be
    return -value if signed and token[0] == 45 else value
