"""Output of transcribe.py: JSON, text, subtitles, CTM."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.decoding.decoder import Hypothesis
from deepspeech.decoding.word_times import Transcript, Word
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.transcription.formats import (
    CUE_SECONDS,
    LINE_WIDTH,
    LINES,
    SHORTEST_CUE,
    ctm,
    cues_of,
    srt,
    text,
    vtt,
)
from tests.conftest import load_script, tiny_model

LABELS = Labels(["_", "A", "B", "C", " "])


def said(*words: tuple[str, float, float]) -> list[Word]:
    return [Word(text, start, end, 0.5) for text, start, end in words]


HELLO = said(("HELLO", 0.5, 0.9), ("WORLD", 1.0, 1.4), ("<B>", 3600.25, 3661.0))


def test_srt():
    assert "".join(srt(HELLO)) == (
        "1\n00:00:00,500 --> 00:00:01,500\nHELLO WORLD\n\n2\n01:00:00,250 --> 01:00:07,250\n<B>\n"
    )
    assert list(srt([])) == []


def test_vtt_escapes_text():
    assert "".join(vtt(HELLO)) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nHELLO WORLD\n\n01:00:00.250 --> 01:00:07.250\n&lt;B&gt;\n"
    )
    assert list(vtt([])) == ["WEBVTT\n"]


def test_ctm():
    lines = list(ctm(HELLO, "calls/my_call.v1"))
    assert lines[0] == "calls/my_call.v1 1 0.50 0.40 HELLO 0.500\n"
    assert len(lines) == 3


@st.composite
def transcripts(draw):
    steps = st.floats(0.01, 2.0)
    words, now = [], 0.0
    for length in draw(st.lists(st.integers(1, 60), min_size=1, max_size=60)):
        start = now + draw(steps) - 0.01
        now = start + draw(steps)
        words.append(Word("x" * length, start, now, 1.0))
    return words


@given(transcripts())
def test_subtitles_hold_all_words_within_their_limits(words):
    cues = list(cues_of(words))
    assert [word for cue in cues for word in cue.words] == words
    blocks = "".join(srt(words)).split("\n\n")
    assert len(blocks) == len(cues)
    for number, (block, cue) in enumerate(zip(blocks, cues, strict=True), start=1):
        head, times, *lines = block.strip().split("\n")
        assert head == str(number)
        assert re.fullmatch(r"\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}", times)
        assert " ".join(lines).split() == [word.text for word in cue.words]
        assert all(len(line) <= LINE_WIDTH or " " not in line for line in lines)
        assert len(cue.words) == 1 or len(lines) <= LINES


@given(transcripts())
def test_subtitles_stay_long_enough_and_never_overlap(words):
    cues = list(cues_of(words))
    for cue, following in zip(cues, [*cues[1:], None], strict=True):
        assert 0 < cue.end - cue.start <= 1000 * CUE_SECONDS
        assert cue.start == pytest.approx(1000 * cue.words[0].start, abs=2)
        if following:
            assert cue.end <= following.start
        if not following or following.start - cue.start >= SHORTEST_CUE:
            assert cue.end - cue.start >= SHORTEST_CUE


@given(transcripts())
def test_subtitles_come_as_soon_as_they_are_complete(words):
    """However long the recording: no more words are held back than two subtitles have."""
    ahead = 0

    def counted():
        nonlocal ahead
        for word in words:
            ahead += 1
            yield word

    for cue in cues_of(counted()):
        ahead -= len(cue.words)
        assert ahead <= 2 * LINES * (LINE_WIDTH + 1) / 2 + 1


def test_subtitles_end_at_pauses():
    times = np.arange(20) * 0.5
    words = [Word(f"W{i}", t, t + (0.2 if i == 9 else 0.45), 1.0) for i, t in enumerate(times.tolist())]
    assert [len(cue.words) for cue in cues_of(words)] == [10, 10]  # not 14 and 6, as time allows


def test_text_comes_in_one_line():
    parts = [Transcript(Hypothesis(said, [0] * len(said), 0.0), []) for said in ("AB C", "", "A")]
    assert list(text(parts)) == ["AB C", " A", "\n"]
    assert "".join(text(parts, spaced=False)) == "AB CA\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that knows nothing, and two recordings."""
    folder = tmp_path_factory.mktemp("formats")
    save_checkpoint(folder / "model.pth", tiny_model(LABELS))
    for name in "ab":
        noise = 0.1 * np.random.default_rng(0).standard_normal(24000)
        soundfile.write(folder / f"{name}.wav", noise, 16000)
    long = np.random.default_rng(1).standard_normal(96000) * np.sin(np.arange(96000) / 3000) ** 8
    soundfile.write(folder / "c.wav", 0.1 * long, 16000)
    (folder / "text.txt").write_text("AB\nCAB A\n")
    return folder


class TestScript:
    @pytest.fixture
    def run(self, folder, capsys):
        script = load_script("transcribe.py")

        def run(*arguments: str, files: str = "a") -> str:
            paths = [str(folder / f"{name}.wav") for name in files]
            script.main([*paths, "--model-path", str(folder / "model.pth"), *arguments])
            return capsys.readouterr().out

        return run

    def test_words_in_json(self, run):
        plain, timed = (json.loads(run(*flags))["output"][0] for flags in ([], ["--words"]))
        assert plain == {"transcription": timed["transcription"]}
        assert [word["text"] for word in timed["words"]] == timed["transcription"].split()
        assert all(0 <= word["start"] < word["end"] <= 1.5 for word in timed["words"])

    def test_alternatives_have_scores(self, run):
        rows = json.loads(run("--decoder", "beam", "--top-paths", "3"))["output"]
        assert 1 <= len(rows) <= 3
        assert [set(row) for row in rows] == [{"transcription", "score", "acoustic_score", "lm_score"}] * len(
            rows
        )
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores, reverse=True)

    @pytest.mark.parametrize("form", ["json", "text", "srt", "vtt", "ctm"])
    def test_every_format_of_a_recording_in_segments(self, run, form):
        """It has the words of the whole line; how many there are depends on the cuts."""
        document = json.loads(run("--words", "--offsets", "--chunk-seconds", "2", files="c"))
        (row,) = document["output"]
        assert len(row["offsets"]) == len(row["transcription"])
        assert [word["text"] for word in row["words"]] == row["transcription"].split()
        times = [time for word in row["words"] for time in (word["start"], word["end"])]
        assert times == sorted(times)
        assert 4 < times[-1] <= 6
        out = run("--format", form, "--words", "--chunk-seconds", "2", files="c")
        if form == "json":
            out = json.loads(out)["output"][0]["transcription"]
        elif form == "ctm":
            out = " ".join(line.split()[4] for line in out.splitlines())
        elif form != "text":
            out = " ".join(line for line in out.splitlines() if re.fullmatch("[ABC ]+", line))
        assert out.split() == row["transcription"].split()

    def test_align_gives_times_of_words_and_characters(self, run, folder):
        document = json.loads(run("--align", str(folder / "text.txt")))
        (row,) = document["output"]
        assert document["_meta"]["decoder"]["type"] == "alignment"
        assert row["transcription"] == "AB CAB A"
        assert [word["text"] for word in row["words"]] == ["AB", "CAB", "A"]
        assert len(row["offsets"]) == len(row["offsets_seconds"]) == len("AB CAB A")
        assert row["offsets"] == sorted(set(row["offsets"]))

    def test_every_format_has_the_aligned_words(self, run, folder):
        align = "--align", str(folder / "text.txt")
        assert run(*align, "--format", "text") == "AB CAB A\n"
        assert [line.split()[4] for line in run(*align, "--format", "ctm").splitlines()] == ["AB", "CAB", "A"]
        for form in ("srt", "vtt"):
            assert run(*align, "--format", form).endswith("\nAB CAB A\n")

    def test_several_files(self, run):
        assert len(run("--format", "text", files="ab").splitlines()) == 2
        assert [json.loads(line)["audio_path"][-5:] for line in run(files="ab").splitlines()] == [
            "a.wav",
            "b.wav",
        ]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--format", "srt"], "--format srt: 2 audio files; give one at a time"),
            (["--align", "text.txt"], "--align: 2 audio files; give one at a time"),
            (["--format", "docx"], "--format docx: must be one of"),
        ],
    )
    def test_mistakes(self, run, arguments, message):
        with pytest.raises(InputError, match=message):
            run(*arguments, files="ab")

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--decoder", "beam"], "--decoder beam: alignment has no use for it; leave it out"),
            (["--top-paths", "3"], "--top-paths 3: alignment has no use for it"),
            (["--chunk-seconds", "5"], "--align: its transcript is that of the whole file"),
        ],
    )
    def test_alignment_takes_no_flags_of_decoding(self, run, folder, flags, message):
        with pytest.raises(InputError, match=message):
            run("--align", str(folder / "text.txt"), *flags)

    def test_a_transcript_in_other_letters(self, run, folder):
        (folder / "lower.txt").write_text("ab")
        with pytest.raises(InputError, match="'a', 'b'"):
            run("--align", str(folder / "lower.txt"))
