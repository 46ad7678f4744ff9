"""A network that onnxruntime runs, from a file of deepspeech export; needs no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.model.config import Configured, ModelConfig

StreamState: TypeAlias = dict[str, np.ndarray]  # by input name
BATCH_AXIS = {"hidden": 1, "cell": 1}  # of states; of the others it is the first


def is_onnx(path: str | Path) -> bool:
    """Whether a model file is for onnxruntime."""
    return str(path).endswith(".onnx")


class OnnxNetwork(Configured):
    """Waveforms to log-probabilities; it has the configuration of a `DeepSpeech` network, not its layers.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing or damaged, is not of `deepspeech export`, or takes features;
            or onnxruntime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot read it: {error.strerror}; give a model that exists") from None
        try:
            self.session = start_session(model, int(os.environ.get("OMP_NUM_THREADS", "0")))
        except InputError:
            raise
        except Exception as error:  # onnxruntime has a class for every fault
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: damaged, or not an ONNX file: {reason}; export it again") from None
        metadata = self.session.get_modelmeta().custom_metadata_map
        try:
            self.config = ModelConfig.from_dict(json.loads(metadata["config"]))
            takes = metadata["input"]
        except (KeyError, TypeError, ValueError, AttributeError, InputError):
            raise InputError(
                f"{path}: not a file of deepspeech export; export the model with --to onnx"
            ) from None
        if takes != "waveforms":
            raise InputError(f"{path}: its spectrogram is outside; export it without --features-outside")
        self.outputs = [each.name for each in self.session.get_outputs()]

    @cached_property
    def labels(self) -> Labels:
        """The alphabet."""
        return Labels(self.config.labels)

    def log_probs(self, waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """See `Recognizer.log_probs`."""
        lengths = np.array([len(waveform) for waveform in waveforms])
        rows = np.zeros((len(waveforms), lengths.max()), np.float32)
        for row, waveform in zip(rows, waveforms, strict=True):
            row[: len(waveform)] = waveform
        inputs = {"waveforms": rows, "lengths": lengths}
        log_probs, counts = self.session.run(["log_probs", "log_prob_lengths"], inputs)
        return log_probs, counts

    def start(self) -> StreamState:
        """The state at the start of an utterance: the defaults of the graph."""
        return {}

    def advance(
        self, samples: np.ndarray, state: StreamState, final: bool = False
    ) -> tuple[np.ndarray, StreamState]:
        """See `TorchNetwork.advance`."""
        inputs = {"waveforms": samples, "final": np.array(final)} | state
        outputs = dict(zip(self.outputs, self.session.run(self.outputs, inputs), strict=True))
        after = {name[5:]: value for name, value in outputs.items() if name.startswith("next_")}
        return outputs["log_probs"], after

    def shapes(self, state: StreamState) -> Hashable:
        """The shapes of all parts of a state."""
        return tuple((name, value.shape) for name, value in state.items())

    def join(self, states: Sequence[StreamState]) -> StreamState:
        """One state of a batch from states of the same shapes."""
        return {
            name: np.concatenate([each[name] for each in states], BATCH_AXIS.get(name, 0))
            for name in states[0]
        }

    def part(self, state: StreamState, row: int) -> StreamState:
        """The state of one stream of a batch."""
        return {name: np.take(value, [row], BATCH_AXIS.get(name, 0)) for name, value in state.items()}


def start_session(model: bytes, threads: int = 0) -> Any:
    """An onnxruntime session on the CPU; 0 threads: as many as there are cores.

    Raises:
        InputError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError("onnxruntime is not installed; pip install 'deepspeech-torch[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # 8-bit weights: converted once
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
