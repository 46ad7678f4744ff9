"""Rendering as results come, and where results are written."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from deepspeech import Recognizer
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.decoding.decoder import Hypothesis
from deepspeech.decoding.word_times import Transcript, Word
from deepspeech.errors import InputError
from deepspeech.transcription.writers import (
    Renderer,
    ResultFiles,
    TranscriptConfig,
    check_names,
    recording_name,
    write_pieces,
)


@pytest.mark.parametrize("form", ["text", "srt", "vtt", "ctm"])
def test_segments_are_written_while_later_ones_are_transcribed(model, form):
    taken = 0

    def results():
        nonlocal taken
        for number in range(100):
            taken += 1
            word = Word("AB", 10.0 * number, 10.0 * number + 1, 0.5)
            yield [Transcript(Hypothesis("AB", [0, 1], 0.0), [word])]

    pieces = Renderer(Recognizer(model), TranscriptConfig(format=form), DecoderConfig(), "m")("a", results())
    written = io.StringIO()
    for piece in pieces:
        written.write(piece)
        assert taken - written.getvalue().count("AB") <= 3
    assert taken == written.getvalue().count("AB") == 100


@pytest.mark.parametrize("form", ["text", "ctm"])
def test_an_error_keeps_what_precedes_it_and_ends_the_line(model, form):
    word = Transcript(Hypothesis("AB", [0, 1], 0.0), [Word("AB", 0.0, 1.0, 0.5)])
    renderer, output = (
        Renderer(Recognizer(model), TranscriptConfig(format=form), DecoderConfig(), "m"),
        io.StringIO(),
    )
    with pytest.raises(InputError, match="damaged"):
        write_pieces(renderer("a", [[word], InputError("damaged")]), output)
    assert output.getvalue().count("AB") == output.getvalue().count("\n") == 1


def test_an_error_leaves_no_result_file(model, tmp_path):
    files = ResultFiles(str(tmp_path), "txt")
    with pytest.raises(InputError, match="damaged"):
        files.write(
            "a.wav",
            Renderer(Recognizer(model), TranscriptConfig(), DecoderConfig(), "m")(
                "a", [InputError("damaged")]
            ),
        )
    assert not list(tmp_path.rglob("*.txt"))


def test_where_results_lie(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    files = ResultFiles("out", "txt")
    assert files.path("a.wav") == files.path("./x/../a.wav") == Path("out/a.wav.txt")
    assert files.path("x/a.wav") == Path("out/x/a.wav.txt")
    assert files.path("../a.wav") == Path("out", str(tmp_path)[1:], "a.wav.txt")
    twin = os.path.join("/", "x", "a.wav")
    with pytest.raises(InputError, match="is also that of"):
        files.missing([twin, "x/a.wav"])


def test_recordings_in_ctm_have_names_of_their_own():
    paths = ["mon/1.wav", "tue/1.wav", "calls/my call.v1.wav", "./a.wav#t=1.5,2", "a.wav#t=2"]
    check_names(paths)
    assert [*map(recording_name, paths)] == ["mon/1", "tue/1", "calls/my_call.v1", "a#t=1.5,2", "a#t=2"]
    assert recording_name(os.path.join("/", "x", "a.wav")) == "x/a"
    for twins in (["a.wav", "a.flac"], ["a b.wav", "a_b.wav"]):
        with pytest.raises(InputError, match=f"^{twins[1]}: CTM would name it .*, as {twins[0]}; transcribe"):
            check_names(twins)
