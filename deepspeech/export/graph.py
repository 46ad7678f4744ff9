"""A network as an ONNX graph: waveforms to log-probabilities, for whole utterances or with state for streams.

The graph is written node by node rather than traced: the spectrogram is part of it, every axis is dynamic,
and the recurrent layers are the runtimes' own LSTM, GRU and RNN operators. Batch norm is folded into the
layer next to it. The DFT is a strided convolution with a table of cosines and sines, which every runtime has
and runs fast.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from deepspeech.audio.sliding import Window
from deepspeech.export.builder import LAST, Shape, Value
from deepspeech.export.spectrogram import SpectrogramGraph
from deepspeech.model.batch_norm import EPSILON
from deepspeech.model.config import CONV_TIME
from deepspeech.model.deepspeech2 import CHANNELS, DeepSpeech
from deepspeech.model.rnn import RecurrentLayer

MIN_WEIGHT = 1e-12  # of a row, so that a row of zeros has a scale
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN_TANH": (0,)}  # ONNX's order in torch's


class NetworkGraph(SpectrogramGraph):
    """The graph of a network.

    Inputs: `waveforms` (batch, samples) float32, or `features` (batch, bins, frames) with the spectrogram
    outside; `lengths` (batch,) int64 valid samples or frames, by default all. Outputs: `log_probs` (batch,
    frames, labels) float32 and `log_prob_lengths` (batch,) int64.

    With `streaming` the graph also takes `final` (bool, default true), whether the utterances end with this
    chunk, and states with defaults for the start of an utterance; it returns each as `next_NAME`. Without
    any of them it transcribes whole utterances. `lengths` count only in a final chunk: the others are full.

    Args:
        network: In eval mode.
        streaming: Whether the graph carries state; the network must be able to stream.
        features_outside: Whether it takes features instead of waveforms.
        int8: Whether to store weights as 8-bit integers.
        level: What waveforms are multiplied by.
    """

    def __init__(
        self,
        network: DeepSpeech,
        streaming: bool = False,
        features_outside: bool = False,
        int8: bool = False,
        level: float | None = None,
    ) -> None:
        if streaming:
            network.config.require_streaming()
        super().__init__(streaming)
        self.network, self.config, self.int8 = network, network.config, int8
        name = "features" if features_outside else "waveforms"
        shape: Shape = (
            ["batch", self.config.features.bins, "frames"] if features_outside else ["batch", "samples"]
        )
        values = self.input(name, np.float32, shape)
        if level is not None:
            values = self.op("Mul", values, np.float32(level))
        self.batch = self.size(values, 0)
        limit = self.size(values, len(shape) - 1)
        lengths = self.op("Expand", self.input("lengths", np.int64, ["rows"], [LAST]), self.batch)
        lengths = self.op("Min", lengths, limit)
        if streaming:
            flag = self.input("final", np.bool_, [], True)
            self.final = self.op("Reshape", self.cast(flag, np.int64), [1])
        if not features_outside:
            values, lengths = self.features(self.config.features, values, lengths)
        hidden, lengths = self.convolutions(values, lengths)
        hidden = self.recurrent_layers(hidden, lengths)
        if not self.config.bidirectional:
            hidden, lengths = self.lookahead(hidden, lengths)
        self.output(
            "log_probs",
            self.label_scores(hidden),
            np.float32,
            ["batch", "output_frames", len(self.config.labels)],
        )
        self.output("log_prob_lengths", lengths, np.int64, ["batch"])

    def convolutions(self, features: str, lengths: str) -> tuple[str, str]:
        """(batch, bins, frames) -> (frames, batch, channels * bins), zero beyond each end, and the counts."""
        hidden = self.op("Unsqueeze", features, [1])
        layers: list[Any] = list(self.network.conv.seq_module)
        bins = self.config.features.bins
        for index, window in enumerate(CONV_TIME):
            convolve, norm = layers[3 * index : 3 * index + 2]
            scale, shift = affine(norm)
            weight = array(convolve.weight) * scale[:, None, None, None]
            bias = array(convolve.bias) * scale + shift
            tables, rows = (self.weights(weight), single(bias)), convolve.padding[0]
            layer = partial(self.convolve, tables, list(convolve.stride), rows)
            middle = [convolve.in_channels, bins]
            hidden, lengths = self.slide(layer, hidden, lengths, window, f"conv{index}", middle)
            bins = Window(convolve.kernel_size[0], convolve.stride[0], rows, rows).count(bins)
            valid = self.valid(lengths, self.size(hidden, 3))
            hidden = self.op("Clip", hidden, np.float32(0), np.float32(20))
            hidden = self.op("Mul", hidden, self.op("Unsqueeze", valid, [1, 2]))
        hidden = self.op("Reshape", hidden, [0, CHANNELS * bins, -1])
        return self.op("Transpose", hidden, perm=[2, 0, 1]), lengths

    def convolve(
        self,
        tables: tuple[Value, Value],
        strides: list[int],
        rows: int,
        images: str,
        pads: list[int],
    ) -> str:
        """A convolution over frequency, padded with `rows` zeros, and time."""
        pads = [rows, pads[0], rows, pads[1]]
        return self.op("Conv", images, *tables, strides=strides, pads=pads)

    def recurrent_layers(self, hidden: str, lengths: str) -> str:
        """(frames, batch, size) -> the same; values beyond each end are undefined."""
        layers: list[RecurrentLayer] = list(self.network.rnns)  # type: ignore[arg-type]  # a ModuleList
        names = ("hidden", "cell") if self.config.rnn_type == "lstm" else ("hidden",)
        shape: Shape = [len(layers), "batch", self.config.hidden_size]
        start = np.zeros((len(layers), 1, self.config.hidden_size), np.float32)
        states = [self.state(name, start, shape) for name in names if self.streaming]
        steps = self.cast(self.op("Max", lengths, 1), np.int32)
        frames = self.size(hidden, 0)
        if self.streaming:  # a chunk may have no frame, the operators need one
            hidden = self.pad_end(hidden, self.op("Max", self.op("Sub", 1, frames), 0), 3, axis=0)
            idle = self.op("Equal", frames, 0)
        carried: list[list[str]] = []
        for index, layer in enumerate(layers):
            before = [self.op("Slice", state, [index], [index + 1], [0]) for state in states]
            hidden, *after = self.recurrent(layer, hidden, steps, before)
            carried.append(
                [self.op("Where", idle, *pair) for pair in zip(before, after, strict=False)]
                if self.streaming
                else []
            )
        for name, layered in zip(names, zip(*carried, strict=True), strict=False):
            self.carry(name, self.op("Concat", *layered, axis=0), shape)
        return self.op("Slice", hidden, [0], frames, [0]) if self.streaming else hidden

    def recurrent(self, layer: RecurrentLayer, inputs: str, steps: str, state: list[str]) -> list[str]:
        """A layer's outputs and its states after the last frame."""
        mode, tables = layer.rnn.mode, []
        order = np.array(GATES[mode])
        for weights in layer.weights():
            weight, recurrent, bias, recurrent_bias = map(array, weights)
            if layer.batch_norm is not None:
                scale, shift = affine(layer.batch_norm.module)
                weight, bias = weight * scale, bias + weight @ shift
            gates = [
                each.reshape(len(order), -1, *each.shape[1:])[order].reshape(each.shape)
                for each in (weight, recurrent, bias, recurrent_bias)
            ]
            tables.append((gates[0], gates[1], np.concatenate(gates[2:])))
        *matrices, biases = [np.stack(each) for each in zip(*tables, strict=True)]
        stacked: list[Value] = [*map(self.weights, matrices), single(biases)]
        attributes: dict[str, Any] = {
            "hidden_size": layer.rnn.hidden_size,
            **({"linear_before_reset": 1} if mode == "GRU" else {}),
        }
        if layer.rnn.bidirectional:
            attributes["direction"] = "bidirectional"
        count = 3 if mode == "LSTM" else 2
        outputs, *after = self.ops(
            mode.split("_")[0], inputs, *stacked, steps, *state, count=count, **attributes
        )
        join = "ReduceSum" if layer.rnn.bidirectional else "Squeeze"
        more = {"keepdims": 0} if layer.rnn.bidirectional else {}
        return [self.op(join, outputs, [1], **more), *after]

    def lookahead(self, hidden: str, lengths: str) -> tuple[str, str]:
        """(frames, batch, size) -> the same, and the counts."""
        module: Any = self.network.lookahead[0]
        weight, size = single(array(module.conv.weight)), self.config.hidden_size
        valid = self.valid(lengths, self.size(hidden, 0))
        hidden = self.op("Transpose", hidden, perm=[1, 2, 0])
        hidden = self.op("Mul", hidden, self.op("Unsqueeze", valid, [1]))

        def layer(values: str, pads: list[int]) -> str:
            return self.op("Conv", values, weight, group=size, pads=pads)

        hidden, lengths = self.slide(layer, hidden, lengths, module.time, "lookahead", [size])
        hidden = self.op("Clip", hidden, np.float32(0), np.float32(20))
        return self.op("Transpose", hidden, perm=[2, 0, 1]), lengths

    def label_scores(self, hidden: str) -> str:
        """(frames, batch, size) -> log-probabilities (batch, frames, labels)."""
        output: Any = self.network.fc[0]
        norm, linear = output.module
        scale, shift = affine(norm)
        weight = array(linear.weight)
        table = self.op("Transpose", self.weights(weight * scale), perm=[1, 0])
        scores = self.op("MatMul", self.op("Transpose", hidden, perm=[1, 0, 2]), table)
        scores = self.op("Add", scores, single(weight @ shift))
        return self.op("LogSoftmax", scores, axis=2)

    def weights(self, values: np.ndarray) -> str:
        """Weights of a layer; with `int8` as integers and a scale for each row, the weights of one output.

        The rows are those before the last axis of (directions, rows, inputs), the first axis of others.
        """
        if not self.int8:
            return self.value(single(values))
        axes = 2 if values.ndim == 3 else 1
        rows = values.reshape(math.prod(values.shape[:axes]), -1)
        scales = single(np.maximum(abs(rows).max(axis=1), MIN_WEIGHT) / 127)
        integers = np.round(rows / scales[:, None]).astype(np.int8)
        zeros = np.zeros(len(rows), np.int8)
        table = self.op("DequantizeLinear", integers, scales, zeros, axis=0)
        return self.op("Reshape", table, list(values.shape))


def affine(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Batch norm in eval mode as scale and shift per channel, float64."""
    scale = array(norm.weight) / np.sqrt(array(norm.running_var) + EPSILON)
    return scale, array(norm.bias) - array(norm.running_mean) * scale


def array(values: Tensor) -> np.ndarray:
    """float64, so that folded weights are rounded once."""
    result: np.ndarray = values.detach().cpu().double().numpy()
    return result


def single(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
