"""KenLM's probing hash tables, binary format version 5: their layout, and look-ups in them.

The method is that of https://aclanthology.org/W11-2123 (Heafield, 2011). A file is little-endian:

    bytes       content
    88          magic text, and values that look different on other machines
    20          order, multiplier of the tables' sizes, kind of model, words stored or not, version
    8 an order  number of n-grams; padded to a multiple of 8
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
VOCABULARY = cast(int, np.int64(0))  # its table, others have their order; not a literal: compiled once
MURMUR = np.uint64(0xC6A4A7935BD1E995)
COMBINE_CONTEXT = np.uint64(8978948897894561157)
COMBINE_WORD = np.uint64(17894857484156487943)


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


def header(counts: Sequence[int], multiplier: float) -> bytes:
    """The first bytes of a file; `counts` are the numbers of n-grams by order."""
    order = len(counts)
    parameters = PARAMETERS.pack(order, multiplier, 0, True, 0)
    content = SANITY + parameters + struct.pack(f"<{order}Q", *counts)
    return content.ljust(-(-len(content) // 8) * 8, b"\0")


def layout(counts: Sequence[int], multiplier: float) -> tuple[list[int], list[int], int]:
    """Offsets (in words of four bytes) and buckets of the tables, and the bytes up to their end."""
    probed = [max(count + 1, int(np.float32(multiplier) * np.float32(count))) for count in counts]
    buckets = [probed[0], counts[0] + 1, *probed[1:]]
    strides = [3, 2, *[4] * (len(counts) - 2), 3]
    offsets = [len(header(counts, multiplier)) // 4 + 2]
    for bucket, stride in zip(buckets, strides, strict=False):
        offsets.append(offsets[-1] + bucket * stride)
    return offsets[:-1], buckets, 4 * offsets[-1]


def view(image: Bytes, counts: Sequence[int], multiplier: float) -> Tables:
    """The tables in the content of a file, without copying."""
    offsets, buckets, size = layout(counts, multiplier)
    words = image[:size].view(np.uint32)
    tables = Tables(
        len(counts), 0, 0, words, words.view(np.float32), np.array(offsets), np.array(buckets, np.uint64)
    )
    start, end = (word_id(tables, np.frombuffer(word, np.uint8)) for word in (b"<s>", b"</s>"))
    return tables._replace(sentence_start=int(start), sentence_end=int(end))


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
    """Whether a table has a key, and the offset of its entry, or of the empty entry where it belongs.

    The offset is -1 if the table is full.
    """
    stride = 3 if table == VOCABULARY or table == tables.order else 4
    base, buckets = tables.offsets[table], tables.buckets[table]
    bucket = key % buckets
    low, high = np.uint32(key & np.uint64(0xFFFFFFFF)), np.uint32(key >> np.uint64(32))
    for _ in range(buckets):
        offset = base + stride * np.int64(bucket)
        found_low, found_high = tables.words[offset], tables.words[offset + 1]
        if found_low == low and found_high == high:
            return True, offset
        if found_low == 0 and found_high == 0:
            return False, offset
        bucket += np.uint64(1)
        if bucket == buckets:
            bucket = np.uint64(0)
    return False, -1


@compiled
def word_id(tables: Tables, text: Bytes) -> np.uint32:
    """The id of a word in UTF-8, 0 if it is unknown."""
    found, offset = find(tables, VOCABULARY, word_hash(text))
    word = tables.words[offset + 2] if found else np.uint32(0)
    return word if word < tables.buckets[1] else np.uint32(0)  # a damaged file must not lead outside
