"""A running server, and recordings for it."""

from __future__ import annotations

import pytest

from tests.serving.servers import running, save_models, write_tones


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def server(models):
    with running(models) as server:
        yield server


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """Short ones of several lengths and rates, and one of more than a minute, which is cut."""
    folder = tmp_path_factory.mktemp("recordings")
    lengths = [0.3, 1.0, 1.1, 2.5, 4.0]
    short = [
        write_tones(folder / f"{seed}.wav", length, seed, 8000 * (1 + seed % 2))
        for seed, length in enumerate(lengths)
    ]
    return [*short, write_tones(folder / "long.flac", 65.0, 9)]
