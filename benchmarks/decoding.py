#!/usr/bin/env python3
"""Decoding and scoring, ours beside the bare parts: 1000 frames x 29 labels, one thread.

The log-probabilities are random and peaky, the blank most of all; the language model is a random
2-gram. Of several measurements the shortest counts, ours and the reference taken in turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.language_model import LanguageModel
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.evaluation.metrics import char_errors, word_errors
from deepspeech.labels import Labels

LABELS = Labels(["_", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", " "])
SHARPNESSES = 2.0, 5.0  # standard deviation of the logits
ROW = "| {:<44} | {:>9} | {:>13} | {:>6} | {:>7} | {} |"


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
        model = LanguageModel(write_language_model(Path(folder) / "lm.arpa"), LABELS)
        for name, ours, reference, at_least, bar in rows(arguments.frames, model):
            times = [(seconds(ours), seconds(reference)) for _ in range(arguments.repeats)]
            best, other = (1000 * min(column) for column in zip(*times, strict=True))
            ratio = other / best if at_least else best / other
            held = ratio >= bar if at_least else ratio <= bar
            missed += not held
            limit = f"{'>=' if at_least else '<='} {bar:g}"
            verdict = "" if held else "missed"
            print(ROW.format(name, f"{best:.1f}", f"{other:.1f}", f"{ratio:.2f}", limit, verdict), flush=True)
    return int(arguments.check and missed > 0)


Row = tuple[str, Callable[[], object], Callable[[], object], bool, float]


def rows(frames: int, model: LanguageModel) -> Iterator[Row]:
    """Name, ours, reference, whether the ratio says how many times faster ours is, and its bar."""
    config = DecoderConfig(decoder="beam", beam_width=100, lm_path="random")
    one = BeamCTCDecoder(LABELS, config, model)
    two = BeamCTCDecoder(LABELS, replace(config, lm_workers=2), model)
    two.decode(log_probabilities(2, 2, 10), torch.full((2,), 10))  # starts the processes
    for sharpness in SHARPNESSES:
        yield from decoding(one, two, log_probabilities(32, sharpness, frames), f"sharpness {sharpness:g}")
    pairs = sentences()
    yield scoring("WER", word_errors, str.split, pairs)
    yield scoring("CER", char_errors, lambda text: text.replace(" ", ""), pairs)


def decoding(one: BeamCTCDecoder, two: BeamCTCDecoder, batch: Tensor, name: str) -> list[Row]:
    """Greedy against a loop, beam search against its engine, two workers against one."""
    greedy, lengths = GreedyDecoder(LABELS), torch.full((len(batch),), batch.shape[1])
    emissions = np.ascontiguousarray(batch[0].numpy())

    def bare_engine() -> object:
        return one.stream().decoder.decode(emissions.ctypes.data, *emissions.shape)

    def ours(decoder: BeamCTCDecoder, count: int) -> Callable[[], object]:
        return lambda: decoder.decode(batch[:count], lengths[:count])

    return [
        (
            f"greedy, batch of 32, {name}: frame by frame",
            lambda: greedy.decode(batch, lengths),
            lambda: frame_by_frame(batch),
            True,
            20,
        ),
        (f"beam 100, word LM, {name}: bare engine", ours(one, 1), bare_engine, False, 1.3),
        (f"16 utterances, 2 workers, {name}: 1 worker", ours(two, 16), ours(one, 16), True, 1.7),
    ]


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
    return sorted({"".join(random.choice(letters, random.integers(1, 9))) for _ in range(count)})


def write_language_model(path: Path) -> Path:
    """A 2-gram over 10,000 random words."""
    random = np.random.default_rng(0)
    words = random_words(10_000, random)
    pairs = sorted({tuple(pair) for pair in random.choice(words, (20_000, 2)).tolist()})
    lines = ["\\data\\", f"ngram 1={len(words) + 3}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    lines += ["-5\t<unk>", "-99\t<s>\t-0.3", "-2\t</s>"]
    lines += [f"{-random.uniform(3, 5):.3f}\t{word}\t-0.3" for word in words]
    lines += ["", "\\2-grams:"]
    lines += [f"{-random.uniform(0.5, 3):.3f}\t{' '.join(pair)}" for pair in pairs]
    path.write_text("\n".join([*lines, "", "\\end\\", ""]))
    return path


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
