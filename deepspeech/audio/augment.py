"""Augmentation of training audio: tempo, reverberation, noise, telephone band, gain, SpecAugment.

Waveforms are (samples,) float32 arrays. Nothing here fails or gives NaN for audio that is
empty, silent or one sample long.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from torch import Tensor

from deepspeech.audio import loading
from deepspeech.audio.spec_augment import POLICIES, draw, spec_augment
from deepspeech.audio.tempo import change_tempo
from deepspeech.errors import InputError
from deepspeech.options import (
    LEVEL,
    NOT_NEGATIVE,
    PROBABILITY,
    TEMPO,
    Options,
    flag_names,
    one_of,
    option,
)


@dataclass(frozen=True)
class AugmentConfig(Options):
    """Augmentation of the training data"""

    speed_volume_perturb: bool = option(False, "change tempo (pitch kept) and gain of every utterance")
    tempo_range: tuple[float, float] = option(
        (0.85, 1.15), "tempo factors (--speed-volume-perturb)", TEMPO, nargs=2, metavar=("LOW", "HIGH")
    )
    gain_range: tuple[float, float] = option(
        (-6.0, 8.0), "gains in dB (--speed-volume-perturb)", LEVEL, nargs=2, metavar=("LOW", "HIGH")
    )
    noise_dir: str | None = option(None, "folder of noise files to mix in, of any rate and length")
    noise_prob: float = option(0.4, "share of the utterances that get noise", PROBABILITY)
    noise_min: float = option(0.0, "least amplitude of noise, as a share of the speech's", NOT_NEGATIVE)
    noise_max: float = option(0.5, "largest amplitude of noise, as a share of the speech's", NOT_NEGATIVE)
    noise_snr: tuple[float, float] | None = option(
        None,
        "signal-to-noise ratios in dB instead of --noise-min and --noise-max",
        LEVEL,
        nargs=2,
        metavar=("LOW", "HIGH"),
    )
    rir_dir: str | None = option(None, "folder of room impulse responses to reverberate speech with")
    rir_prob: float = option(0.5, "share of the utterances that are reverberated", PROBABILITY)
    telephone_prob: float = option(0.0, "share of the utterances that sound as over a telephone", PROBABILITY)
    spec_augment: str | None = option(
        None,
        "mask and warp spectrograms; POLICY is original (the default), or LB, LD, SM or SS of the paper",
        one_of("original", "LB", "LD", "SM", "SS"),
        nargs="?",
        const="original",
        metavar="POLICY",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        ranges = {name: getattr(self, name) for name in ("tempo_range", "gain_range", "noise_snr")}
        ranges["noise_min"] = (self.noise_min, self.noise_max)
        for name, limits in ranges.items():
            if limits and limits[0] > limits[1]:
                raise self._fault(name, f"the range ends below its beginning, {limits}; swap them")
        for switch, names in AUGMENT_SWITCHES.items():
            for name in names:
                default = type(self).__dataclass_fields__[name].default
                if not getattr(self, switch) and getattr(self, name) != default:
                    raise self._fault(name, f"has no effect without --{switch.replace('_', '-')}; add it")

    def _fault(self, name: str, words: str) -> InputError:
        flag = flag_names(type(self).__dataclass_fields__[name])[0]
        return InputError(f"{flag} {getattr(self, name)}: {words}")


AUGMENT_SWITCHES = {
    "speed_volume_perturb": ("tempo_range", "gain_range"),
    "noise_dir": ("noise_prob", "noise_min", "noise_max", "noise_snr"),
    "rir_dir": ("rir_prob",),
}


SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
SILENCE = 1e-6  # below this energy (-120 dB of full scale) there is nothing to scale up

TELEPHONE_RATE = 8000  # Hz
TELEPHONE_BAND = 300, 3400  # Hz


class Augmentation:
    """What training does to an utterance, drawn anew for every utterance and epoch.

    Evaluation and inference never make one, and models do not save it.

    Args:
        config: What to do.
        sample_rate: Of the waveforms, Hz.
        seed: Of all that is drawn.

    Raises:
        InputError: A folder is missing, has no audio, or has audio that cannot be read.
    """

    def __init__(self, config: AugmentConfig, sample_rate: int, seed: int = 0) -> None:
        self.config, self.sample_rate, self.seed = config, sample_rate, seed
        self.noises = audio_files(config.noise_dir, "--noise-dir") if config.noise_dir else []
        self.rooms = audio_files(config.rir_dir, "--rir-dir") if config.rir_dir else []
        self.policy = POLICIES[config.spec_augment] if config.spec_augment else None

    def generator(self, epoch: int, index: int) -> np.random.Generator:
        """Randomness of one utterance in one epoch, whichever process reads it."""
        return np.random.default_rng([self.seed, epoch, index])

    def waveform(self, waveform: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Speech -> the room around it -> the noise in it -> the line it comes over -> its level.

        deepspeech.pytorch clips what a gain lifts beyond full scale; here it is scaled down.
        """
        config, rate, before = self.config, self.sample_rate, waveform
        if config.speed_volume_perturb:
            waveform = change_tempo(waveform, random.uniform(*config.tempo_range), rate)
        if self.rooms and random.random() < config.rir_prob:
            waveform = reverberate(waveform, loading.load_audio(_choose(self.rooms, random), rate))
        if self.noises and random.random() < config.noise_prob:
            noise = read_noise(_choose(self.noises, random), len(waveform), rate, random)
            waveform = add_noise(waveform, noise, self._noise_level(random))
        if random.random() < config.telephone_prob:
            waveform = telephone(waveform, rate)
        if config.speed_volume_perturb:
            waveform = waveform * decibels(random.uniform(*config.gain_range))
        return waveform if waveform is before else limit(waveform)

    def features(self, features: Tensor, random: np.random.Generator) -> Tensor:
        """SpecAugment on normalised features (bins, frames)."""
        return spec_augment(features, self.policy, random) if self.policy else features

    def draw(self, bins: int, frames: int, random: np.random.Generator) -> Tensor | None:
        """What `features` would do, for `DeviceFeatures` to do it; None without SpecAugment."""
        return draw(self.policy, bins, frames, random) if self.policy else None

    def _noise_level(self, random: np.random.Generator) -> float:
        if self.config.noise_snr:
            return decibels(-random.uniform(*self.config.noise_snr))
        return random.uniform(self.config.noise_min, self.config.noise_max)


def reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Speech in a room, as long and as loud as without it.

    Args:
        waveform: (samples,).
        response: Impulse response of the room, (samples,); what comes before its highest peak,
            the direct sound, is left out, so that speech is not delayed.
    """
    if not len(waveform) or not _audible(response):
        return waveform
    direct = np.abs(response).argmax()
    wet = _convolve(waveform, response[direct:])
    return wet * (rms(waveform) / max(rms(wet), SILENCE))


def read_noise(path: str | Path, length: int, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """A random cut of a noise file; a file that is too short is repeated.

    Only the cut is read from the disk.

    Args:
        path: Noise of any rate.
        length: Samples wanted.
        sample_rate: Of the result, Hz.
        random: Draws where the cut begins.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with soundfile.SoundFile(path) as file:
            wanted = math.ceil(length * file.samplerate / sample_rate)
            file.seek(int(random.integers(max(file.frames - wanted, 0) + 1)))
            noise = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
            if file.samplerate != sample_rate:
                noise = soxr.resample(noise, file.samplerate, sample_rate)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: cannot read noise: {error}; replace or remove it") from None
    if len(noise) < length:
        noise = np.roll(noise, random.integers(max(len(noise), 1)))
    return np.resize(noise, length)


def add_noise(waveform: np.ndarray, noise: np.ndarray, level: float) -> np.ndarray:
    """Mix noise in.

    Args:
        waveform: (samples,).
        noise: (samples,); what is silent or not finite changes nothing.
        level: Energy (root mean square) of the noise as a share of the waveform's.
    """
    if not _audible(noise):
        return waveform
    return waveform + noise * (level * rms(waveform) / rms(noise))


def telephone(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Speech as an 8 kHz telephone line carries it: 300 to 3400 Hz."""
    import scipy.signal

    if not len(waveform):
        return waveform
    narrow = soxr.resample(waveform, sample_rate, TELEPHONE_RATE)
    narrow = scipy.signal.sosfilt(_band_pass(), narrow).astype(np.float32)
    wide = soxr.resample(narrow, TELEPHONE_RATE, sample_rate)[: len(waveform)]
    return np.pad(wide, (0, len(waveform) - len(wide)))


@functools.cache
def _band_pass() -> np.ndarray:
    import scipy.signal

    return scipy.signal.butter(4, TELEPHONE_BAND, "bandpass", fs=TELEPHONE_RATE, output="sos")


def limit(waveform: np.ndarray) -> np.ndarray:
    """Scale a waveform down where it goes beyond full scale."""
    peak = np.abs(waveform).max(initial=1.0)
    return waveform / peak if peak > 1 else waveform


def rms(waveform: np.ndarray) -> float:
    """Energy: the root of the mean square; 0 for an empty waveform."""
    return math.sqrt(np.dot(waveform, waveform) / max(len(waveform), 1))


def decibels(value: float) -> float:
    """The amplitude ratio of a level in dB."""
    return 10 ** (value / 20)


def audio_files(folder: str | Path, flag: str) -> list[Path]:
    """All audio files below a folder, sorted.

    Args:
        folder: Where to look.
        flag: The option that named it, for the message.

    Raises:
        InputError: There is no folder or no audio file, or one of them cannot be opened.
    """
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    try:
        files = [path for path in paths if soundfile.info(path).frames > 0]
    except soundfile.LibsndfileError as error:
        raise InputError(f"{flag}: {error}; replace or remove it") from None
    if not files:
        raise InputError(f"{flag} {folder}: no audio files there; give a folder with wav, flac, ogg or mp3")
    return files


def _convolve(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The first samples of the convolution, as many as the waveform has.

    Overlap-add over blocks that stay in the cache: up to three times as fast as oaconvolve of scipy.
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
    return SILENCE < rms(waveform) < math.inf


def _choose(files: list[Path], random: np.random.Generator) -> Path:
    return files[random.integers(len(files))]
