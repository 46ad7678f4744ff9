"""The command line: `deepspeech COMMAND ...`, or `python -m deepspeech COMMAND ...`."""

from __future__ import annotations

import importlib
import sys

from deepspeech import __version__, cli
from deepspeech.errors import InputError

COMMANDS = {
    "train": "train a model from manifests",
    "test": "measure the word and character error rate of a model",
    "transcribe": "transcribe audio files, folders or a live stream",
    "tune-lm": "find the weights of a language model on validation data",
    "build-lm": "build an n-gram language model from text",
    "serve": "transcribe for clients over HTTP and websockets, and show a page",
    "verify": "check every file of a manifest",
    "manifest": "convert a manifest between CSV, JSON lines and Kaldi folders",
    "export": "write a model for another runtime, as ONNX",
    "export-v2": "write a model as a deepspeech.pytorch 2.x file",
}
USAGE = "\n".join(
    [
        "usage: deepspeech COMMAND [FLAGS]\n",
        "Deep Speech 2: train speech-to-text models, measure them, transcribe.\n",
        *(f"  {name:12} {text}" for name, text in COMMANDS.items()),
        "\ndeepspeech COMMAND --help lists the flags of a command, deepspeech --version prints the version.",
    ]
)


def main() -> None:
    """Run the command that the first argument names."""
    cli.run(_dispatch)


def _dispatch() -> int | None:
    name, argv = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    sys.argv[0] = "deepspeech"
    if name in ("-h", "--help", "--version"):
        print(__version__ if name == "--version" else USAGE)
        return 0
    if name not in COMMANDS:
        raise InputError(f"{name}: no such command; choose from {', '.join(COMMANDS)}")
    sys.argv[0] = f"deepspeech {name}"
    if name == "export-v2":
        name, argv = "export", [*argv, "--to", "v2"]
    module = name.replace("-", "_")
    command = importlib.import_module(f"deepspeech.commands.{module}")
    status: int | None = command.main(argv)
    return status


if __name__ == "__main__":
    main()
