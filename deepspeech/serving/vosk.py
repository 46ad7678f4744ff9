"""The websocket interface of Vosk's server: 16-bit samples in, JSON out (https://alphacephei.com/vosk/server)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.websockets import WebSocket

from deepspeech.errors import InputError
from deepspeech.inference.samples import RATES
from deepspeech.serving.service import Service
from deepspeech.serving.sessions import Session, Utterance, start_session

MOST_PHRASES = 100  # of a phrase list


@dataclass
class Settings:
    """What a client has configured."""

    sample_rate: int = 16000
    words: bool = True
    alternatives: bool = False
    rest: bytes = b""  # half a sample, which belongs to the next message

    def update(self, config: dict[str, Any]) -> None:
        """Take what a `{"config": ...}` message has; what is not known is ignored, as by Vosk.

        Raises:
            InputError: The sample rate is no such number.
        """
        rate = config.get("sample_rate", self.sample_rate)
        if not isinstance(rate, int | float) or not RATES[0] <= rate <= RATES[1]:
            raise InputError(f"sample_rate {rate!r}; give {RATES[0]} to {RATES[1]} Hz")
        self.sample_rate = round(rate)
        self.words = bool(config.get("words", self.words))
        self.alternatives = bool(config.get("max_alternatives", self.alternatives))

    def render(self, utterance: Utterance) -> dict[str, Any]:
        """The result of an utterance."""
        words = [
            {"conf": round(each.confidence, 6), "start": round(each.start, 3), "end": round(each.end, 3)}
            | {"word": each.text}
            for each in utterance.words
        ]
        result: dict[str, Any] = {"result": words} if self.words and words else {}
        if self.alternatives:
            return {"alternatives": [{"confidence": 1.0, "text": utterance.text, **result}]}
        return {**result, "text": utterance.text}


async def serve(service: Service, socket: WebSocket) -> None:
    """Talk to a client until it says `{"eof" : 1}` or leaves.

    Raises:
        InputError: A message is invalid.
    """
    limits = service.config
    session = start_session(
        service.engine(socket.query_params.get("model")), limits.end_silence, limits.max_seconds
    )
    settings = Settings()
    while True:
        message = await service.next_message(socket)
        if message is None:  # the client is gone, or the server is about to end
            await service.send(socket, settings.render(await session.finish()))
            return
        if isinstance(message, bytes):
            await service.send(socket, await _feed(session, settings, message))
            continue
        command = _command(message)
        if config := command.get("config"):
            settings.update(config)
            phrases = config.get("phrase_list")
            if isinstance(phrases, list) and all(isinstance(each, str) for each in phrases[:MOST_PHRASES]):
                await session.favour(phrases[:MOST_PHRASES])
        if command.get("eof"):
            await service.send(socket, settings.render(await session.finish()))
            return
        if command.get("reset"):
            await session.finish()


async def _feed(session: Session, settings: Settings, data: bytes) -> dict[str, Any]:
    data = settings.rest + data
    whole = len(data) // 2 * 2
    settings.rest = data[whole:]
    update = await session.feed(np.frombuffer(data[:whole], "<i2"), settings.sample_rate)
    return settings.render(update.ended) if update.ended else {"partial": update.partial.text}


def _command(text: str) -> dict[str, Any]:
    try:
        command = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("a text message that is not JSON") from None
    if not isinstance(command, dict) or not isinstance(command.get("config", {}), dict):
        raise InputError('a text message that is not an object such as {"config": {"sample_rate": 16000}}')
    return command
