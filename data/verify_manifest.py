#!/usr/bin/env python3
"""Verify every file of a manifest: print all faults with their lines, and statistics."""

from deepspeech import cli
from deepspeech.commands.verify import main

if __name__ == "__main__":
    cli.run(main)
