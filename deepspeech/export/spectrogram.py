"""Features in an ONNX graph: what `deepspeech.audio.features` computes."""

from __future__ import annotations

import numpy as np

from deepspeech.audio.config import FeatureConfig
from deepspeech.audio.features import MIN_DEVIATION, PRIOR_DEVIATION, PRIOR_FRAMES, PRIOR_MEAN, Spectrogram
from deepspeech.export.builder import LAST
from deepspeech.export.chunks import ChunkGraph

FULL = np.float32(1)


class SpectrogramGraph(ChunkGraph):
    """A graph that computes features."""

    bins: int

    def features(self, config: FeatureConfig, waveforms: str, lengths: str) -> tuple[str, str]:
        """(batch, samples) -> (batch, bins, frames), zero beyond each end, and the frame counts."""
        window, self.bins = config.frames, config.bins
        phase = 2 * np.pi / window.size * np.outer(np.arange(window.size // 2 + 1), np.arange(window.size))
        layer = Spectrogram(config)
        taper = layer.taper.double().numpy()
        table = np.concatenate([np.cos(phase), -np.sin(phase)]) * taper
        table = table[:, None].astype(np.float32)  # (2 * bins, 1, samples)

        def transform(samples: str, pads: list[int]) -> str:
            samples = self.op("Unsqueeze", samples, [1])
            return self.op("Conv", samples, table, strides=[window.stride], pads=pads)

        parts, counts = self.slide(transform, waveforms, lengths, window, "samples", [])
        real, imaginary = self.ops("Split", parts, count=2, axis=1)
        square = self.op("Add", self.op("Mul", real, real), self.op("Mul", imaginary, imaginary))
        magnitude = self.op("Sqrt", square)
        if layer.bands is not None:
            magnitude = self.op("MatMul", layer.bands.numpy(), magnitude)
        spectrogram = self.log1p(magnitude)
        valid = self.valid(counts, self.size(spectrogram, 2))  # (batch, frames)
        valid = self.op("Unsqueeze", valid, [1])
        spectrogram = self.op("Mul", spectrogram, valid)
        if config.normalize == "running":
            return self.normalize_running(spectrogram, valid), counts
        return self.normalize(spectrogram, valid, counts), counts

    def log1p(self, values: str) -> str:
        """log(1 + x), exact also where x is tiny: x log(u) / (u - 1) with u = 1 + x (Kahan)."""
        shifted = self.op("Add", values, FULL)
        rounded = self.op("Sub", shifted, FULL)
        exact = self.op("Div", self.op("Mul", values, self.op("Log", shifted)), rounded)
        return self.op("Where", self.op("Equal", rounded, np.float32(0)), values, exact)

    def normalize(self, spectrogram: str, valid: str, counts: str) -> str:
        """As `deepspeech.audio.features.normalize`."""
        size = self.op("Mul", counts, self.bins)
        size = self.op("Reshape", size, [-1, 1, 1])

        def mean(values: str, size: str) -> str:
            total = self.op("ReduceSum", self.cast(values, np.float64), [1, 2], keepdims=1)
            return self.op("Div", total, self.cast(size, np.float64))

        centred = self.op("Sub", spectrogram, self.cast(mean(spectrogram, size), np.float32))
        centred = self.op("Mul", centred, valid)
        variance = mean(self.op("Mul", centred, centred), self.op("Sub", size, 1))
        deviation = self.cast(self.op("Sqrt", variance), np.float32)
        large = self.op("Greater", deviation, np.float32(MIN_DEVIATION))
        return self.op("Div", centred, self.op("Where", large, deviation, FULL))

    def normalize_running(self, spectrogram: str, valid: str) -> str:
        """As `deepspeech.audio.features.normalize_running`."""
        bins = self.bins
        prior = np.array([[1.0, PRIOR_MEAN, PRIOR_DEVIATION**2 + PRIOR_MEAN**2]]) * PRIOR_FRAMES * bins
        sums = self.state("sums", prior, ["batch", 3], np.float64)
        own = [self.cast(self.op("Mul", valid, np.float32(bins)), np.float64)]
        for values in (spectrogram, self.op("Mul", spectrogram, spectrogram)):
            own.append(self.op("ReduceSum", self.cast(values, np.float64), [1], keepdims=1))
        start = self.op("Unsqueeze", sums, [2])
        running = self.op("Add", self.op("CumSum", self.op("Concat", *own, axis=1), np.array(2)), start)
        last = self.op("Slice", self.op("Concat", start, running, axis=2), [-1], [LAST], [2])
        self.carry("sums", self.op("Squeeze", last, [2]), ["batch", 3], np.float64)
        sizes, totals, squares = self.ops("Split", running, count=3, axis=1)
        mean = self.op("Div", totals, sizes)
        variance = self.op("Sub", self.op("Div", squares, sizes), self.op("Mul", mean, mean))
        deviation = self.op("Sqrt", self.op("Max", variance, np.float64(0)))
        centred = self.op("Sub", spectrogram, self.cast(mean, np.float32))
        return self.op("Mul", self.op("Div", centred, self.cast(deviation, np.float32)), valid)
