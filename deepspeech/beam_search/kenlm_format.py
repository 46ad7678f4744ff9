"""KenLM's probing hash tables, binary format version 5: layout, look-ups and scores.

The method is that of https://aclanthology.org/W11-2123 (Heafield, 2011). A file is little-endian:

    bytes       content
    88          magic text, and values that look different on other machines
    20          order, multiplier of the tables' sizes, kind of model, words stored or not, version
    8 an order  number of n-grams
    4           padding
    8           version of the vocabulary, number of words
    12 each     vocabulary: hash of the word, id
    8 each      unigrams by id: log10 probability, back-off; one more than counted
    16 each     n-grams of each middle order: hash, log10 probability, back-off
    12 each     n-grams of the highest order: hash, log10 probability
    the rest    words in the order of their ids, each ended by a zero byte, `<unk>` first

An empty entry has the hash 0. The sign bit of a probability is cleared if a longer n-gram ends with
this one; a back-off is -0.0 if no longer n-gram starts with this one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from deepspeech.beam_search.compiled import compiled

Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint32]

MAGIC = b"mmap lm http://kheafield.com/code"
SANITY = (MAGIC + b" format version 5\n").ljust(56, b"\0")
SANITY += struct.pack("<fffIIIQ", 0, 1, -0.5, 1, 2**32 - 1, 0, 1)
PARAMETERS = struct.Struct("<B3xfI?3xI")
MAX_ORDER = 6
HEADER = len(SANITY) + PARAMETERS.size
UNKNOWN = b"<unk>\0"
VOCABULARY = cast(int, np.int64(0))  # its table, others have their order; not a literal: compiled once
MURMUR = np.uint64(0xC6A4A7935BD1E995)
COMBINE_CONTEXT = np.uint64(8978948897894561157)
COMBINE_WORD = np.uint64(17894857484156487943)
CONTEXT = MAX_ORDER - 1  # words that a state can hold
STATE = 1 + 2 * CONTEXT  # size of a state
SIGN = np.uint32(1 << 31)


class Tables(NamedTuple):
    """A model as compiled functions take it.

    `offsets` (in `words`) and `buckets` are those of the vocabulary, the unigrams (found by id,
    without probing), and the n-grams of each higher order.
    """

    order: int
    sentence_start: int  # id of <s>
    sentence_end: int  # id of </s>
    words: Words  # the file up to the end of the tables
    floats: NDArray[np.float32]  # the same memory
    offsets: Ints
    buckets: NDArray[np.uint64]


def layout(counts: Sequence[int], multiplier: float) -> tuple[list[int], list[int]]:
    """Offsets (in words of four bytes) of the tables and of their end, and the tables' buckets.

    `counts` are the numbers of n-grams by order.
    """
    probed = [max(count + 1, int(np.float32(multiplier) * np.float32(count))) for count in counts]
    buckets = [probed[0], counts[0] + 1, *probed[1:]]
    offsets = [(HEADER + 8 * len(counts) + 12) // 4]
    for bucket, stride in zip(buckets, [3, 2, *[4] * (len(counts) - 2), 3], strict=False):
        offsets.append(offsets[-1] + bucket * stride)
    return offsets, buckets


def allocate(counts: Sequence[int], multiplier: float, room: int) -> Bytes:
    """The content of a file with empty tables and one word, `<unk>`, and zeros where the others have room."""
    end = 4 * layout(counts, multiplier)[0][-1]
    image = np.zeros(end + len(UNKNOWN) + room, np.uint8)
    parameters = PARAMETERS.pack(len(counts), multiplier, 0, True, 0)
    header = SANITY + parameters + struct.pack(f"<{len(counts)}QIII", *counts, 0, 0, counts[0])
    for start, content in ((0, header), (end, UNKNOWN)):
        image[start : start + len(content)] = np.frombuffer(content, np.uint8)
    return image


def view(image: Bytes) -> Tables:
    """The tables in the content of a file, without copying.

    Raises:
        ValueError: It is of another kind, or damaged.
    """
    header = image[: HEADER + 8 * MAX_ORDER].tobytes().ljust(HEADER + 8 * MAX_ORDER, b"\0")
    if not header.startswith(SANITY):
        version = header[len(MAGIC) :].split(b"\n")[0].decode(errors="replace").strip()
        raise ValueError(f"a KenLM binary of {version!r}, or damaged; it must be of little-endian version 5")
    order, multiplier, kind, has_words, version = PARAMETERS.unpack_from(header, len(SANITY))
    counts = struct.unpack_from(f"<{min(order, MAX_ORDER)}Q", header, HEADER)
    if kind or version:
        raise ValueError(f"a KenLM binary of kind {kind}.{version}: a trie, quantised, or with rest costs")
    if not (1 <= order <= MAX_ORDER and 1 <= multiplier < 1000 and all(0 < n < len(image) for n in counts)):
        raise ValueError(f"KenLM binary of order {order} (2 to {MAX_ORDER} can be) with {counts} n-grams")
    offsets, buckets = layout(counts, multiplier)
    end = 4 * offsets[-1]
    if len(image) < end + has_words * len(UNKNOWN):
        raise ValueError(f"truncated KenLM binary: {len(image)} bytes are too few for {counts} n-grams")
    words = image[:end].view(np.uint32)
    known = int(words[offsets[0] - 1])
    if known - counts[0] not in (0, 1) or image[end:][: len(UNKNOWN)].tobytes() != has_words * UNKNOWN:
        raise ValueError(f"damaged KenLM binary: its {known} words are not where they belong")
    arrays = words, words.view(np.float32), np.array(offsets[:-1]), np.array(buckets, np.uint64)
    tables = Tables(order, 0, 0, *arrays)
    start, end = (int(word_id(tables, np.frombuffer(word, np.uint8))) for word in (b"<s>", b"</s>"))
    return tables._replace(sentence_start=start, sentence_end=end)


@compiled
def word_hash(text: Bytes) -> np.uint64:
    """MurmurHash64A, by Austin Appleby, with seed 0."""
    size = len(text)
    state = np.uint64(size) * MURMUR
    for start in range(0, size, 8):
        block = np.uint64(0)
        for index in range(min(8, size - start)):
            block |= np.uint64(text[start + index]) << np.uint64(8 * index)
        if size - start >= 8:
            block *= MURMUR
            block ^= block >> np.uint64(47)
            block *= MURMUR
        state = (state ^ block) * MURMUR
    state ^= state >> np.uint64(47)
    state *= MURMUR
    return state ^ (state >> np.uint64(47))


@compiled
def extend_hash(key: np.uint64, word: np.uint32) -> np.uint64:
    """Hash of an n-gram, from the hash of all but its first word (a word's is its id) and that word."""
    return (key * COMBINE_CONTEXT) ^ ((np.uint64(word) + np.uint64(1)) * COMBINE_WORD)


@compiled
def find(tables: Tables, table: int, key: np.uint64) -> tuple[bool, int]:
    """Whether a table has a key, and the offset of its value, or of the empty one where it belongs.

    The offset is -1 if the table is full.
    """
    base, buckets = tables.offsets[table], tables.buckets[table]
    if table == 1:
        return True, base + 2 * np.int64(key)
    stride = 3 if table == VOCABULARY or table == tables.order else 4
    bucket = key % buckets
    for _ in range(buckets):
        offset = base + stride * np.int64(bucket)
        entry = np.uint64(tables.words[offset]) | np.uint64(tables.words[offset + 1]) << np.uint64(32)
        if entry == key or entry == 0:
            return entry == key, offset + 2
        bucket += np.uint64(1)
        if bucket == buckets:
            bucket = np.uint64(0)
    return False, -1


@compiled
def word_id(tables: Tables, text: Bytes) -> np.uint32:
    """The id of a word in UTF-8, 0 if it is unknown."""
    found, offset = find(tables, VOCABULARY, word_hash(text))
    word = tables.words[offset] if found else np.uint32(0)
    return word if word < tables.buckets[1] else np.uint32(0)  # a damaged file must not lead outside


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
        matched, offset = matched + 1, entry
    total = -np.float64(abs(tables.floats[offset]))
    for words in range(matched, length + 1):
        total += np.float64(np.uint32(state[CONTEXT + words]).view(np.float32))
    state_out[0] = kept
    state_out[1 + CONTEXT + kept :] = 0
    for index in range(kept):
        state_out[1 + index] = state[index] if index else word
    return total
