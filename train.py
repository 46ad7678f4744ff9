#!/usr/bin/env python3
"""Train a Deep Speech 2 model from manifests."""

from deepspeech import cli
from deepspeech.commands.train import main

if __name__ == "__main__":
    cli.run(main)
