"""From options to a recogniser: model, device, number format, decoder."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

from deepspeech import distributed, log
from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.decoding.alignment import ForcedAligner
from deepspeech.decoding.decoder import Decoder, StreamingDecoder
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.errors import InputError
from deepspeech.inference.onnx_network import OnnxNetwork, is_onnx
from deepspeech.inference.recognizer import Recognizer
from deepspeech.labels import Labels
from deepspeech.options import Options, one_of, option, shown


@dataclass(frozen=True)
class InferenceConfig(Options):
    """Model and device"""

    model_path: str = option(
        "models/deepspeech_final.pth",
        "a model or checkpoint, path or URL; or an ONNX file of deepspeech export, which needs no torch",
        metavar="FILE",
    )
    cuda: bool = option(False, "run on the GPU")
    half: bool = option(False, "half precision on the GPU, as --precision fp16", needs="cuda")
    precision: str = option(
        "fp32", "number format: fp32, bf16, fp16 (on a GPU) or auto", one_of("fp32", "bf16", "fp16", "auto")
    )
    int8: bool = option(False, "8-bit weights in lstm and gru layers, on the CPU")


def load_recognizer(
    config: InferenceConfig, decoding: DecoderConfig, transcript: str | None = None
) -> Recognizer:
    """A trained network on its device, read by the first process, with its decoder.

    Args:
        config: Model, device and number format.
        decoding: See `make_decoder`.
        transcript: Text to align with the audio instead of decoding.

    Raises:
        InputError: There is no GPU, the model cannot be loaded, the options contradict each other, or the
            transcript has characters that are not in the labels.
    """
    if is_onnx(config.model_path):
        for entry in fields(config)[1:]:
            if (value := getattr(config, entry.name)) != entry.default:
                raise InputError(
                    f"{shown(entry, value)}: an ONNX file runs on the CPU as it was exported; leave it out"
                )
        onnx = OnnxNetwork(config.model_path)
        return Recognizer(onnx, choose_decoder(decoding, onnx.labels, transcript))
    import torch

    from deepspeech.checkpoint.format import load_model
    from deepspeech.device import number_format, process_device
    from deepspeech.inference.quantization import quantize

    if config.cuda and not torch.cuda.is_available():
        raise InputError("--cuda: no CUDA device can be used here; leave the flag out to run on the CPU")
    device = process_device(config.cuda)
    dtype = number_format("fp16" if config.half else config.precision, device)
    model = distributed.on_rank_zero(lambda: load_model(config.model_path)).to(device)
    decoder = choose_decoder(decoding, model.labels, transcript)
    return Recognizer(quantize(model) if config.int8 else model, decoder, dtype)


def choose_decoder(config: DecoderConfig, labels: Labels, transcript: str | None) -> Decoder:
    """`make_decoder` or, with a transcript, the one that aligns it.

    Raises:
        InputError: As in `make_decoder`; or there are options for decoding, and a transcript.
    """
    if transcript is None:
        return make_decoder(config, labels)
    _refuse_options(config, "alignment has no use for it; leave it out")
    return ForcedAligner(labels, transcript)


def _refuse_options(config: DecoderConfig, reason: str) -> None:
    for entry in fields(config):
        if (value := getattr(config, entry.name)) != entry.default:
            raise InputError(f"{shown(entry, value)}: {reason}")


def tuned(decoding: DecoderConfig, model_path: str) -> DecoderConfig:
    """The options of a beam search, completed by what `tune-lm` has written beside the model.

    Options that differ from their defaults stay; `--lm-path none` leaves the language model out.

    Raises:
        InputError: The file that `tune-lm` has written is damaged.
    """
    if decoding.decoder != "beam" or decoding.lm_path:
        return replace(decoding, lm_path=None) if decoding.lm_path == "none" else decoding
    path = tuned_path(model_path)
    if "://" in model_path or not path.is_file():
        return decoding
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = DecoderConfig(lm_path=str(path.parent / values.pop("lm_path")), **values)
    except (OSError, ValueError, TypeError, KeyError, InputError) as error:
        raise InputError(f"{path}: damaged: {error}; run deepspeech tune-lm again, or remove it") from None
    defaults = vars(DecoderConfig())
    given = {name: value for name, value in vars(decoding).items() if value != defaults[name]}
    found = replace(found, **given)
    log.info(f"{found.lm_path}: language model, alpha {found.alpha}, beta {found.beta}, from {path.name}")
    return found


def tuned_path(model_path: str) -> Path:
    """Where `tune-lm` writes the options of the beam search for a model."""
    return Path(model_path).with_suffix(".lm.json")


def make_decoder(config: DecoderConfig, labels: Labels) -> StreamingDecoder:
    """The decoder that the options describe.

    Raises:
        InputError: The options contradict each other, or beam search cannot be set up.
    """
    if config.decoder == "beam":
        return BeamCTCDecoder(labels, config)
    _refuse_options(config, "greedy decoding has no use for it; pass --decoder beam")
    return GreedyDecoder(labels)
