"""ONNX files of a network: written, described by metadata, checked against torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import deepspeech
from deepspeech.atomic_file import write_atomic
from deepspeech.errors import InputError
from deepspeech.export.graph import NetworkGraph
from deepspeech.inference.onnx_network import start_session
from deepspeech.inference.torch_network import TorchNetwork
from deepspeech.model.deepspeech2 import DeepSpeech

if TYPE_CHECKING:
    import onnx

SECONDS = 0.31, 1.0, 2.27  # of the noise that an exported file must transcribe as torch does
TOLERANCE = 1e-4  # of log-probabilities


def make_model(network: DeepSpeech, features_outside: bool = False, int8: bool = False) -> onnx.ModelProto:
    """The ONNX model of a network, checked against it; a network that can stream gets a graph with state.

    Args:
        network: In eval mode, on the CPU.
        features_outside: Whether the graph takes features instead of waveforms.
        int8: Whether to store weights as 8-bit integers; checked with float weights, then stored.

    Raises:
        InputError: onnx or onnxruntime is not installed, or the graph does not compute what the network does.
    """
    graph = NetworkGraph(network, network.config.streams, features_outside)
    model = graph.model("deepspeech", deepspeech.__version__, metadata(network, features_outside))
    check(model, network, features_outside)
    if int8:
        graph = NetworkGraph(network, network.config.streams, features_outside, int8)
        model = graph.model("deepspeech", deepspeech.__version__, metadata(network, features_outside))
    return model


def write(
    network: DeepSpeech, target: str | Path, features_outside: bool = False, int8: bool = False
) -> None:
    """Write the file of `make_model`.

    Raises:
        InputError: See `make_model`; or the file cannot be written.
    """
    write_atomic(target, make_model(network, features_outside, int8).SerializeToString())


def metadata(network: DeepSpeech, features_outside: bool) -> dict[str, str]:
    """What a user of the file needs to know; `config` rebuilds the network's configuration."""
    values: dict[str, Any] = {
        "deepspeech": deepspeech.__version__,
        "config": network.config.to_dict(),
        "labels": network.config.labels,
        "sample_rate": network.config.features.sample_rate,
        "frame_seconds": network.frame_seconds,
        "input": "features" if features_outside else "waveforms",
        "streaming": network.config.streams,
    }
    if network.config.streams:
        values["latency"] = network.latency
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def check(model: onnx.ModelProto, network: DeepSpeech, features_outside: bool) -> None:
    """Compare with torch on noise of several lengths, as a batch.

    Raises:
        InputError: The log-probabilities differ by more than `TOLERANCE`.
    """
    random, rate = np.random.default_rng(0), network.config.features.sample_rate
    waveforms = [random.normal(0, 0.1, int(each * rate)).astype(np.float32) for each in SECONDS]
    reference = TorchNetwork(network)
    expected, counts = (each.numpy() for each in reference.log_probs(waveforms))
    if features_outside:
        features, lengths = reference.features(waveforms)
        inputs = {"features": features.numpy(), "lengths": lengths.numpy()}
    else:
        rows = np.zeros((len(waveforms), max(map(len, waveforms))), np.float32)
        for row, waveform in zip(rows, waveforms, strict=True):
            row[: len(waveform)] = waveform
        inputs = {"waveforms": rows, "lengths": np.array([len(each) for each in waveforms])}
    session = start_session(model.SerializeToString(), threads=1)
    found, lengths = session.run(["log_probs", "log_prob_lengths"], inputs)
    pairs = zip(found, expected, lengths.tolist(), counts.tolist(), strict=True)
    worst = max(abs(a[:m] - b[:n]).max() if m == n else np.inf for a, b, m, n in pairs)
    if not worst <= TOLERANCE:
        raise InputError(
            f"the ONNX graph and torch differ by {worst:.2g} in log-probabilities, which may be at most "
            f"{TOLERANCE}; the model may have extreme weights, nothing was written"
        )
