#!/usr/bin/env python3
"""Write down the speech of audio files: as JSON, text, subtitles or time-marked words.

A file that cannot be read is reported, the others are transcribed, and the status is 1.
"""

from deepspeech import cli
from deepspeech.commands.transcribe import main

if __name__ == "__main__":
    cli.run(main)
