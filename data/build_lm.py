#!/usr/bin/env python3
"""Build an n-gram language model from text, for beam search: an ARPA file or a KenLM binary."""

from deepspeech import cli
from deepspeech.commands.build_lm import main

if __name__ == "__main__":
    cli.run(main)
