"""Augmentation of training audio: speed, tempo, reverberation, noise, telephone band, gain, SpecAugment.

Waveforms are (samples,) float32 arrays. Audio that is empty, silent or one sample long is augmented without
errors and without NaN.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile

from deepspeech.audio.loading import find_audio, load_audio, resample
from deepspeech.audio.spec_augment import POLICIES
from deepspeech.audio.tempo import change_tempo
from deepspeech.errors import InputError
from deepspeech.options import LEVEL, NOT_NEGATIVE, PROBABILITY, TEMPO, Options, one_of, option, shown

RANGE: dict[str, Any] = {"nargs": 2, "metavar": ("LOW", "HIGH")}


@dataclass(frozen=True)
class AugmentConfig(Options):
    """Augmentation of the training data"""

    speed_perturb: bool = option(
        False, "play every utterance at 0.9, 1.0 or 1.1 times its speed: other voices, and other tempos"
    )
    speed_volume_perturb: bool = option(False, "change the tempo (not the pitch) and gain of every utterance")
    tempo_range: tuple[float, float] = option(
        (0.85, 1.15), "tempo factors", TEMPO, needs="speed_volume_perturb", **RANGE
    )
    gain_range: tuple[float, float] = option(
        (-6.0, 8.0), "gains in dB", LEVEL, needs="speed_volume_perturb", **RANGE
    )
    noise_dir: str | None = option(
        None, "folder of noise files to mix in, of any sample rate and length", metavar="DIR"
    )
    noise_prob: float = option(0.4, "share of utterances with noise", PROBABILITY, needs="noise_dir")
    noise_min: float = option(
        0.0, "lowest RMS amplitude of noise relative to the speech's", NOT_NEGATIVE, needs="noise_dir"
    )
    noise_max: float = option(
        0.5, "highest RMS amplitude of noise relative to the speech's", NOT_NEGATIVE, needs="noise_dir"
    )
    noise_snr: tuple[float, float] | None = option(
        None, "signal-to-noise ratios in dB, instead of amplitudes", LEVEL, needs="noise_dir", **RANGE
    )
    rir_dir: str | None = option(None, "folder of room impulse responses for reverberation", metavar="DIR")
    rir_prob: float = option(0.5, "share of utterances with reverberation", PROBABILITY, needs="rir_dir")
    telephone_prob: float = option(0.0, "share of utterances in telephone quality", PROBABILITY)
    spec_augment: str | None = option(
        None,
        "mask and warp spectrograms by this policy: original (without a value), LB, LD, SM or SS of the "
        "SpecAugment paper, or adaptive, with short masks in proportion to the utterance",
        one_of(*POLICIES),
        nargs="?",
        const="original",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        ranges = {name: getattr(self, name) for name in ("tempo_range", "gain_range", "noise_snr")}
        ranges["noise_min"] = (self.noise_min, self.noise_max)
        for name, limits in ranges.items():
            if limits and limits[0] > limits[1]:
                flag = shown(type(self).__dataclass_fields__[name], getattr(self, name))
                raise InputError(f"{flag}: the lower end is above the upper one; swap them")


MIN_RMS = 1e-6  # -120 dB of full scale; anything quieter is not scaled up

SPEEDS = 0.9, 1.0, 1.1  # of the speed perturbation (Ko et al., 2015)

TELEPHONE_RATE = 8000  # Hz
TELEPHONE_BAND = 300, 3400  # Hz


class Augmentation:
    """Augmentation of a training set, random for every utterance and epoch.

    Evaluation and inference have none, and checkpoints do not hold it.

    Args:
        config: The augmentations to apply.
        sample_rate: Sample rate of the waveforms, Hz.
        seed: Seed of the random numbers.
        plain_epochs: First epochs without SpecAugment.

    Raises:
        InputError: A folder is missing, has no audio, or has audio that cannot be read.
    """

    def __init__(self, config: AugmentConfig, sample_rate: int, seed: int = 0, plain_epochs: int = 0) -> None:
        self.config, self.sample_rate, self.seed = config, sample_rate, seed
        self.plain_epochs = plain_epochs
        self.noises = audio_files(config.noise_dir, "--noise-dir") if config.noise_dir else []
        self.rooms = audio_files(config.rir_dir, "--rir-dir") if config.rir_dir else []
        self.policy = POLICIES[config.spec_augment] if config.spec_augment else None

    def generator(self, epoch: int, index: int) -> np.random.Generator:
        """The random numbers of an utterance in an epoch, the same in every process."""
        return np.random.default_rng([self.seed, epoch, index])

    def waveform(self, waveform: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Augment a waveform, in the order of the physical causes: speech, room, noise, line, gain.

        Where a gain exceeds full scale the waveform is scaled down; deepspeech.pytorch clips it.
        """
        config, rate, before = self.config, self.sample_rate, waveform
        if config.speed_perturb:
            waveform = change_speed(waveform, SPEEDS[random.integers(len(SPEEDS))], rate)
        if config.speed_volume_perturb:
            waveform = change_tempo(waveform, random.uniform(*config.tempo_range), rate)
        if self.rooms and random.random() < config.rir_prob:
            waveform = reverberate(waveform, load_audio(_choose(self.rooms, random), rate))
        if self.noises and random.random() < config.noise_prob:
            noise = read_noise(_choose(self.noises, random), len(waveform), rate, random)
            waveform = add_noise(waveform, noise, self._noise_level(random))
        if random.random() < config.telephone_prob:
            waveform = telephone(waveform, rate)
        if config.speed_volume_perturb:
            waveform = waveform * decibels(random.uniform(*config.gain_range))
        return waveform if waveform is before else limit(waveform)

    def _noise_level(self, random: np.random.Generator) -> float:
        if self.config.noise_snr:
            return decibels(-random.uniform(*self.config.noise_snr))
        return random.uniform(self.config.noise_min, self.config.noise_max)


def change_speed(waveform: np.ndarray, factor: float, sample_rate: int) -> np.ndarray:
    """Play a waveform `factor` times as fast: pitch and formants move along, as in another voice.

    Args:
        waveform: (samples,).
        factor: Above 1 for shorter, higher speech.
        sample_rate: Hz; the factor is rounded so that it fits a whole rate.
    """
    played = round(sample_rate * factor)
    return waveform if played == sample_rate else resample(waveform, played, sample_rate)


def reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Add the reverberation of a room; length and RMS amplitude stay the same.

    Args:
        waveform: (samples,).
        response: Impulse response of the room (samples,), used from its highest peak, the direct sound, so
            that speech is not delayed.
    """
    if not len(waveform) or not _audible(response):
        return waveform
    direct = np.abs(response).argmax()
    wet = _convolve(waveform, response[direct:])
    return wet * (rms(waveform) / max(rms(wet), MIN_RMS))


def read_noise(path: str | Path, length: int, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """Read a random part of a noise file, without reading the rest; a file that is too short is repeated.

    Args:
        path: Noise of any sample rate.
        length: Samples of the result.
        sample_rate: Sample rate of the result, Hz.
        random: Chooses the start.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with soundfile.SoundFile(path) as file:
            wanted = math.ceil(length * file.samplerate / sample_rate)
            file.seek(int(random.integers(max(file.frames - wanted, 0) + 1)))
            noise = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
            noise = resample(noise, file.samplerate, sample_rate)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: cannot read noise: {error}; replace or remove it") from None
    if len(noise) < length:
        noise = np.roll(noise, random.integers(max(len(noise), 1)))
    return np.resize(noise, length)


def add_noise(waveform: np.ndarray, noise: np.ndarray, level: float) -> np.ndarray:
    """Mix in noise.

    Args:
        waveform: (samples,).
        noise: (samples,); silent noise, and noise that is not finite, changes nothing.
        level: RMS amplitude of the noise relative to the waveform's.
    """
    if not _audible(noise):
        return waveform
    return waveform + noise * (level * rms(waveform) / rms(noise))


def telephone(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Reduce audio to the quality of a telephone: 8 kHz, 300 to 3400 Hz."""
    import scipy.signal

    if not len(waveform):
        return waveform
    narrow = resample(waveform, sample_rate, TELEPHONE_RATE)
    narrow = scipy.signal.sosfilt(_band_pass(), narrow).astype(np.float32)
    wide = resample(narrow, TELEPHONE_RATE, sample_rate)[: len(waveform)]
    return np.pad(wide, (0, len(waveform) - len(wide)))


@functools.cache
def _band_pass() -> np.ndarray:
    import scipy.signal

    sections = scipy.signal.butter(4, TELEPHONE_BAND, "bandpass", fs=TELEPHONE_RATE, output="sos")
    return cast(np.ndarray, sections)


def limit(waveform: np.ndarray) -> np.ndarray:
    """Scale down a waveform that exceeds full scale."""
    peak = np.abs(waveform).max(initial=1.0)
    return waveform / peak if peak > 1 else waveform


def rms(waveform: np.ndarray) -> float:
    """RMS amplitude; 0 for an empty waveform."""
    return math.sqrt(np.dot(waveform, waveform) / max(len(waveform), 1))


def decibels(value: float) -> float:
    """The amplitude ratio of a level in dB."""
    return 10 ** (value / 20)


def audio_files(folder: str | Path, flag: str) -> list[Path]:
    """The audio files in a folder and its subfolders, sorted, without empty ones.

    Args:
        folder: Where to look.
        flag: The option that named it, for the message.

    Raises:
        InputError: There is no folder or no audio file, or one of them cannot be opened.
    """
    try:
        files = [path for path in sorted(map(Path, find_audio(folder))) if soundfile.info(path).frames > 0]
    except InputError as error:
        raise InputError(f"{flag} {error}") from None
    except soundfile.LibsndfileError as error:
        raise InputError(f"{flag}: {error}; replace or remove it") from None
    if not files:
        raise InputError(f"{flag} {folder}: no audio files there; give a folder with wav, flac, ogg or mp3")
    return files


def _convolve(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The first samples of the convolution, as many as the waveform has.

    Overlap-add over blocks that fit in the cache: up to three times as fast as scipy's oaconvolve.
    """
    import scipy.fft
    import scipy.signal  # takes a second: only where it is needed

    size = scipy.fft.next_fast_len(max(2 * len(response), 4096), real=True)
    step = size - len(response) + 1
    blocks = np.pad(waveform, (0, -len(waveform) % step)).reshape(-1, step)
    output = np.zeros(blocks.size + size, np.float32)
    for place, piece in enumerate(scipy.signal.fftconvolve(blocks, response[None], axes=1)):
        output[place * step :][:size] += piece
    return output[: len(waveform)]


def _audible(waveform: np.ndarray) -> bool:
    return MIN_RMS < rms(waveform) < math.inf


def _choose(files: list[Path], random: np.random.Generator) -> Path:
    return files[random.integers(len(files))]
