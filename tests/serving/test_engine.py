"""Batches of what comes together, fairness, and answers to everyone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deepspeech.inference.recognizer import Recognizer
from deepspeech.serving.engine import Client, Engine
from tests.serving.servers import talkative


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.fixture
def blocked():
    """An engine whose thread waits for an event, and the sizes of its batches."""
    sizes, gate = [], threading.Event()
    engine = Engine(Recognizer(talkative(False)), max_wait=0.01, batch_seconds=4.0, observe=sizes.append)
    engine.step(gate.wait)
    yield engine, sizes, gate
    gate.set()
    engine.close()


def test_what_comes_together_shares_batches_and_gives_the_texts_of_single_requests(blocked):
    engine, sizes, gate = blocked
    waveforms = [noise(8000 + 100 * seed, seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(engine.transcripts_of, [each], Client()) for each in waveforms]
        while engine.waiting < 8:
            pass
        gate.set()
        texts = [answer.result(20)[0][0].hypothesis.text for answer in answers]
    assert sum(sizes) == 8
    assert max(sizes) > 1
    alone = Recognizer(talkative(False))
    assert texts == [alone.transcribe(each).text for each in waveforms]


def test_batches_are_of_like_length_and_bounded(blocked):
    engine, sizes, gate = blocked
    waveforms = [noise(1000), noise(30_000), noise(1100), noise(31_000), noise(32_000)]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(engine.transcripts_of, waveforms, Client())
        while engine.waiting < 5:
            pass
        gate.set()
        assert len(answer.result(20)) == 5
    assert sorted(sizes) == [1, 2, 2], "four seconds hold two utterances of two"


def test_a_long_recording_does_not_hold_up_a_short_one(blocked):
    engine, _, gate = blocked
    order = []
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(engine.transcripts_of, [noise(40_000 + seed, seed) for seed in range(8)], Client())
        long.add_done_callback(lambda _: order.append("long"))
        while engine.waiting < 8:
            pass
        short = pool.submit(engine.transcripts_of, [noise(39_000)], Client())
        short.add_done_callback(lambda _: order.append("short"))
        while engine.waiting < 9:
            pass
        gate.set()
        long.result(30), short.result(30)
    assert order == ["short", "long"]


def test_a_fault_is_the_answer_and_the_engine_lives_on(blocked):
    engine, _, gate = blocked
    gate.set()
    with pytest.raises(Exception, match=r"shape|expand|size|dimension"):
        engine.transcripts_of([np.zeros((2, 2), np.float32)], Client())
    with pytest.raises(ZeroDivisionError):
        engine.step(lambda: 1 // 0).result(10)
    assert engine.transcripts_of([noise(4000)], Client())[0]


def test_closing_finishes_what_waits():
    engine = Engine(Recognizer(talkative(False)), max_wait=60.0)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(engine.transcripts_of, [noise(4000)], Client())
        while not engine.waiting:
            pass
        engine.close()
        assert answer.result(10)
