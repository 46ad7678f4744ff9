"""Serve models over HTTP and websockets: OpenAI's, Vosk's and deepspeech.pytorch's interfaces, and a page."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepspeech import cli, log
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.errors import InputError
from deepspeech.inference.factory import InferenceConfig, load_recognizer, tuned
from deepspeech.serving.config import ServeConfig

if TYPE_CHECKING:  # of the extra `serve`
    from starlette.types import ASGIApp

    from deepspeech.serving.service import Service

EXAMPLES = """
deepspeech serve models/deepspeech_final.pth
deepspeech serve --model english=en.pth german=de.pth --host 0.0.0.0 --api-key secret --decoder beam
"""
BACKLOG, LARGEST_MESSAGE = 128, 1 << 22  # connections, bytes of a websocket message
DRAIN_STEP = 0.05  # seconds between looks at what is still in work


def main(argv: Sequence[str] | None = None) -> int:
    arguments = cli.parse(argv, __doc__, ServeConfig, InferenceConfig, DecoderConfig, examples=EXAMPLES)
    config, inference = arguments.make(ServeConfig), arguments.make(InferenceConfig)
    if "model_path" in arguments.values:
        config = replace(config, models=(*config.models, inference.model_path))
    paths, decoding = config.named_models(), arguments.make(DecoderConfig)
    if decoding.top_paths > 1:
        raise InputError("--top-paths: clients get one transcript; leave it out")
    try:
        from deepspeech.serving.app import make_app
        from deepspeech.serving.engine import Engine
        from deepspeech.serving.service import Metrics, Service
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is missing; pip install 'deepspeech-torch[serve]'") from None
    torch.set_num_threads(config.threads or max((os.cpu_count() or 1) - 1, 1))
    metrics, engines = Metrics(), {}
    for name, path in paths.items():
        recognizer = load_recognizer(replace(inference, model_path=path), tuned(decoding, path))
        observe = metrics.batches.observe
        recognizer.transcribe(np.zeros(recognizer.model.config.features.sample_rate, np.float32))  # compiles
        engines[name] = Engine(recognizer, config.max_wait_ms / 1000, config.batch_seconds, observe)
    service = Service(engines, config, metrics)
    asyncio.run(run(service, make_app(service)))
    for engine in engines.values():
        engine.close()
    return 0


async def run(service: Service, app: ASGIApp) -> None:
    """Serve until SIGTERM or Ctrl-C; then finish what was accepted, within the grace.

    Args:
        service: Knows what is in work, and learns when to take no more.
        app: Its application.

    Raises:
        InputError: A port or a certificate cannot be used.
    """
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves signals to us."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config, loop = service.config, asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.draining.set)
    servers = [
        Server(
            uvicorn.Config(
                app, host=config.host, port=port, log_level="error", lifespan="off", backlog=BACKLOG,
                ws="websockets-sansio", ws_max_size=LARGEST_MESSAGE, h11_max_incomplete_event_size=1 << 16,
                ssl_certfile=config.certificate, ssl_keyfile=config.private_key,
                timeout_graceful_shutdown=1, server_header=False, proxy_headers=False,
            )
        )
        for port in (config.port, config.vosk_port) if port
    ]  # fmt: skip
    tasks = [asyncio.create_task(_serve(server)) for server in servers]
    stop = asyncio.create_task(service.draining.wait())
    await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
    deadline = loop.time() + config.grace
    while any(service.active.values()) and loop.time() < deadline and not any(t.done() for t in tasks):
        await asyncio.sleep(DRAIN_STEP)
    for engine in service.engines.values():
        engine.abandon()  # what is not done by now is answered so
    for server in servers:
        server.should_exit = True
    stop.cancel()
    await asyncio.gather(*tasks)


async def _serve(server: Any) -> None:
    config = server.config
    try:
        config.load()
        sockets = [config.bind_socket()]
    except (OSError, SystemExit) as error:
        raise InputError(
            f"{config.host}:{config.port}: cannot serve there: {error}; choose another --port"
        ) from None
    scheme = "https" if config.is_ssl else "http"
    log.info(f"{scheme}://{config.host}:{config.port}: ready")
    await server.serve(sockets=sockets)
