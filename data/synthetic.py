#!/usr/bin/env python3
"""Make a small corpus of synthetic speech: letters, digits, dates and commands, or your own sentences.

espeak-ng synthesises it, without a download. The voices of the test and validation sets do not occur in the
training set, nor do their sentences, unless they are drawn from `--texts`.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from deepspeech import cli
from deepspeech.commands.build_lm import read_texts
from deepspeech.corpora.espeak import RANDOM_TIMBRES, Synthesiser, link_data
from deepspeech.data.manifest import Utterance, write_manifest
from deepspeech.errors import InputError
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, option

SAMPLE_RATE = 16000  # Hz
DEFAULT_SIZES = {"train": 4500, "val": 100, "test": 200}
SPLITS = tuple(DEFAULT_SIZES)

# A voice is an accent and a timbre of espeak-ng. Timbres that differ only by a number are in the same split.
# The training set has random timbres in addition.
ACCENTS = ("en", "en-029", "en-us", "en-us-nyc", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp")
TIMBRES = {
    "train": (
        *"Alex Andrea Andy AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Michael Mike "
        "Nguyen Reed Tweaky adam antonio aunty croak david edward edward2 f1 f2 f3 f5 grandma gustave ian "
        "iven iven2 iven3 iven4 john kaukovalta klatt klatt2 klatt3 klatt4 klatt5 klatt6 m1 m2 m3 m4 m5 "
        "m6 m8 marcelo michel miguel mike2 norbert pablo paul pedro quincy rob sandro shelby steph steph2 "
        "steph3 travis".split(),
        *RANDOM_TIMBRES,
    ),
    "val": "Alicia Annie Mario belinda ed f4 grandpa m7 robert".split(),
    "test": "Storm anika benjamin boris linda max victor zac".split(),
}

EXAMPLES = """\
data/synthetic.py --train 1000 --val 50 --test 100
data/synthetic.py --texts orders.txt --hours 2 --sample-rate 8000 --target-dir data/orders"""


@dataclass(frozen=True)
class SyntheticConfig(Options):
    """Corpus"""

    target_dir: str = option("data/synthetic", "folder of the corpus", metavar="DIR")
    train: int = option(DEFAULT_SIZES["train"], "utterances of the training set", POSITIVE)
    val: int = option(DEFAULT_SIZES["val"], "utterances of the validation set", POSITIVE)
    test: int = option(DEFAULT_SIZES["test"], "utterances of the test set", POSITIVE)
    texts: str | None = option(
        None,
        "speak sentences of this text file, one a line, or of this manifest's transcripts",
        metavar="FILE",
    )
    hours: float | None = option(
        None, "hours of the training set, instead of its number of utterances", POSITIVE, metavar="H"
    )
    sample_rate: int = option(SAMPLE_RATE, "sample rate in Hz", POSITIVE)
    seed: int = option(0, "seed of sentences and voices", NOT_NEGATIVE)


LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = tuple("ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split())
MONTHS = tuple(
    "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER".split()
)
UNITS = DIGITS[1:]
DAYS = (*UNITS, "TWENTY", *(f"TWENTY {unit}" for unit in UNITS), "THIRTY", "THIRTY ONE")


@dataclass(frozen=True)
class Line:
    """One utterance."""

    name: str  # "train_0017"
    voice: str  # "en-us+f3"
    text: str
    speed: int  # words a minute
    pitch: int  # 0 to 99, about the pitch of the voice
    pause: int  # between words, in units of about 10 ms
    level: float  # RMS of the speech, dBFS
    noise: float  # RMS of white noise, dB relative to the speech
    seed: int
    spoken: str = ""  # what the synthesiser is given, where it is not the text

    @property
    def timbre(self) -> str:
        return self.voice.split("+")[1]


def sentence(rng: np.random.Generator) -> str:
    """A random sentence. No two words of the vocabulary sound alike (no TWO and TO)."""

    def some(words: Sequence[str], low: int = 1, high: int = 1) -> str:
        return " ".join(rng.choice(words, size=rng.integers(low, high + 1)))

    kinds: tuple[Callable[[], str], ...] = (
        lambda: some(DIGITS, 3, 6),
        lambda: some(LETTERS, 3, 5),
        lambda: f"{some(MONTHS)} {some(DAYS)}",
        lambda: f"{some(MONTHS)} {some(DAYS)}",  # twice: there are many months
        lambda: f"{some(('ENTER', 'ERASE', 'REPEAT'))} {some(LETTERS + DIGITS, 2, 4)}",
        lambda: f"{some(('START', 'STOP'))} {some(LETTERS)} {some(DIGITS, 1, 3)}",
        lambda: f"TURN {some(('LEFT', 'RIGHT'))} {some(DIGITS, 1, 3)}",
    )
    return kinds[rng.integers(len(kinds))]()


def plan(sizes: dict[str, int], seed: int, sentences: Sequence[str] = ()) -> dict[str, list[Line]]:
    """Choose voices and sentences for each split, without overlap.

    Args:
        sizes: Utterances in each split.
        seed: The same seed gives the same lines.
        sentences: Draw from these, for every split, instead of making new ones.
    """
    lines, taken = {}, set()
    for split in ("test", "val", "train"):
        rng = np.random.default_rng([seed, SPLITS.index(split)])
        voices = [f"{accent}+{timbre}" for timbre in TIMBRES[split] for accent in ACCENTS]
        texts: list[str] = []
        while len(texts) < sizes[split]:
            text = str(rng.choice(sentences)) if sentences else sentence(rng)
            if sentences or text not in taken:
                texts.append(text)
        taken.update(texts)
        lines[split] = [
            Line(
                name=f"{split}_{number:05}",
                voice=str(rng.choice(voices)),
                text=text,
                speed=int(rng.integers(140, 191)),
                pitch=int(rng.integers(30, 71)),
                pause=int(rng.integers(1, 9)),
                level=float(rng.uniform(-35, -20)),
                noise=float(rng.uniform(-45, -20)),
                seed=int(rng.integers(2**31)),
                spoken=with_articles(text) if sentences else "",
            )
            for number, text in enumerate(texts)
        ]
    return {split: lines[split] for split in SPLITS}


def with_articles(text: str) -> str:
    """A sentence with "a" for each "A" that is not spelled: no neighbour is a single letter."""
    words = text.split()
    for place, word in enumerate(words):
        neighbours = words[max(place - 1, 0) : place] + words[place + 1 : place + 2]
        if word == "A" and not any(len(each) == 1 for each in neighbours):
            words[place] = "a"
    return " ".join(words)


def utterances_for(hours: float, sentences: Sequence[str]) -> int:
    """How many utterances last surely more than some hours; of the made sentences if there are no others."""
    rng = np.random.default_rng(0)
    drawn = sentences or [sentence(rng) for _ in range(1000)]
    seconds = np.mean([0.3 + 0.045 * len(text) for text in drawn])  # at the highest speed
    return math.ceil(3600 * hours / seconds)


def record(lines: Sequence[Line], folder: Path, sample_rate: int) -> list[Utterance]:
    """Write the wav and txt files of one timbre."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch, "espeak-ng-data")
        link_data(data, lines[0].timbre)
        return record_with(Synthesiser(data), lines, folder, sample_rate)


def record_with(
    synthesiser: Synthesiser, lines: Sequence[Line], folder: Path, sample_rate: int
) -> list[Utterance]:
    utterances = []
    for line in lines:
        speech = synthesiser.speak(line.spoken or line.text, line.voice, line.speed, line.pitch, line.pause)
        speech = soxr.resample(speech, synthesiser.rate, sample_rate)
        speech /= np.sqrt(np.mean(speech**2))
        hiss = np.random.default_rng(line.seed).normal(scale=10 ** (line.noise / 20), size=len(speech))
        waveform = (speech + hiss) * 10 ** (line.level / 20)
        audio, transcript = folder / "wav" / f"{line.name}.wav", folder / "txt" / f"{line.name}.txt"
        soundfile.write(audio, np.clip(waveform, -1, 1), sample_rate, subtype="PCM_16")
        transcript.write_text(line.text + "\n", encoding="utf-8")
        utterances.append(Utterance(str(audio), str(transcript), len(waveform) / sample_rate))
    return utterances


def make_corpus(
    folder: Path, lines: dict[str, list[Line]], sample_rate: int = SAMPLE_RATE, hours: float | None = None
) -> None:
    """Write the files and a manifest of each split, shortest utterance first.

    Args:
        folder: Of the corpus.
        lines: Of each split.
        sample_rate: Hz.
        hours: Of the training set: what lasts longer is removed.

    Raises:
        InputError: espeak-ng is missing, or a file cannot be written.
    """
    if not importlib.util.find_spec("espeakng_loader"):
        raise InputError("no speech synthesiser; run `pip install espeakng-loader`")
    try:
        for name in ("wav", "txt"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        utterances = record_all(lines, folder, sample_rate)
        if hours:
            utterances = trim(utterances, 3600 * hours)
        utterances.sort(key=lambda utterance: (utterance.duration, utterance.audio_path))
        for split in lines:
            rows = [each for each in utterances if Path(each.audio_path).name.startswith(split)]
            write_manifest(folder / f"{split}_manifest.csv", rows)
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(
            f"{folder}: the corpus cannot be written: {error}; fix it or change --target-dir"
        ) from None


def trim(utterances: list[Utterance], seconds: float) -> list[Utterance]:
    """Remove training utterances, the last ones planned, beyond some seconds."""
    kept = [each for each in utterances if not Path(each.audio_path).name.startswith("train")]
    for each in sorted((each for each in utterances if each not in kept), key=lambda each: each.audio_path):
        if seconds > 0:
            kept.append(each)
            seconds -= each.duration or 0
        else:
            Path(each.audio_path).unlink()
            Path(each.transcript_path).unlink()
    return kept


def record_all(lines: dict[str, list[Line]], folder: Path, sample_rate: int) -> list[Utterance]:
    """Synthesise all lines, on all cores.

    espeak-ng is not thread safe, and its output depends slightly on what it spoke before. With a process
    for every timbre the same lines always give the same files.
    """
    timbres: dict[str, list[Line]] = {}
    for line in itertools.chain(*lines.values()):
        timbres.setdefault(line.timbre, []).append(line)
    utterances = []
    with (
        multiprocessing.get_context("fork").Pool(maxtasksperchild=1) as pool,
        tqdm(total=sum(map(len, lines.values())), desc="Speaking", unit="utterance") as bar,
    ):
        for spoken in pool.imap_unordered(
            partial(record, folder=folder, sample_rate=sample_rate), timbres.values()
        ):
            utterances += spoken
            bar.update(len(spoken))
    return utterances


def main(argv: Sequence[str] | None = None) -> int:
    config = cli.parse(argv, __doc__, SyntheticConfig, examples=EXAMPLES).make(SyntheticConfig)
    sentences = (
        [each for text in read_texts([config.texts]) if (each := text.strip())] if config.texts else []
    )
    if config.texts and not sentences:
        raise InputError(f"--texts {config.texts}: no sentences; give one a line")
    sizes = {split: getattr(config, split) for split in SPLITS}
    if config.hours:
        sizes["train"] = utterances_for(config.hours, sentences)
    lines = plan(sizes, config.seed, sentences)
    make_corpus(Path(config.target_dir), lines, config.sample_rate, config.hours)
    return 0


if __name__ == "__main__":
    cli.run(main)
