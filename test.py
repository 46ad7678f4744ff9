#!/usr/bin/env python3
"""Measure the word and character error rate of a model on a manifest."""

from deepspeech import cli
from deepspeech.commands.test import main

if __name__ == "__main__":
    cli.run(main)
