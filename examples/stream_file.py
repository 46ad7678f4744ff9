"""Transcribe an audio file as if it came live: committed text, then what may still change.

python examples/stream_file.py models/streaming.pth speech.wav

The model must be able to stream: train it with --no-bidirectional --normalize running.
"""

import sys

from deepspeech import Recognizer
from deepspeech.audio.loading import stream_audio

CHUNK = 0.1  # seconds
SILENCE = 1.0  # seconds that end an utterance


def main(model_path: str, audio_path: str) -> None:
    """Print the text whenever it changes, and the final text of every utterance."""
    stream = Recognizer.load(model_path).stream()
    shown = None
    for samples in stream_audio(audio_path, stream.sample_rate, CHUNK):
        partial = stream.feed(samples)
        if partial != shown:
            print(f"{stream.seconds:7.1f} s  {partial.committed}[{partial.tentative}]")
            shown = partial
        if stream.silence >= SILENCE:
            print(f"final: {stream.end_utterance().text}")
    print(f"final: {stream.finish().text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
