#!/usr/bin/env python3
"""Make a small corpus of synthetic speech: spelled letters, digits, dates and short commands.

espeak-ng synthesises it, without a download. The voices and sentences of the test and validation sets do not
occur in the training set.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
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
from deepspeech.data.manifest import Utterance, write_manifest
from deepspeech.errors import InputError
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, option

SAMPLE_RATE = 16000  # Hz
DEFAULT_SIZES = {"train": 4500, "val": 100, "test": 200}
SPLITS = tuple(DEFAULT_SIZES)

# A voice is an accent and a timbre of espeak-ng. Timbres that differ only by a number are in the same split.
# The training set has random timbres in addition.
ACCENTS = ("en", "en-029", "en-us", "en-us-nyc", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp")
RANDOM_TIMBRES = tuple(f"random{number}" for number in range(450))
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

EXAMPLES = "data/synthetic.py --train 1000 --val 50 --test 100"


@dataclass(frozen=True)
class SyntheticConfig(Options):
    """Corpus"""

    target_dir: str = option("data/synthetic", "folder of the corpus", metavar="DIR")
    train: int = option(DEFAULT_SIZES["train"], "utterances of the training set", POSITIVE)
    val: int = option(DEFAULT_SIZES["val"], "utterances of the validation set", POSITIVE)
    test: int = option(DEFAULT_SIZES["test"], "utterances of the test set", POSITIVE)
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


def plan(sizes: dict[str, int], seed: int) -> dict[str, list[Line]]:
    """Choose voices and sentences for each split, without overlap.

    Args:
        sizes: Utterances in each split.
        seed: The same seed gives the same lines.
    """
    lines, taken = {}, set()
    for split in ("test", "val", "train"):
        rng = np.random.default_rng([seed, SPLITS.index(split)])
        voices = [f"{accent}+{timbre}" for timbre in TIMBRES[split] for accent in ACCENTS]
        texts: list[str] = []
        while len(texts) < sizes[split]:
            text = sentence(rng)
            if text not in taken:
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
            )
            for number, text in enumerate(texts)
        ]
    return {split: lines[split] for split in SPLITS}


def random_timbre(rng: np.random.Generator) -> str:
    """A voice file of espeak-ng (see its docs/voices.md): a vocal tract of random size and shape."""

    def some(low: float, high: float, count: int = 1) -> str:
        return " ".join(f"{value:.0f}" for value in rng.uniform(low, high, count))

    def spread(low: float, high: float) -> float:
        """Uniform in its logarithm."""
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    size, pitch = spread(0.85, 1.5), spread(65, 300)  # Hz
    return "\n".join(
        (
            "language variant",
            f"pitch {pitch:.0f} {pitch * rng.uniform(1.15, 1.65):.0f}",
            f"flutter {some(0, 7)}",
            *(  # frequency, height and width in percent
                f"formant {number} {size * rng.uniform(90, 110):.0f} {spread(50, 200):.0f} {some(80, 160)}"
                for number in range(9)
            ),
            f"voicing {spread(20, 200):.0f}",
            f"consonants {some(30, 130, 2)}",
            f"tone 600 {some(60, 255)} 1200 {some(10, 200)} 2000 {some(10, 200)}",  # Hz, loudness
        )
    )


def link_data(folder: Path, timbre: str) -> None:
    """Make a folder of espeak-ng's data with one timbre: it supports at most 349 voices."""
    import espeakng_loader

    data, voice = Path(espeakng_loader.get_data_path()), Path("voices", "!v", timbre)
    (folder / voice).parent.mkdir(parents=True)
    for path in data.iterdir():
        if path.name != "voices":
            (folder / path.name).symlink_to(path)
    if timbre in RANDOM_TIMBRES:
        rng = np.random.default_rng(RANDOM_TIMBRES.index(timbre))
        (folder / voice).write_text(random_timbre(rng), encoding="utf-8")
    else:
        (folder / voice).symlink_to(data / voice)


class Synthesiser:
    """espeak-ng, loaded into this process; the interface is `espeak-ng/speak_lib.h`.

    Args:
        data: Folder made by `link_data`.

    Raises:
        InputError: The library cannot load its data.
    """

    SYNCHRONOUS, DONT_EXIT, UTF8 = 2, 0x8000, 1
    SPEED, PITCH, PAUSE = 1, 3, 7

    def __init__(self, data: Path) -> None:
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        path = str(data).encode()
        self.rate = self.library.espeak_Initialize(self.SYNCHRONOUS, 0, path, self.DONT_EXIT)
        if self.rate <= 0:
            raise InputError(f"{data}: espeak-ng cannot read its data; install it into a shorter path")
        self.chunks: list[np.ndarray] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self.callback = kind(self._receive)  # must live as long as the library may call it
        self.library.espeak_SetSynthCallback(self.callback)
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))

    def _receive(self, samples: ctypes._Pointer, count: int, events: int) -> int:
        if samples and count:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # continue

    def speak(self, text: str, voice: str, speed: int, pitch: int, pause: int) -> np.ndarray:
        """The waveform (samples,) at `rate`, float32, full scale is 1.

        Raises:
            InputError: There is no such voice.
        """
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise InputError(f"{voice}: espeak-ng has no such voice; `pip install -U espeakng-loader`")
        self.library.espeak_SetParameter(self.SPEED, speed, 0)
        self.library.espeak_SetParameter(self.PITCH, pitch, 0)
        self.library.espeak_SetParameter(self.PAUSE, pause, 0)
        # "A" alone would be spoken as the article
        words = ["eh" if word == "A" else word.lower() for word in text.split()]
        data = " ".join(words).encode()
        self.chunks.clear()
        self.library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 0, 0, self.UTF8, None, None)
        return np.concatenate(self.chunks).astype(np.float32) / 2**15


def record(lines: Sequence[Line], folder: Path) -> list[Utterance]:
    """Write the wav and txt files of one timbre."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch, "espeak-ng-data")
        link_data(data, lines[0].timbre)
        return record_with(Synthesiser(data), lines, folder)


def record_with(synthesiser: Synthesiser, lines: Sequence[Line], folder: Path) -> list[Utterance]:
    utterances = []
    for line in lines:
        speech = synthesiser.speak(line.text, line.voice, line.speed, line.pitch, line.pause)
        speech = soxr.resample(speech, synthesiser.rate, SAMPLE_RATE)
        speech /= np.sqrt(np.mean(speech**2))
        hiss = np.random.default_rng(line.seed).normal(scale=10 ** (line.noise / 20), size=len(speech))
        waveform = (speech + hiss) * 10 ** (line.level / 20)
        audio, transcript = folder / "wav" / f"{line.name}.wav", folder / "txt" / f"{line.name}.txt"
        soundfile.write(audio, np.clip(waveform, -1, 1), SAMPLE_RATE, subtype="PCM_16")
        transcript.write_text(line.text + "\n", encoding="utf-8")
        utterances.append(Utterance(str(audio), str(transcript), len(waveform) / SAMPLE_RATE))
    return utterances


def make_corpus(folder: Path, lines: dict[str, list[Line]]) -> None:
    """Write the files and a manifest of each split, shortest utterance first.

    Raises:
        InputError: espeak-ng is missing, or a file cannot be written.
    """
    if not importlib.util.find_spec("espeakng_loader"):
        raise InputError("no speech synthesiser; run `pip install espeakng-loader`")
    try:
        for name in ("wav", "txt"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        utterances = record_all(lines, folder)
        utterances.sort(key=lambda utterance: (utterance.duration, utterance.audio_path))
        for split in lines:
            rows = [each for each in utterances if Path(each.audio_path).name.startswith(split)]
            write_manifest(folder / f"{split}_manifest.csv", rows)
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(
            f"{folder}: the corpus cannot be written: {error}; fix it or change --target-dir"
        ) from None


def record_all(lines: dict[str, list[Line]], folder: Path) -> list[Utterance]:
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
        for spoken in pool.imap_unordered(partial(record, folder=folder), timbres.values()):
            utterances += spoken
            bar.update(len(spoken))
    return utterances


def main(argv: Sequence[str] | None = None) -> int:
    config = cli.parse(argv, __doc__, SyntheticConfig, examples=EXAMPLES).make(SyntheticConfig)
    sizes = {split: getattr(config, split) for split in SPLITS}
    make_corpus(Path(config.target_dir), plan(sizes, config.seed))
    return 0


if __name__ == "__main__":
    cli.run(main)
