"""Graphs that can carry state from chunk to chunk, and the counts of valid frames in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from deepspeech.audio.sliding import Window
from deepspeech.export.builder import LAST, GraphBuilder, Shape

Layer = Callable[[str, list[int]], str]  # (input, zeros at both ends of the time axis) -> output


class ChunkGraph(GraphBuilder):
    """A graph over utterances or, with `streaming`, over their chunks.

    A subclass sets `batch`, the number of rows, and `final`, 1 in the last chunk and 0 in others: int64 (1,).
    """

    batch: str
    final: str

    def __init__(self, streaming: bool) -> None:
        super().__init__()
        self.streaming = streaming

    def slide(
        self, layer: Layer, values: str, lengths: str, window: Window, name: str, middle: Sequence[int]
    ) -> tuple[str, str]:
        """`Window.slide` and `Window.count` over values (batch, *middle, units)."""
        if not self.streaming:
            outputs = layer(values, [window.before, window.after])
            return outputs, self.count(lengths, window.before + window.after - window.size, window.stride)
        shape: Shape = ["batch", *middle, f"{name}_units"]
        rank = len(shape)
        held = self.state(name, np.zeros((1, *middle, window.before), np.float32), shape)
        width = self.size(held, rank - 1)
        after = self.op("Mul", self.final, window.after)
        units = self.pad_end(self.op("Concat", held, values, axis=rank - 1), after, rank)
        reach = self.op(
            "Where", self.cast(self.final, np.bool_), [window.size], [max(window.size, window.stride)]
        )
        total = self.size(units, rank - 1)
        ready = self.count(total, self.op("Neg", reach), window.stride)
        stop = self.op("Mul", ready, window.stride)
        self.carry(name, self.op("Slice", units, stop, [LAST], [rank - 1]), shape)
        missing = self.op("Max", self.op("Sub", window.size, total), 0)
        outputs = layer(self.pad_end(units, self.op("Reshape", missing, [1]), rank), [0, 0])
        outputs = self.op("Slice", outputs, [0], ready, [-1])
        extra = self.op("Sub", self.op("Add", width, after), reach)
        return outputs, self.count(lengths, extra, window.stride)

    def count(self, lengths: str, extra: str | int, stride: int) -> str:
        """max((lengths + extra) // stride + 1, 0), without the division of a negative number."""
        above = self.op("Add", self.op("Add", lengths, extra), stride)
        return self.op("Div", self.op("Max", above, 0), stride)

    def valid(self, lengths: str, size: str) -> str:
        """1 for valid frames, 0 for others: (batch, frames) float32."""
        frames = self.op("Range", 0, self.op("Squeeze", size, [0]), 1)
        return self.cast(self.op("Less", frames, self.op("Unsqueeze", lengths, [1])), np.float32)

    def state(self, name: str, start: np.ndarray, shape: Shape, dtype: type = np.float32) -> str:
        """What a stream carries from the chunk before, (batch, ...) or (layers, batch, ...)."""
        given = [each if each != "batch" else f"{name}_batch" for each in shape]
        value = self.input(name, dtype, given, start) if self.streaming else start
        axis = shape.index("batch")
        target = [[1] * axis] * bool(axis) + [self.batch] + [[1] * (len(shape) - axis - 1)]
        return self.op("Expand", value, self.op("Concat", *target, axis=0))

    def carry(self, name: str, value: str, shape: Shape, dtype: type = np.float32) -> None:
        """What a stream carries to the next chunk."""
        if self.streaming:
            shape = [f"next_{each}" if str(each).endswith("_units") else each for each in shape]
            self.output(f"next_{name}", value, dtype, shape)
