#!/usr/bin/env python3
"""Transcribe a recording by a running server, with OpenAI's client: its words, each with its times.

python examples/serve_openai.py recording.wav http://localhost:8000
"""

from __future__ import annotations

import sys

from openai import OpenAI


def main() -> None:
    path, address = sys.argv[1], (sys.argv[2:] or ["http://localhost:8000"])[0]
    client = OpenAI(base_url=f"{address}/v1", api_key="none")
    model = next(iter(client.models.list())).id
    with open(path, "rb") as file:
        answer = client.audio.transcriptions.create(
            file=file, model=model, response_format="verbose_json", timestamp_granularities=["word"]
        )
    for word in answer.words or []:
        print(f"{word.start:7.2f} {word.end:7.2f}  {word.word}")


if __name__ == "__main__":
    main()
