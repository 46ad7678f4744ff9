"""Model and device of the scripts that run a trained network; the decoder."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.decoding.decoder import StreamingDecoder
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.device import number_format, process_device
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


def device_and_format(config: InferenceConfig) -> tuple[torch.device, torch.dtype]:
    """The device to run on and the dtype for autocast there; float32 means no autocast.

    Raises:
        InputError: There is no GPU, or half precision is asked of a CPU.
    """
    if config.cuda and not torch.cuda.is_available():
        raise InputError("--cuda: no CUDA device can be used here; leave the flag out to run on the CPU")
    if config.half and not config.cuda:
        raise InputError("--half: half precision needs --cuda; leave the flag out on the CPU")
    device = process_device(config.cuda)
    return device, number_format("fp16" if config.half else config.precision, device)


def make_decoder(config: DecoderConfig, labels: Labels) -> StreamingDecoder:
    """The decoder that the options describe.

    Raises:
        InputError: The options contradict each other, or beam search cannot be set up.
    """
    if config.decoder == "beam":
        return BeamCTCDecoder(labels, config)
    for entry in fields(config):
        if (value := getattr(config, entry.name)) != entry.default:
            raise InputError(f"{shown(entry, value)}: greedy decoding has no use for it; pass --decoder beam")
    return GreedyDecoder(labels)
