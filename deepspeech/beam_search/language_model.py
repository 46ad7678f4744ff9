"""KenLM language models: their words, spelled in the labels of a network."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from deepspeech import log
from deepspeech.errors import InputError
from deepspeech.labels import Labels, UnknownCharacters

SPACE = "|"  # how a character language model writes the space between words
UNKNOWN = "<unk>"
MARKS = {UNKNOWN, "<UNK>", "<s>", "</s>"}
BINARY = b"mmap lm http://kheafield.com/code"  # how a binary file of KenLM begins
LN10 = math.log(10)  # KenLM counts in powers of ten, we in natural logarithms


class LanguageModel:
    """An n-gram model over words or characters, and how its tokens are spelled.

    Args:
        path: ARPA file or KenLM binary.
        labels: What the network writes.
        unit: "word" or "character". The tokens of a character model are single labels, with
            `|` for the space.

    Raises:
        InputError: No such file, not a language model, or one whose words the labels cannot
            spell; or the engine is not installed.
    """

    def __init__(self, path: str | Path, labels: Labels, unit: str = "word") -> None:
        self.path, self.unit = path, unit
        found = vocabulary(path)
        if unit == "word":
            if " " not in labels:
                raise InputError(
                    f"--lm-path {path}: a word language model needs a space in the labels; "
                    "pass --lm-unit character with a character model"
                )
            self.spellings = spell(path, found, labels)
            self.tokens = list(self.spellings)
        else:
            # The engine passes label indices on: token i must be label i (the blank never comes)
            self.tokens = [SPACE if label == " " else label for label in labels]
            self.spellings = {}
            _check_characters(path, found, self.tokens, labels)
        self.unknown = len(self.tokens)
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self.ids |= {labels.decode(spelling): self.ids[word] for word, spelling in self.spellings.items()}
        self.model = _load(path, [*self.tokens, UNKNOWN])

    def start(self) -> Any:
        """The state at the begin of a sentence."""
        return self.model.start(False)

    def score(self, state: Any, token: int) -> tuple[Any, float]:
        """The state after a token, and the token's log-probability."""
        state, log10 = self.model.score(state, token)
        return state, log10 * LN10

    def finish(self, state: Any) -> float:
        """Log-probability that the sentence ends here."""
        return self.model.finish(state)[1] * LN10


def vocabulary(path: str | Path) -> list[str]:
    """The tokens of a language model file, without `<s>`, `</s>` and `<unk>`.

    Raises:
        InputError: The file is missing, or neither ARPA nor a KenLM binary with a vocabulary.
    """
    try:
        with open(path, "rb") as file:
            binary = file.read(len(BINARY)) == BINARY
            file.seek(0)
            words = list(_binary_words(file) if binary else _arpa_words(file))
    except OSError as error:
        raise InputError(f"--lm-path {path}: cannot read: {error.strerror}; correct the path") from None
    except UnicodeDecodeError:
        raise InputError(f"--lm-path {path}: its words are not UTF-8; build it from UTF-8 text") from None
    words = [word for word in words if word not in MARKS]
    if not words:
        raise InputError(
            f"--lm-path {path}: not a language model: neither an ARPA file nor a KenLM binary with words; "
            "build one with data/build_lm.py"
        )
    return words


def _arpa_words(file: BinaryIO) -> Iterator[str]:
    lines = (line.strip() for line in file)
    if next(filter(None, lines), b"") != b"\\data\\":
        return
    for line in lines:
        if line == b"\\1-grams:":
            break
    for line in lines:
        if not line or line.startswith(b"\\"):
            break
        if len(fields := line.split()) > 1:
            yield fields[1].decode()


def _binary_words(file: BinaryIO) -> Iterator[str]:
    """KenLM appends the words to its tables, each ended by a zero byte, `<unk>` first."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.rfind(UNKNOWN.encode() + b"\0")
        words = content[start:].split(b"\0")[:-1] if start >= 0 else []
    yield from (word.decode() for word in words)


def spell(path: str | Path, words: Iterable[str], labels: Labels) -> dict[str, list[int]]:
    """Label indices of every word that the labels can write; says how many they cannot.

    Raises:
        InputError: None can be written, or more could in another letter case.
    """
    spellings, strange = {}, []
    for word in words:
        try:
            spellings[word] = labels.encode(word)
        except UnknownCharacters:
            strange.append(word)
    total = len(spellings) + len(strange)
    for case in ("upper", "lower"):
        others = sum(_fits(labels, getattr(word, case)()) for word in strange)
        if others > len(spellings):
            raise InputError(
                f"--lm-path {path}: written in another letter case than the labels: {len(spellings)} of "
                f"{total} words can be spelled, {len(spellings) + others} in {case} case; "
                f"build it from {case}-case text"
            )
    if not spellings:
        raise InputError(
            f"--lm-path {path}: none of its {total} words can be spelled with the labels, "
            f"the first is {strange[0]!r}; take a model of words (or pass --lm-unit character)"
        )
    if strange:
        shown = ", ".join(map(repr, strange[:5]))
        log.warning(f"{path}: {len(strange)} of {total} words cannot be spelled with the labels: {shown}")
    return spellings


def _check_characters(path: str | Path, found: Sequence[str], tokens: Sequence[str], labels: Labels) -> None:
    known = set(found)
    missing = [token for index, token in enumerate(tokens) if token not in known and index != labels.blank]
    others = [token for token in missing if token.swapcase() in known]
    spelled = len(tokens) - 1 - len(missing)
    if len(others) > spelled or not spelled:
        reason = "written in another letter case than the labels" if others else "not of characters"
        raise InputError(
            f"--lm-path {path}: {reason}: it knows {spelled} of {len(tokens) - 1} labels; build it from text "
            "as the labels write it with data/build_lm.py --unit character"
        )
    if missing:
        log.warning(f"{path}: does not know the labels {' '.join(missing)}")


def _fits(labels: Labels, word: str) -> bool:
    try:
        return bool(labels.encode(word))
    except UnknownCharacters:
        return False


def _load(path: str | Path, tokens: Sequence[str]) -> Any:
    engine()
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    try:
        with _silence():
            return KenLM(str(path), Dictionary(list(tokens)))
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rpartition("Exception. ")[2][:200]
        raise InputError(f"--lm-path {path}: damaged language model: {reason}; build it again") from None


def engine() -> Any:
    """The module `flashlight.lib.text.decoder`.

    Raises:
        InputError: It is not installed.
    """
    try:
        from flashlight.lib.text import decoder
    except ImportError:
        raise InputError(
            "--decoder beam: the package flashlight-text is missing; pip install flashlight-text"
        ) from None
    return decoder


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the progress bar off the screen that KenLM draws by itself."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
