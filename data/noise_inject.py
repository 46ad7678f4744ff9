#!/usr/bin/env python3
"""Listen to a noise level: mix noise into speech as training does, and write the result as a wav file.

`examples/plot_augmentations.py` draws what this and the other augmentations do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

from deepspeech import cli, log
from deepspeech.audio.augment import add_noise, decibels, limit, read_noise
from deepspeech.audio.loading import load_audio
from deepspeech.errors import InputError
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, option

EXAMPLES = "data/noise_inject.py --input-path speech.wav --noise-path street.wav --snr 10"


@dataclass(frozen=True)
class MixtureConfig(Options):
    """Mixture"""

    input_path: str = option("input.wav", "speech", metavar="FILE")
    noise_path: str = option("noise.wav", "noise", metavar="FILE")
    output_path: str = option("output.wav", "mixture to write", metavar="FILE")
    sample_rate: int = option(16000, "sample rate of the mixture in Hz", POSITIVE)
    noise_level: float = option(1.0, "RMS amplitude of the noise relative to the speech's", NOT_NEGATIVE)
    snr: float | None = option(None, "signal-to-noise ratio instead of --noise-level", metavar="DB")
    seed: int = option(0, "seed that chooses the part of the noise", NOT_NEGATIVE)


def main(argv: Sequence[str] | None = None) -> int:
    config = cli.parse(argv, __doc__, MixtureConfig, examples=EXAMPLES).make(MixtureConfig)
    level = config.noise_level if config.snr is None else decibels(-config.snr)
    speech = load_audio(config.input_path, config.sample_rate)
    random = np.random.default_rng(config.seed)
    noise = read_noise(config.noise_path, len(speech), config.sample_rate, random)
    try:
        soundfile.write(config.output_path, limit(add_noise(speech, noise, level)), config.sample_rate)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: no format has that suffix
        raise InputError(f"--output-path {config.output_path}: cannot write audio: {error}") from None
    log.info(f"{config.output_path}: noise at {level:.3g} times the amplitude of the speech")
    return 0


if __name__ == "__main__":
    cli.run(main)
