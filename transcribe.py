#!/usr/bin/env python3
"""Write down the speech of audio files: a JSON document each, a line each."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence

from deepspeech import cli
from deepspeech.checkpoint import load_model
from deepspeech.config import DecoderConfig, InferenceConfig
from deepspeech.decoder import description, make_decoder
from deepspeech.device import inference_device, inference_format
from deepspeech.errors import InputError
from deepspeech.recognizer import Recognizer


def main(argv: Sequence[str] | None = None) -> int:
    arguments = cli.parse(argv, __doc__, InferenceConfig, DecoderConfig, extend=add_arguments)
    inference = arguments.make(InferenceConfig)
    files = [*arguments.values.get("files", ()), *arguments.values.get("audio_path", ())]
    if not files:
        raise InputError("no audio file; give one or more")
    device = inference_device(inference.cuda)
    model = load_model(inference.model_path, device)
    decoder = make_decoder(arguments.make(DecoderConfig), model.labels)
    recognizer = Recognizer(model, decoder, inference_format(inference.half, device))
    for file in files:
        print(json.dumps(document(recognizer, file, inference, "offsets" in arguments.values)), flush=True)
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", help="audio files")
    parser.add_argument("--audio-path", nargs="+", metavar="FILE", help="audio files")
    parser.add_argument(
        "--offsets",
        action="store_true",
        help="tell where each character begins, in output frames and seconds",
    )


def document(recognizer: Recognizer, file: str, inference: InferenceConfig, offsets: bool) -> dict:
    """The transcript in the form of deepspeech.pytorch."""
    output = []
    for hypothesis in recognizer.hypotheses([file])[0]:
        output.append({"transcription": hypothesis.text})
        if offsets:
            seconds = [round(recognizer.seconds(offset), 3) for offset in hypothesis.offsets]
            output[-1] |= {"offsets": hypothesis.offsets, "offsets_seconds": seconds}
    return {
        "audio_path": file,
        "output": output,
        "_meta": {
            "acoustic_model": {"name": os.path.basename(inference.model_path)},
            **description(recognizer.decoder),
        },
    }


if __name__ == "__main__":
    cli.run(main)
