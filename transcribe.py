#!/usr/bin/env python3
"""Transcribe audio files, folders or a live stream: as JSON, text, subtitles or time-marked words.

A file that cannot be read is reported, the others are transcribed, and the exit status is 1.
"""

from deepspeech import cli
from deepspeech.commands.transcribe import main

if __name__ == "__main__":
    cli.run(main)
