"""Options of the features."""

from __future__ import annotations

from dataclasses import dataclass

from deepspeech.audio.sliding import Window
from deepspeech.errors import InputError
from deepspeech.options import POSITIVE, Options, one_of, option

MEL_BANDS = 80


@dataclass(frozen=True)
class FeatureConfig(Options):
    """Features"""

    sample_rate: int = option(16000, "sample rate in Hz; audio of another rate is resampled", POSITIVE)
    window_size: float = option(0.02, "STFT window in seconds", POSITIVE)
    window_stride: float = option(0.01, "STFT stride in seconds", POSITIVE)
    window: str = option("hamming", "STFT window function", one_of("hamming", "hann", "blackman", "bartlett"))
    scale: str = option(
        "linear",
        "frequency bins: linear, those of the STFT as in the paper, or mel, 80 bands of it, which halve the "
        "work of the convolutions",
        one_of("linear", "mel"),
        ("--features",),
    )
    normalize: str = option(
        "utterance",
        "statistics of the normalisation: of the whole utterance, or running (of the frames so far), which "
        "streaming needs",
        one_of("utterance", "running"),
    )
    periodic: bool = True  # False in models of deepspeech.pytorch, whose windows are symmetric

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride_samples < 1 or self.window_samples < 2:
            raise InputError(
                f"--window-size {self.window_size} --window-stride {self.window_stride}: "
                f"shorter than a sample at {self.sample_rate} Hz; choose larger ones"
            )

    @property
    def window_samples(self) -> int:
        return round(self.sample_rate * self.window_size)

    @property
    def stride_samples(self) -> int:
        return round(self.sample_rate * self.window_stride)

    @property
    def frames(self) -> Window:
        """The STFT's windows over the samples, each centred on its frame."""
        size = self.window_samples
        return Window(size, self.stride_samples, size // 2, size // 2)

    @property
    def bins(self) -> int:
        """Frequency bins of a frame: 161 by default."""
        return MEL_BANDS if self.scale == "mel" else self.window_samples // 2 + 1
