"""Folders for sherpa-onnx: a model that its recogniser runs, its tokens, and a page on how to run it."""

from __future__ import annotations

from pathlib import Path

import deepspeech
from deepspeech.atomic_file import write_atomic
from deepspeech.errors import InputError
from deepspeech.export.graph import NetworkGraph
from deepspeech.export.onnx_file import make_model, metadata
from deepspeech.model.deepspeech2 import DeepSpeech

RATE = 16000  # Hz, to which the recogniser resamples
LEVEL = 0.03  # RMS amplitude of speech: the recogniser scales every recording to 1, which is far too loud
FRAME = 0.02  # seconds, by which the recogniser counts
BLANK = "<blk>"
README = """\
# A speech recogniser for sherpa-onnx

    import sherpa_onnx, soundfile

    load = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc
    recognizer = load(model="model.onnx", tokens="tokens.txt")
    samples, rate = soundfile.read("recording.wav", dtype="float32")
    stream = recognizer.create_stream()
    stream.accept_waveform(rate, samples)
    recognizer.decode_stream(stream)
    print(stream.result.text)

The same two files work in its interfaces for C, C++, Swift, Kotlin, Go and others; see https://k2-fsa.github.io/sherpa.

What differs from deepspeech:

- sherpa-onnx scales every recording to variance 1. The model scales it back to the level of ordinary speech
  ({level} RMS), not to its own: texts of very quiet or very loud recordings may differ.
- Decoding is greedy.
- {times}
"""


def write_folder(network: DeepSpeech, folder: str | Path) -> None:
    """Write `model.onnx`, `tokens.txt` and `README.md` for sherpa-onnx's recogniser of whole utterances.

    Args:
        network: In eval mode, on the CPU.
        folder: Created if need be.

    Raises:
        InputError: The model's sample rate or its labels do not fit sherpa-onnx; or see `make_model`.
    """
    config, labels = network.config, network.labels
    if config.features.sample_rate != RATE:
        raise InputError(
            f"--to sherpa: the model takes {config.features.sample_rate} Hz, sherpa-onnx gives {RATE} Hz; "
            f"train one with --sample-rate {RATE}"
        )
    if strange := [each for each in labels.characters if each != " " and (each.isspace() or each == BLANK)]:
        raise InputError(f"--to sherpa: the label {strange[0]!r} cannot be a token; train without it")
    make_model(network)  # checks the graph
    graph = NetworkGraph(network, level=LEVEL)
    model = graph.model("deepspeech", deepspeech.__version__, metadata(network, False))
    tokens = [BLANK if index == labels.blank else each for index, each in enumerate(labels.characters)]
    factor = round(config.frame_seconds / FRAME, 3)
    times = f"It counts 20 ms a frame: multiply its times by {factor:g}."
    folder = Path(folder)
    write_atomic(folder / "model.onnx", model.SerializeToString())
    lines = "".join(f"{token} {index}\n" for index, token in enumerate(tokens))
    write_atomic(folder / "tokens.txt", lines.encode())
    write_atomic(folder / "README.md", README.format(level=LEVEL, times=times).encode())
