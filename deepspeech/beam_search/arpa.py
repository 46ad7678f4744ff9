"""ARPA files, read into the tables of a KenLM binary."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from deepspeech.beam_search.compiled import compiled
from deepspeech.beam_search.kenlm_format import (
    MAX_ORDER,
    UNKNOWN,
    VOCABULARY,
    Bytes,
    Ints,
    Tables,
    Words,
    allocate,
    extend_hash,
    find,
    view,
    word_hash,
)
from deepspeech.errors import InputError

UNKNOWN_HASHES = (np.uint64(0xEA91E7561F5B392B), np.uint64(0x7E163219007D2F54))  # of <unk> and <UNK>
UNKNOWN_PROBABILITY = -100.0  # if a file has no <unk>, as in KenLM
MULTIPLIER = 1.5  # of the tables' sizes, KenLM's default
DATA = re.compile(rb"(?:[^\\]*\n|\xef\xbb\xbf)?\s*\\data\\\s*")  # text before it is ignored
COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)\s*")
BLANK = re.compile(rb"\s*")
LINE_BREAK, BACKSLASH = 10, 92
SPACES = np.isin(np.arange(256), (0, 9, LINE_BREAK, 13, 32))


def parse_arpa(name: str, text: bytes) -> Bytes:
    """The content of the binary that KenLM would build from an ARPA file.

    Raises:
        InputError: It is damaged, or not an ARPA file.
    """
    found = DATA.match(text)
    if not found:
        raise InputError(
            f"{name}: not a language model: neither an ARPA file nor a KenLM binary; "
            "build one with deepspeech build-lm"
        )
    counts, start, multiplier = [], found.end(), MULTIPLIER
    while found := COUNT.match(text, start):
        counts.append(int(found[2]))
        start = found.end()
        if int(found[1]) != len(counts) or not 0 < counts[-1] < len(text):
            raise InputError(f"{name}: {found[0].decode().strip()!r} cannot be right; build it again")
    if not 1 <= len(counts) <= MAX_ORDER:
        raise InputError(f"{name}: order {len(counts)}, it must be 1 to {MAX_ORDER}; build another model")
    while True:
        try:
            return _fill(name, text, start, counts, multiplier)
        except OverflowError:  # it lacks many n-grams that longer ones end with; all get a place
            multiplier *= 2


def _fill(name: str, text: bytes, start: int, counts: Sequence[int], multiplier: float) -> Bytes:
    image = allocate(counts, multiplier, len(text))
    tables, used = view(image), np.zeros(len(counts) + 1, np.int64)
    cursor = np.array([start, tables.words.nbytes + len(UNKNOWN)])
    try:
        for n, count in enumerate(counts, 1):
            _skip_title(text, cursor, f"\\{n}-grams:")
            _read(np.frombuffer(text, np.uint8), cursor, n, count, tables, used, image)
        _skip_title(text, cursor, "\\end\\")
    except ValueError as error:
        line = text.count(b"\n", 0, cursor[0]) + 1
        start = text.rfind(b"\n", 0, cursor[0]) + 1
        shown = text[start : start + 80].split(b"\n")[0].decode(errors="replace").strip()
        raise InputError(
            f"{name}:{line}: {error}: {shown!r}; truncated or damaged: build the model again"
        ) from None
    tables.words[tables.offsets[VOCABULARY] - 1] = used[VOCABULARY] + 1
    return image[: cursor[1]]


def _skip_title(text: bytes, cursor: Ints, title: str) -> None:
    cursor[0] = next(BLANK.finditer(text, cursor[0])).end()
    if not text.startswith(title.encode(), cursor[0]):
        raise ValueError(f"expected {title} after the n-grams that are counted at the top")
    cursor[0] += len(title)


@compiled
def _read(text: Bytes, cursor: Ints, n: int, count: int, tables: Tables, used: Ints, image: Bytes) -> None:
    """Read `count` n-grams of order `n` and add them to the tables; copy the words of 1-grams to the image.

    `cursor` is the place in the text and that in the image; `used` the number of keys in each table.
    """
    ids = np.zeros(n, np.uint32)  # the last word first
    tokens = np.zeros((n + 3, 2), np.int64)
    unknown = tables.offsets[1]
    for _ in range(count):
        size = _split_line(text, cursor, tokens)
        if size == 0 or text[tokens[0, 0]] == BACKSLASH:
            raise ValueError("fewer n-grams than are counted at the top")
        if not n < size < n + 3:
            raise ValueError("expected a log10 probability, a word for each n, and a back-off or nothing")
        probability = _number(text, tokens[0, 0], tokens[0, 1])
        backoff = _number(text, tokens[n + 1, 0], tokens[n + 1, 1]) if size == n + 2 else 0.0
        if not -np.inf < probability <= 0:
            raise ValueError("the log10 probability must be a number, at most 0")
        if not (backoff == 0 if n == tables.order else np.isfinite(backoff)):
            raise ValueError("the back-off must be a number, at the highest order none or 0")
        for index in range(n):
            word = text[tokens[n - index, 0] : tokens[n - index, 1]]
            key = word_hash(word)
            known, offset = find(tables, VOCABULARY, key)
            if n == 1 and key not in UNKNOWN_HASHES:
                offset = _insert(tables, VOCABULARY, key, used)
                tables.words[offset] = used[VOCABULARY]
                for byte in word:  # a slice would take a second more to compile
                    image[cursor[1]] = byte
                    cursor[1] += 1
                cursor[1] += 1
            elif not known and key not in UNKNOWN_HASHES:
                raise ValueError("a word is not among the 1-grams")
            ids[index] = tables.words[offset]
        if n == 1 and ids[0] == 0 and tables.words[unknown]:
            raise ValueError("<unk> again")
        offset = _insert(tables, n, _key(ids), used) if n > 1 else unknown + 2 * np.int64(ids[0])
        # Sign bits are set, even of 0, until a longer n-gram ends or starts with this one
        tables.floats[offset] = -abs(probability)
        if n == 1 or n < tables.order:
            tables.floats[offset + 1] = backoff if backoff != 0 else -0.0
        if n > 1:
            _mark_suffix(tables, ids[:-1], used)
            if _mark_context(tables, ids[1:]) < 0:
                raise ValueError("the n-gram without its last word is missing")
    if not tables.words[unknown]:
        tables.floats[unknown] = UNKNOWN_PROBABILITY


@compiled
def _split_line(text: Bytes, cursor: Ints, tokens: Ints) -> int:
    """Find where the tokens of the next line that has any start and end; returns their number.

    Those beyond the rows of `tokens` are left out.
    """
    count, place = 0, cursor[0]
    while place < len(text) and (count == 0 or text[place] != LINE_BREAK):
        start = place
        while place < len(text) and not SPACES[text[place]]:
            place += 1
        if place == start:
            place += 1
        elif count < len(tokens):
            tokens[count, 0], tokens[count, 1] = start, place
            count += 1
    cursor[0] = place
    return count


@compiled
def _number(text: Bytes, start: int, end: int) -> float:
    """The value of a decimal number, NaN if it is something else."""
    value, digits, power, point = 0.0, 0, 0.0, False
    for place in range(start, end):
        byte = text[place]
        if 48 <= byte <= 57:
            value = 10 * value + (byte - 48)
            digits += 1
            power -= point
        elif byte == 46 and not point:
            point = True
        elif digits and (byte == 101 or byte == 69):  # e
            power += _number(text, place + 1, end)
            break
        elif place > start or (byte != 43 and byte != 45):
            return np.nan
    value = value * 10.0**power if power > 0 else value / 10.0**-power  # exact wherever it can be
    return (-value if text[start] == 45 else value) if digits else np.nan


@compiled
def _mark_suffix(tables: Tables, ids: Words, used: Ints) -> np.float32:
    """Clear the sign bit of an n-gram, and return its log10 probability; add it if it was pruned.

    A look-up goes from short n-grams to long ones, and would stop before those that end with it.
    """
    found, offset = find(tables, len(ids), _key(ids))
    if not found:
        lower = _mark_suffix(tables, ids[:-1], used)
        context = _mark_context(tables, ids[1:])
        offset = _insert(tables, len(ids), _key(ids), used)
        tables.floats[offset] = lower + tables.floats[context + 1] if context >= 0 else lower
        tables.floats[offset + 1] = -0.0
    probability: np.float32 = -abs(tables.floats[offset])
    tables.floats[offset] = -probability
    return probability


@compiled
def _mark_context(tables: Tables, ids: Words) -> int:
    """Clear the sign bit of an n-gram's back-off if that is 0; returns the offset of the n-gram, or -1."""
    found, offset = find(tables, len(ids), _key(ids))
    if found and tables.floats[offset + 1] == 0:
        tables.floats[offset + 1] = 0.0
    return offset if found else -1


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
        raise OverflowError
    tables.words[offset - 2] = key & np.uint64(0xFFFFFFFF)
    tables.words[offset - 1] = key >> np.uint64(32)
    return offset
