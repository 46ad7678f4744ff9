#!/usr/bin/env python3
"""Stream a WAV file (16 bits, mono) to a running server, as clients of Vosk's do, and print what comes back.

python examples/serve_vosk.py recording.wav ws://localhost:8000/
"""

from __future__ import annotations

import json
import sys
import wave

from websockets.sync.client import connect


def main() -> None:
    path, address = sys.argv[1], (sys.argv[2:] or ["ws://localhost:8000/"])[0]
    with wave.open(path) as recording, connect(address) as socket:
        socket.send(json.dumps({"config": {"sample_rate": recording.getframerate()}}))
        while data := recording.readframes(recording.getframerate() // 5):
            socket.send(data)
            show(json.loads(socket.recv()))
        socket.send('{"eof" : 1}')
        show(json.loads(socket.recv()))


def show(reply: dict[str, str]) -> None:
    """Partial texts overwrite each other; those of utterances stay."""
    if "partial" in reply:
        print(f"\r{reply['partial']}", end="", file=sys.stderr)
    elif reply["text"]:
        print("\r" + reply["text"])


if __name__ == "__main__":
    main()
