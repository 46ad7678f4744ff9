"""OpenAI's Realtime interface for transcription: events over a websocket."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from typing import Any

import numpy as np
from starlette.websockets import WebSocket

from deepspeech.errors import InputError
from deepspeech.serving.service import Service
from deepspeech.serving.sessions import Session, Utterance, start_session

SAMPLE_RATE = 24_000  # Hz of pcm16
ITEM = "conversation.item.input_audio_transcription"


class Conversation:
    """One client: its session, and the item that its audio belongs to.

    With server VAD, the default for models that stream, items end at silences; a commit ends one in any case.
    """

    def __init__(self, service: Service, socket: WebSocket) -> None:
        self.service, self.socket = service, socket
        self.name = socket.query_params.get("model") or next(iter(service.engines))
        self.session = self._start(self.name)
        self.rate, self.item, self.sent = SAMPLE_RATE, _new("item"), ""
        self.previous: str | None = None

    def _start(self, name: str) -> Session:
        config = self.service.config
        return start_session(self.service.engine(name), config.end_silence, config.max_seconds)

    async def send(self, kind: str, **more: Any) -> None:
        await self.service.send(self.socket, {"type": kind, "event_id": _new("event"), **more})

    async def send_session(self, kind: str) -> None:
        """Describe the session."""
        transcription = {"model": self.name, "language": None, "prompt": ""}
        audio = {
            "input": {"format": {"type": "audio/pcm", "rate": self.rate}, "transcription": transcription}
        }
        about = {"id": f"sess_{id(self):x}", "object": "realtime.transcription_session"}
        await self.send(kind, session={**about, "type": "transcription", "audio": audio})

    async def update(self, event: dict[str, Any]) -> None:
        """Take the settings of a client, in the form of today or of the beta."""
        audio = _object(event, "session", "audio", "input")
        transcription = _object(audio, "transcription")
        transcription = transcription or _object(event, "session", "input_audio_transcription")
        rate = _object(audio, "format").get("rate", self.rate)
        name = transcription.get("model", self.name)
        if not isinstance(name, str):
            raise InputError(f"session.audio.input.transcription.model: {name!r}; give a name")
        if not isinstance(rate, int) or not 8000 <= rate <= 96_000:
            raise InputError(f"session.audio.input.format.rate: {rate!r}; give 8000 to 96000")
        if name != self.name and name in self.service.engines:
            self.name, self.session = name, self._start(name)
        self.rate = rate

    async def append(self, event: dict[str, Any]) -> None:
        """Take audio; sends what became clear by it."""
        try:
            data = base64.b64decode(event.get("audio", ""), validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise InputError("audio: not base64") from None
        if len(data) % 2:
            raise InputError("audio: half a sample; send 16-bit samples, little-endian")
        update = await self.session.feed(np.frombuffer(data, "<i2"), self.rate)
        if update.ended:
            end = round(1000 * max((word.end for word in update.ended.words), default=0.0))
            await self.send("input_audio_buffer.speech_stopped", item_id=self.item, audio_end_ms=end)
            await self._complete(update.ended)
        else:
            await self._delta(update.partial.committed)

    async def commit(self) -> None:
        """End the item."""
        await self._complete(await self.session.finish())

    async def clear(self) -> None:
        """Forget the audio since the last item."""
        await self.session.finish()
        self.sent = ""
        await self.send("input_audio_buffer.cleared")

    async def _delta(self, committed: str) -> None:
        """Send what is final and was not sent before. A space counts once a word follows it."""
        text = " ".join(committed.split())
        if len(text) > len(self.sent) and text.startswith(self.sent):
            await self.send(f"{ITEM}.delta", item_id=self.item, content_index=0, delta=text[len(self.sent) :])
            self.sent = text

    async def _complete(self, utterance: Utterance) -> None:
        await self.send("input_audio_buffer.committed", item_id=self.item, previous_item_id=self.previous)
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": self.item, "type": "message", "role": "user", "status": "completed", "content": content}
        await self.send("conversation.item.added", item=item, previous_item_id=self.previous)
        await self._delta(utterance.text)
        seconds = utterance.words[-1].end - utterance.words[0].start if utterance.words else 0.0
        usage = {"type": "duration", "seconds": round(seconds, 3)}
        await self.send(
            f"{ITEM}.completed", item_id=self.item, content_index=0, transcript=utterance.text, usage=usage
        )
        self.previous, self.item, self.sent = self.item, _new("item"), ""


async def serve(service: Service, socket: WebSocket) -> None:
    """Talk to a client until it leaves; what is wrong with an event is an event too."""
    conversation = Conversation(service, socket)
    await conversation.send_session("session.created")
    while (message := await service.next_message(socket)) is not None:
        try:
            await _handle(conversation, message)
        except InputError as error:
            about = {
                "type": "invalid_request_error",
                "code": "invalid_event",
                "message": str(error),
                "param": None,
            }
            await conversation.send("error", error=about)
    await conversation.commit()  # the server is about to end


async def _handle(conversation: Conversation, message: str | bytes) -> None:
    try:
        event = json.loads(message)
        kind = event["type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError("an event that is not a JSON object with a type") from None
    match kind:
        case "session.update" | "transcription_session.update":
            await conversation.update(event)
            await conversation.send_session(f"{kind}d")
        case "input_audio_buffer.append":
            await conversation.append(event)
        case "input_audio_buffer.commit":
            await conversation.commit()
        case "input_audio_buffer.clear":
            await conversation.clear()
        case _:
            raise InputError(f"{kind}: no such event in a transcription session")


def _object(event: dict[str, Any], *names: str) -> dict[str, Any]:
    """An object within an event; empty where it is missing.

    Raises:
        InputError: Something else stands there.
    """
    for name in names:
        event = event.get(name) or {}
        if not isinstance(event, dict):
            raise InputError(f"{name}: not a JSON object")
    return event


def _new(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:20]}"
