#!/usr/bin/env python3
"""Decoding and scoring, ours beside the bare parts: 1000 frames x 29 labels, one thread.

The log-probabilities are random and peaky, or like a trained network's, which spell sentences with
some letters in doubt; the language model is a random 3-gram. Of several measurements the shortest counts,
ours and the reference taken in turns. Beam search is compared with flashlight-text where it is installed.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.language_model import LanguageModel
from deepspeech.beam_search.ngram import NGramModel
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.evaluation.metrics import char_errors, word_errors
from deepspeech.labels import Labels

try:
    from flashlight.lib.text import decoder as flashlight
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary
except ImportError:  # no wheels for every version of Python
    flashlight = None

LABELS = Labels(["_", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", " "])
SHARPNESSES = 2.0, 5.0  # standard deviation of the logits
ROW = "| {:<52} | {:>9} | {:>13} | {:>6} | {:>7} | {} |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="exit 1 where a bar is missed")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(ROW.format("", "ours, ms", "reference, ms", "ratio", "bar", ""))
    print("|---|---|---|---|---|---|")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, ours, reference, at_least, bar in rows(arguments.frames, Path(folder)):
            times = [(seconds(ours), seconds(reference)) for _ in range(arguments.repeats)]
            best, other = (1000 * min(column) for column in zip(*times, strict=True))
            ratio = other / best if at_least else best / other
            held = ratio >= bar if at_least else ratio <= bar
            missed += not held
            limit = f"{'>=' if at_least else '<='} {bar:g}"
            verdict = "" if held else "missed"
            print(ROW.format(name, f"{best:.1f}", f"{other:.1f}", f"{ratio:.2f}", limit, verdict), flush=True)
        missed += loading(Path(folder), arguments.repeats)
    return int(arguments.check and missed > 0)


Row = tuple[str, Callable[[], object], Callable[[], object], bool, float]


def rows(frames: int, folder: Path) -> Iterator[Row]:
    """Name, ours, reference, whether the ratio says how many times faster ours is, and its bar."""
    words, trios = write_language_model(folder / "lm.arpa", 10_000, 20_000, 20_000)
    config = DecoderConfig(decoder="beam", beam_width=100, lm_path=str(folder / "lm.arpa"))
    model = LanguageModel(folder / "lm.arpa", LABELS)
    free = BeamCTCDecoder(LABELS, replace(config, lm_path=None))
    closed = BeamCTCDecoder(LABELS, config, model)
    hot = ",".join(f"{word}:4" for word in words[:: len(words) // 20]) + ",HELLO WORLD:5"
    others = {
        "open vocabulary": BeamCTCDecoder(LABELS, replace(config, lm_open=True), model),
        "hot words": BeamCTCDecoder(LABELS, replace(config, hot_words=hot), model),
    }
    batches = {f"sharpness {each:g}": log_probabilities(32, each, frames) for each in SHARPNESSES}
    batches["trained"] = torch.stack([trained(seed, trios, frames) for seed in range(32)])
    for decoder in (free, closed, *others.values()):  # compiles
        decoder.decode_one(batches["trained"][0].numpy())
    if flashlight:
        engines = free_engine(), lexicon_engine(folder / "lm.arpa", words, config)
    for name, batch in batches.items():
        one = np.ascontiguousarray(batch[0].numpy())
        if name != "trained":
            yield greedy(batch, name)
        if flashlight:
            bars = 10, 5 if name == "trained" else 2
            for kind, ours, engine, bar in zip(
                ("no LM", "3-gram"), (free, closed), engines, bars, strict=True
            ):
                title = f"beam 100, {kind}, {name}: flashlight"
                yield title, lambda: ours.decode_one(one), lambda: engine(one), True, bar  # noqa: B023
        for kind, other in others.items():
            title = f"beam 100, {kind}, {name}: closed"
            yield title, lambda: other.decode_one(one), lambda: closed.decode_one(one), False, 1.5  # noqa: B023
        yield threads(config, model, batch[:16], name)
    pairs = sentences()
    yield scoring("WER", word_errors, str.split, pairs)
    yield scoring("CER", char_errors, lambda text: text.replace(" ", ""), pairs)


def greedy(batch: Tensor, name: str) -> Row:
    """Greedy decoding against a loop."""
    decoder, lengths = GreedyDecoder(LABELS), torch.full((len(batch),), batch.shape[1])
    title = f"greedy, batch of 32, {name}: frame by frame"
    return title, lambda: decoder.decode(batch, lengths), lambda: frame_by_frame(batch), True, 20


def threads(config: DecoderConfig, model: LanguageModel, batch: Tensor, name: str) -> Row:
    """Two threads against one."""
    lengths = torch.full((len(batch),), batch.shape[1])
    one, two = (BeamCTCDecoder(LABELS, replace(config, lm_workers=count), model) for count in (1, 2))
    title = f"{len(batch)} utterances, 2 threads, {name}: 1 thread"
    return title, lambda: two.decode(batch, lengths), lambda: one.decode(batch, lengths), True, 1.8


def free_engine() -> Callable[[np.ndarray], object]:
    """The decoder of flashlight-text without a language model."""
    options = flashlight.LexiconFreeDecoderOptions(lm_weight=0, **ENGINE)
    model = flashlight.ZeroLM()

    def decode(emissions: np.ndarray) -> object:
        decoder = flashlight.LexiconFreeDecoder(options, model, LABELS.blank, LABELS.blank, [])
        return decoder.decode(emissions.ctypes.data, *emissions.shape)

    return decode


def lexicon_engine(path: Path, words: list[str], config: DecoderConfig) -> Callable[[np.ndarray], object]:
    """The decoder of flashlight-text with a word model."""
    model, space = KenLM(str(path), Dictionary([*words, "<unk>"])), LABELS.index(" ")
    trie, start = flashlight.Trie(len(LABELS), space), model.start(False)
    for index, word in enumerate(words):
        trie.insert([*LABELS.encode(word), space], index, model.score(start, index)[1])
    trie.smear(flashlight.SmearingMode.MAX)
    options = flashlight.LexiconDecoderOptions(
        lm_weight=config.alpha * math.log(10), word_score=config.beta, unk_score=-math.inf, **ENGINE
    )

    def decode(emissions: np.ndarray) -> object:
        decoder = flashlight.LexiconDecoder(options, trie, model, space, LABELS.blank, len(words), [], False)
        return decoder.decode(emissions.ctypes.data, *emissions.shape)

    return decode


ENGINE = (
    {
        "beam_size": 100,
        "beam_size_token": len(LABELS),
        "beam_threshold": 1e9,
        "sil_score": 0,
        "log_add": True,
        "criterion_type": flashlight.CriterionType.CTC,
    }
    if flashlight
    else {}
)


def loading(folder: Path, repeats: int) -> int:
    """Print how long a model of a million n-grams takes to load; returns how many bars are missed."""
    path, binary, missed = folder / "million.arpa", folder / "million.bin", 0
    write_language_model(path, 100_000, 400_000, 500_000)
    binary.write_bytes(NGramModel.open(path).image)
    for name, file, bar in (("ARPA", path, 3), ("binary", binary, 0.2)):
        best = min(seconds(lambda: NGramModel.open(file)) for _ in range(repeats))  # noqa: B023
        missed += best > bar
        verdict = "missed" if best > bar else ""
        limit = f"<= {1000 * bar:g}"
        print(ROW.format(f"load a million n-grams, {name}", f"{1000 * best:.1f}", "", "", limit, verdict))
    return missed


def scoring(name: str, ours: Callable, split: Callable, pairs: list[tuple[str, str]]) -> Row:
    """Error counts against the bare edits, of which they are the counts."""
    return (
        f"{name} of 1000 pairs of 30 words: rapidfuzz",
        lambda: [ours(*pair) for pair in pairs],
        lambda: [Levenshtein.editops(split(first), split(second)) for first, second in pairs],
        False,
        2,
    )


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def log_probabilities(batch: int, sharpness: float, frames: int) -> Tensor:
    logits = torch.randn(batch, frames, len(LABELS), generator=torch.Generator().manual_seed(0)) * sharpness
    logits[:, :, LABELS.blank] += sharpness
    return logits.log_softmax(2)


def trained(seed: int, trios: list[tuple[str, ...]], frames: int) -> Tensor:
    """Log-probabilities (frames, labels) that spell the model's sentences, with letters in doubt."""
    random = np.random.default_rng(seed)
    logits, place, ids = random.normal(0, 1, (frames, len(LABELS))), 2, []
    logits[:, LABELS.blank] += 11
    while place < frames - 1:
        ids = ids or [*LABELS.encode(" ".join(trios[random.integers(len(trios))])), LABELS.index(" ")]
        label = ids.pop(0)
        logits[place, label] += 14 - random.uniform(0, 5) * (random.random() < 0.12)
        if random.random() < 0.12:
            logits[place, random.integers(1, len(LABELS))] += random.normal(13, 2)
        if random.random() < 0.3:
            logits[place + 1, label] += random.normal(11, 1)
        place += int(random.integers(3, 6))
    return torch.from_numpy(logits).float().log_softmax(1)


def frame_by_frame(batch: Tensor) -> list[str]:
    """Greedy decoding as a Python loop."""
    texts = []
    for utterance in batch:
        previous, text = LABELS.blank, ""
        for frame in utterance:
            label = frame.argmax().item()
            if label not in (previous, LABELS.blank):
                text += LABELS[label]
            previous = label
        texts.append(text)
    return texts


def random_words(count: int, random: np.random.Generator) -> list[str]:
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    words: set[str] = set()
    while len(words) < count:
        words.add("".join(random.choice(letters, random.integers(1, 9))))
    return sorted(words)


def write_language_model(
    path: Path, words: int, pairs: int, trios: int
) -> tuple[list[str], list[tuple[str, ...]]]:
    """A random 3-gram; returns its words and 3-grams."""
    random = np.random.default_rng(0)
    names = random_words(words, random)
    # 3-grams along a walk over the words, so that all parts of one are there, too
    walk = random.integers(0, words, trios + 2).tolist()
    threes = sorted({(walk[place], walk[place + 1], walk[place + 2]) for place in range(trios)})
    twos = set(pairwise(walk))
    while len(twos) < pairs:
        twos.add((int(random.integers(words)), int(random.integers(words))))

    def entries(grams: list[tuple[int, ...]], low: float, high: float, back_off: bool) -> list[str]:
        scores = random.uniform(low, high, len(grams)).tolist()
        weights = random.uniform(0.1, 0.6, len(grams)).tolist()
        return [
            f"{-score:.3f}\t{' '.join(map(names.__getitem__, gram))}" + f"\t{-weight:.3f}" * back_off
            for gram, score, weight in zip(grams, scores, weights, strict=True)
        ]

    lines = ["\\data\\", f"ngram 1={words + 3}", f"ngram 2={len(twos)}", f"ngram 3={len(threes)}", ""]
    lines += ["\\1-grams:", "-5\t<unk>\t0", "-99\t<s>\t-0.3", "-2\t</s>\t0"]
    lines += [*entries([(word,) for word in range(words)], 3, 5, True), "", "\\2-grams:"]
    lines += [*entries(sorted(twos), 0.5, 3, True), "", "\\3-grams:", *entries(threes, 0.2, 2, False)]
    path.write_text("\n".join([*lines, "", "\\end\\", ""]))
    return names, [tuple(map(names.__getitem__, trio)) for trio in threes]


def sentences() -> list[tuple[str, str]]:
    """References of 30 words, and hypotheses with an error in every sixth word or so."""
    random = np.random.default_rng(1)
    words = random_words(500, random)
    pairs = []
    for _ in range(1000):
        reference = random.choice(words, 30).tolist()
        wrong = [word if random.random() > 0.15 else str(random.choice(words)) for word in reference]
        pairs.append((" ".join(reference), " ".join(word for word in wrong if random.random() > 0.03)))
    return pairs


if __name__ == "__main__":
    raise SystemExit(main())
