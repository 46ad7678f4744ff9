"""InferenceConfig; device, precision and decoder from options."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.decoding.decoder import Decoder
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.device import _device, number_format
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.options import Options, one_of, option, shown


@dataclass(frozen=True)
class InferenceConfig(Options):
    """Model and device"""

    model_path: str = option("models/deepspeech_final.pth", "a model or checkpoint; path or URL")
    cuda: bool = option(False, "run on the GPU")
    half: bool = option(False, "half precision on the GPU, as --precision fp16")
    precision: str = option(
        "fp32", "number format: fp32, bf16, fp16 (on a GPU) or auto", one_of("fp32", "bf16", "fp16", "auto")
    )
    int8: bool = option(False, "8-bit weights in lstm and gru layers, on the CPU")


def inference_device(cuda: bool) -> torch.device:
    """The device that was asked for.

    Raises:
        InputError: CUDA was asked for and there is none.
    """
    if cuda and not torch.cuda.is_available():
        raise InputError("--cuda: no CUDA device can be used here; leave the flag out to run on the CPU")
    return _device(cuda)


def inference_format(config: InferenceConfig, device: torch.device) -> torch.dtype:
    """The dtype for autocast that was asked for; float32 means no autocast.

    Raises:
        InputError: Half precision on a CPU.
    """
    if config.half and device.type == "cpu":
        raise InputError("--half: half precision needs --cuda; leave the flag out on the CPU")
    return number_format("fp16" if config.half else config.precision, device)


def make_decoder(config: DecoderConfig, labels: Labels) -> Decoder:
    """The decoder that was asked for.

    Raises:
        InputError: The flags contradict each other, or beam search cannot be set up.
    """
    if config.decoder == "beam":
        from deepspeech.beam_search.beam_decoder import BeamCTCDecoder  # which builds on this module

        return BeamCTCDecoder(labels, config)
    for entry in fields(config):
        if (value := getattr(config, entry.name)) != entry.default:
            raise InputError(f"{shown(entry, value)}: greedy decoding has no use for it; pass --decoder beam")
    return GreedyDecoder(labels)
