"""ARPA files, read into the tables of a KenLM binary."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from deepspeech.beam_search.compiled import compiled
from deepspeech.beam_search.kenlm_format import (
    MAX_ORDER,
    VOCABULARY,
    Bytes,
    Ints,
    Tables,
    Words,
    extend_hash,
    find,
    header,
    layout,
    view,
    word_hash,
)
from deepspeech.errors import InputError

UNKNOWN = (np.uint64(0xEA91E7561F5B392B), np.uint64(0x7E163219007D2F54))  # hashes of <unk> and <UNK>
UNKNOWN_PROBABILITY = -100.0  # if a file has no <unk>, as in KenLM
MULTIPLIER = 1.5  # of the tables' sizes, KenLM's default
LINE_BREAK, BACKSLASH = 10, 92
SPACES = np.isin(np.arange(256), (0, 9, LINE_BREAK, 13, 32))


class TablesFull(Exception):
    """The n-grams that a file lacks, although longer ones end with them, need larger tables."""


def parse_arpa(name: str, text: bytes) -> Bytes:
    """The content of the binary that KenLM would build from an ARPA file.

    Raises:
        InputError: It is damaged, or not an ARPA file.
    """
    counts, multiplier, cursor = [], MULTIPLIER, 0
    start = re.match(rb"(\xef\xbb\xbf)?\s*\\data\\\s*", text)
    if not start:
        raise InputError(
            f"{name}: not a language model: neither an ARPA file nor a KenLM binary; "
            "build one with data/build_lm.py"
        )
    cursor = start.end()
    while found := re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)\s*").match(text, cursor):
        counts.append(int(found[2]))
        cursor = found.end()
        if int(found[1]) != len(counts) or not 0 < counts[-1] < len(text):
            raise InputError(f"{name}: {found[0].decode().strip()!r} cannot be right; build it again")
    if not 1 <= len(counts) <= MAX_ORDER:
        raise InputError(f"{name}: order {len(counts)}, it must be 1 to {MAX_ORDER}; build another model")
    while True:
        try:
            return _fill(name, text, cursor, counts, multiplier)
        except TablesFull:
            multiplier *= 2


def _fill(name: str, text: bytes, start: int, counts: Sequence[int], multiplier: float) -> Bytes:
    size = layout(counts, multiplier)[2]
    image = np.zeros(size + len(text), np.uint8)
    head = header(counts, multiplier)
    image[: len(head)] = np.frombuffer(head, np.uint8)
    tables = view(image, counts, multiplier)
    content, used = np.frombuffer(text, np.uint8), np.zeros(len(counts) + 1, np.int64)
    cursor = np.array([start])
    try:
        for n, count in enumerate(counts, 1):
            _skip_title(text, cursor, f"\\{n}-grams:")
            if n == 1:
                size += _read_words(content, cursor, count, tables, used, image[size:])
            else:
                _read_ngrams(content, cursor, n, count, tables, used)
        _skip_title(text, cursor, "\\end\\")
    except ValueError as error:
        line = text.count(b"\n", 0, cursor[0]) + 1
        raise InputError(f"{name}:{line}: {error}; truncated or damaged: build the model again") from None
    return image[:size]


def _skip_title(text: bytes, cursor: Ints, title: str) -> None:
    _skip_blank(np.frombuffer(text, np.uint8), cursor)
    end = cursor[0] + len(title)
    if text[cursor[0] : end] != title.encode():
        raise ValueError(f"expected {title} after the n-grams that are counted at the top")
    cursor[0] = end


@compiled
def _read_words(text: Bytes, cursor: Ints, count: int, tables: Tables, used: Ints, strings: Bytes) -> int:
    """Read the 1-grams and copy their words; returns the bytes of these."""
    size, words, unknowns = 6, 1, 0
    for index, byte in enumerate((60, 117, 110, 107, 62)):  # <unk>
        strings[index] = byte
    tables.floats[tables.offsets[1]] = UNKNOWN_PROBABILITY
    for _ in range(count):
        probability, word = _probability(text, cursor), _token(text, cursor)
        key, entry = word_hash(word), tables.offsets[1]
        if key == UNKNOWN[0] or key == UNKNOWN[1]:
            unknowns += 1
        else:
            tables.words[_insert(tables, VOCABULARY, key, used)] = words
            entry += 2 * words
            words += 1
            for index, byte in enumerate(word):  # a slice would take a second more to compile
                strings[size + index] = byte
            size += len(word) + 1
        if len(word) == 0 or unknowns > 1:
            raise ValueError("no word, or <unk> again")
        tables.floats[entry] = probability
        tables.floats[entry + 1] = _backoff(text, cursor, tables.order > 1)
    tables.words[tables.offsets[0] - 1] = words
    return size


@compiled
def _read_ngrams(text: Bytes, cursor: Ints, n: int, count: int, tables: Tables, used: Ints) -> None:
    ids = np.zeros(n, np.uint32)  # the last word first
    for _ in range(count):
        probability = _probability(text, cursor)
        for index in range(n - 1, -1, -1):
            key = word_hash(_token(text, cursor))
            found, offset = find(tables, VOCABULARY, key)
            if not found and key != UNKNOWN[0] and key != UNKNOWN[1]:
                raise ValueError("a word is missing, or not among the 1-grams")
            ids[index] = tables.words[offset + 2] if found else np.uint32(0)
        backoff = _backoff(text, cursor, n < tables.order)
        offset = _insert(tables, n, _key(ids), used)
        tables.floats[offset] = probability
        if n < tables.order:
            tables.floats[offset + 1] = backoff
        _mark_suffixes(tables, ids, used)
        if _mark_context(tables, ids[1:]) < 0:
            raise ValueError("the n-gram without its last word is missing")


@compiled
def _mark_suffixes(tables: Tables, ids: Words, used: Ints) -> None:
    """Clear the sign bits of an n-gram's suffixes; add those that were pruned, with the score by back-off.

    A look-up goes from short n-grams to long ones, and would stop before this one.
    """
    suffix = len(ids) - 1
    while _entry(tables, ids[:suffix]) < 0:
        suffix -= 1
    offset = _entry(tables, ids[:suffix])
    probability = -abs(tables.floats[offset])
    tables.floats[offset] = -probability
    for longer in range(suffix + 1, len(ids)):
        context = _mark_context(tables, ids[1:longer])
        if context >= 0:
            probability += tables.floats[context + 1]
        offset = _insert(tables, longer, _key(ids[:longer]), used)
        tables.floats[offset] = abs(probability)
        tables.floats[offset + 1] = -0.0


@compiled
def _mark_context(tables: Tables, ids: Words) -> int:
    """Let an n-gram's back-off say that a longer n-gram starts with it; returns its offset as `_entry`."""
    offset = _entry(tables, ids)
    if offset >= 0 and tables.floats[offset + 1] == 0:
        tables.floats[offset + 1] = 0.0
    return offset


@compiled
def _entry(tables: Tables, ids: Words) -> int:
    """Offset of an n-gram's probability, or -1."""
    if len(ids) == 1:
        return int(tables.offsets[1] + 2 * np.int64(ids[0]))
    found, offset = find(tables, len(ids), _key(ids))
    return offset + 2 if found else -1


@compiled
def _key(ids: Words) -> np.uint64:
    key = np.uint64(ids[0])
    for word in ids[1:]:
        key = extend_hash(key, word)
    return key


@compiled
def _insert(tables: Tables, table: int, key: np.uint64, used: Ints) -> int:
    """Add a key to a table; returns the offset of its value."""
    found, offset = find(tables, table, key)
    if found:
        raise ValueError("the same n-gram again")
    used[table] += 1
    if used[table] >= tables.buckets[table]:
        raise TablesFull
    tables.words[offset] = key & np.uint64(0xFFFFFFFF)
    tables.words[offset + 1] = key >> np.uint64(32)
    return offset + 2


@compiled
def _skip_blank(text: Bytes, cursor: Ints) -> None:
    while cursor[0] < len(text) and SPACES[text[cursor[0]]]:
        cursor[0] += 1


@compiled
def _token(text: Bytes, cursor: Ints) -> Bytes:
    """The next token of the line, empty at its end."""
    start = cursor[0]
    while start < len(text) and SPACES[text[start]] and text[start] != LINE_BREAK:
        start += 1
    end = start
    while end < len(text) and not SPACES[text[end]]:
        end += 1
    cursor[0] = end
    return text[start:end]


@compiled
def _probability(text: Bytes, cursor: Ints) -> np.float32:
    """Skip blank lines and read a log10 probability; its sign bit is set, even that of 0."""
    _skip_blank(text, cursor)
    if cursor[0] == len(text) or text[cursor[0]] == BACKSLASH:
        raise ValueError("fewer n-grams than are counted at the top")
    value = _number(_token(text, cursor))
    if not value <= 0:
        raise ValueError("the log10 probability must be a number, at most 0")
    return np.float32(-abs(value))


@compiled
def _backoff(text: Bytes, cursor: Ints, allowed: bool) -> np.float32:
    """Read the back-off that may end a line; 0 becomes -0.0, as if it were left out."""
    token = _token(text, cursor)
    value = _number(token) if len(token) else 0.0
    if np.isnan(value) or len(_token(text, cursor)):
        raise ValueError("expected a back-off, as a number, and the end of the line")
    if value and not allowed:
        raise ValueError("a back-off at the highest order")
    return np.float32(value if value != 0 else -0.0)


@compiled
def _number(token: Bytes) -> float:
    """The value of a decimal number, NaN if it is something else."""
    value, digits, power, point = 0.0, 0, 0.0, False
    for index, byte in enumerate(token):
        if 48 <= byte <= 57:
            value = 10 * value + (byte - 48)
            digits += 1
            power -= point
        elif byte == 46 and not point:
            point = True
        elif digits and (byte == 101 or byte == 69):  # e
            power += _number(token[index + 1 :])
            break
        elif index or (byte != 43 and byte != 45):
            return np.nan
    value = value * 10.0**power if power > 0 else value / 10.0**-power  # exact wherever it can be
    return (-value if token[0] == 45 else value) if digits else np.nan
