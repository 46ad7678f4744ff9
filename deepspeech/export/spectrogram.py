"""Features in an ONNX graph: what `deepspeech.audio.features` computes."""

from __future__ import annotations

import numpy as np

from deepspeech.audio.config import FeatureConfig
from deepspeech.audio.features import MIN_DEVIATION, Spectrogram, Statistics, prior_sums
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
            return self.normalize_running(spectrogram, valid, layer.statistics), counts
        return self.normalize(spectrogram, valid, counts, layer.statistics), counts

    def log1p(self, values: str) -> str:
        """log(1 + x), exact also where x is tiny: x log(u) / (u - 1) with u = 1 + x (Kahan)."""
        shifted = self.op("Add", values, FULL)
        rounded = self.op("Sub", shifted, FULL)
        exact = self.op("Div", self.op("Mul", values, self.op("Log", shifted)), rounded)
        return self.op("Where", self.op("Equal", rounded, np.float32(0)), values, exact)

    def normalize(self, spectrogram: str, valid: str, counts: str, statistics: Statistics) -> str:
        """As `deepspeech.audio.features.normalize`."""
        frames = self.op("Reshape", counts, [-1, 1, 1])
        size = self.op("Mul", frames, self.bins)

        def mean(values: str, size: str, axes: list[int]) -> str:
            total = self.op("ReduceSum", self.cast(values, np.float64), axes, keepdims=1)
            return self.op("Div", total, self.cast(size, np.float64))

        by_bin = statistics.by_bin
        centre = mean(spectrogram, frames, [2]) if by_bin else mean(spectrogram, size, [1, 2])
        centred = self.op("Sub", spectrogram, self.cast(centre, np.float32))
        centred = self.op("Mul", centred, valid)
        variance = mean(self.op("Mul", centred, centred), self.op("Sub", size, 1), [1, 2])
        deviation = self.cast(self.op("Sqrt", variance), np.float32)
        large = self.op("Greater", deviation, np.float32(MIN_DEVIATION))
        return self.op("Div", centred, self.op("Where", large, deviation, FULL))

    def normalize_running(self, spectrogram: str, valid: str, statistics: Statistics) -> str:
        """As `deepspeech.audio.features.normalize_running`."""
        bins, means = self.bins, self.bins if statistics.by_bin else 1
        prior = prior_sums(statistics, bins)
        sums = self.state("sums", prior, ["batch", 2 + means], np.float64)
        number = self.cast(self.op("Mul", valid, np.float32(bins // means)), np.float64)
        exact = self.cast(spectrogram, np.float64)
        totals = exact if statistics.by_bin else self.op("ReduceSum", exact, [1], keepdims=1)
        squares = self.cast(self.op("Mul", spectrogram, spectrogram), np.float64)
        own = [number, totals, self.op("ReduceSum", squares, [1], keepdims=1)]
        start = self.op("Unsqueeze", sums, [2])
        running = self.op("Add", self.op("CumSum", self.op("Concat", *own, axis=1), np.array(2)), start)
        last = self.op("Slice", self.op("Concat", start, running, axis=2), [-1], [LAST], [2])
        self.carry("sums", self.op("Squeeze", last, [2]), ["batch", 2 + means], np.float64)
        parts = self.ops("Split", running, np.array([1, means, 1]), count=3, axis=1)
        mean = self.op("Div", parts[1], parts[0])
        square = self.op("ReduceMean", self.op("Mul", mean, mean), axes=[1], keepdims=1)
        size = self.op("Mul", parts[0], np.float64(means))
        variance = self.op("Sub", self.op("Div", parts[2], size), square)
        deviation = self.op("Sqrt", self.op("Max", variance, np.float64(0)))
        centred = self.op("Sub", spectrogram, self.cast(mean, np.float32))
        return self.op("Mul", self.op("Div", centred, self.cast(deviation, np.float32)), valid)
