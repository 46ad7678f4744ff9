"""Options of the server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from deepspeech.errors import InputError
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, option

KEY_VARIABLE = "DEEPSPEECH_API_KEY"


@dataclass(frozen=True)
class ServeConfig(Options):
    """Server"""

    models: tuple[str, ...] = option((), "model files", positional=True, nargs="*", metavar="FILE")
    model: tuple[str, ...] = option(
        (), "more models, each under a name of its own", nargs="+", metavar="NAME=FILE"
    )
    host: str = option("127.0.0.1", "address to listen at; 0.0.0.0: all of this machine's", metavar="ADDRESS")
    port: int = option(8000, "port of HTTP and websockets", POSITIVE)
    vosk_port: int = option(0, "port for clients of Vosk's websocket server; 0: none", NOT_NEGATIVE)
    api_key: str | None = option(
        None,
        f"key that clients must send (default: {KEY_VARIABLE} of the environment, if set)",
        metavar="KEY",
    )
    certificate: str | None = option(None, "TLS certificate, PEM", metavar="FILE")
    private_key: str | None = option(None, "its private key, PEM", needs="certificate", metavar="FILE")
    origin: tuple[str, ...] = option(
        (), "other web sites whose pages may use the server", nargs="+", metavar="URL"
    )
    threads: int = option(
        0, "threads that compute; 0: one less than there are cores, which leaves one to talk", NOT_NEGATIVE
    )
    max_wait_ms: float = option(
        20.0, "longest wait of a recording for others to share its batch", NOT_NEGATIVE
    )
    batch_seconds: float = option(80.0, "audio computed at a time, padding included", POSITIVE)
    max_upload_mb: float = option(200.0, "largest request, in megabytes", POSITIVE)
    max_seconds: float = option(4 * 3600.0, "longest recording", POSITIVE)
    max_requests: int = option(64, "recordings that are transcribed or wait; more are refused", POSITIVE)
    max_streams: int = option(100, "live streams at a time; more are refused", POSITIVE)
    idle_seconds: float = option(30.0, "close a live stream that sends nothing for so long", POSITIVE)
    end_silence: float = option(
        1.0, "seconds without speech that end an utterance of a live stream", POSITIVE
    )
    grace: float = option(30.0, "seconds to finish what was accepted, after SIGTERM", NOT_NEGATIVE)
    log_json: bool = option(False, "log every request as a line of JSON")

    @property
    def key(self) -> str | None:
        """The key that clients must send, if any."""
        return self.api_key or os.environ.get(KEY_VARIABLE) or None

    def named_models(self) -> dict[str, str]:
        """Paths of the models by their names: those of files go by their stem.

        Raises:
            InputError: No model is named, or a name stands for two.
        """
        named: dict[str, str] = {}
        pairs = [(Path(path).stem, path) for path in self.models]
        for text in self.model:
            name, _, path = text.partition("=")
            if not (name and path):
                raise InputError(f"--model {text}: give NAME=FILE")
            pairs.append((name, path))
        for name, path in pairs:
            if name in named:
                raise InputError(f"--model {name}={path}: {named[name]} has this name too; give another")
            named[name] = path
        if not named:
            raise InputError("no model; give the file of one, or --model NAME=FILE for several")
        return named
