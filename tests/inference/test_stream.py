"""Streaming: the same as offline, whatever the chunks; and what cannot stream says so."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepspeech import Recognizer, load_model
from deepspeech.audio.config import FeatureConfig
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.stream import COMMIT, HORIZON
from deepspeech.decoding.alignment import ForcedAligner
from deepspeech.errors import InputError
from deepspeech.inference.factory import make_decoder
from deepspeech.inference.stream_batch import advance
from tests.conftest import load_script, tiny_model

RUNNING = FeatureConfig(normalize="running")
CELLS = ["lstm", "gru", "rnn"]
DECODERS = {
    "greedy": DecoderConfig(),
    "beam": DecoderConfig(decoder="beam", beam_width=6),
    "hot words": DecoderConfig(decoder="beam", beam_width=6, hot_words="AB:2"),
}


def streaming_model(labels, seed=0, **options):
    """A network that writes many characters, often unsure which."""
    model = tiny_model(labels, seed, **({"bidirectional": False, "features": RUNNING} | options))
    with torch.no_grad():
        model.fc[0].module[1].weight *= 8
    return model


def streaming_recognizer(labels, decoder="greedy", **options):
    return Recognizer(streaming_model(labels, **options), make_decoder(DECODERS[decoder], labels))


def often_silent(model, waveform):
    """The same network, with the blank as its most frequent label for a waveform."""
    log_probs, _ = Recognizer(model).log_probs([waveform])
    most, blank = int(log_probs.argmax(-1).mode().values), model.labels.blank
    with torch.no_grad():
        model.fc[0].module[1].weight[[blank, most]] = model.fc[0].module[1].weight[[most, blank]]
    return model


def audio(samples, seed=0):
    """Noise whose loudness and pitch come and go."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / 1600
    loudness = np.interp(time, np.arange(40), random.uniform(0, 0.3, 40))
    pitch = np.interp(time, np.arange(40), random.uniform(0.01, 0.5, 40))
    return (loudness * (random.normal(0, 0.3, samples) + np.sin(pitch.cumsum()))).astype(np.float32)


def chunks_of(waveform, sizes):
    """Cut a waveform; the sizes repeat."""
    start, index = 0, 0
    while start < len(waveform):
        size = sizes[index % len(sizes)]
        yield waveform[start : start + size]
        start, index = start + size, index + 1


def text_and_offsets(hypothesis):
    return hypothesis.text, hypothesis.offsets


SIZES = st.lists(st.sampled_from([1, 7, 159, 160, 161, 800, 1600, 5000]), min_size=1, max_size=4)


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=10)
@given(st.integers(1, 12000), SIZES, st.sampled_from([1, 2, 20]), st.integers(1, 3))
def test_log_probabilities_of_chunks_are_those_of_the_whole(labels, cell, samples, sizes, context, layers):
    model = streaming_model(labels, rnn_type=cell, lookahead_context=context, hidden_layers=layers)
    recognizer, waveform = Recognizer(model), audio(samples)
    whole, (count,) = recognizer.log_probs([waveform])
    sizes = [max(size, samples // 100) for size in sizes]  # bounds the number of chunks, so the time
    features_state = model_state = None
    rows = []
    with torch.inference_mode():
        for chunk in [*chunks_of(waveform, sizes), waveform[:0]]:
            final = not len(chunk)
            chunk = torch.from_numpy(chunk)[None]
            features, lengths, features_state = recognizer.spectrogram.forward_chunk(
                chunk, None, features_state, final
            )
            log_probs, lengths, model_state = model.forward_chunk(features, lengths, model_state, final)
            assert lengths.tolist() == [log_probs.shape[1]]
            rows.append(log_probs)
    streamed = torch.cat(rows, 1)
    assert streamed.shape[1] == count
    assert torch.allclose(streamed, whole[:, :count], atol=1e-5)


@pytest.mark.parametrize(("size", "stride"), [(0.02, 0.02), (0.025, 0.02), (0.032, 0.02), (0.01, 0.02)])
def test_the_end_is_written_where_the_last_samples_fill_no_window(labels, size, stride):
    features = FeatureConfig(normalize="running", window_size=size, window_stride=stride)
    recognizer = streaming_recognizer(labels, features=features)
    stride_samples = features.stride_samples
    for samples in range(12_000, 12_000 + stride_samples, stride_samples // 8):
        stream = recognizer.stream()
        for chunk in chunks_of(audio(samples), [1600]):
            stream.feed(chunk)
        assert text_and_offsets(stream.finish()) == text_and_offsets(recognizer.transcribe(audio(samples)))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=5)
@given(st.integers(1, 50_000), SIZES, st.sampled_from([1, 5]), st.integers(0, 99))
def test_text_of_chunks_is_that_of_the_whole(labels, decoder, cell, samples, sizes, context, seed):
    recognizer = streaming_recognizer(labels, decoder, rnn_type=cell, lookahead_context=context, seed=seed)
    waveform, stream, committed = audio(samples, seed), recognizer.stream(), ""
    sizes = [max(size, samples // 100) for size in sizes]
    for chunk in chunks_of(waveform, sizes):
        partial = stream.feed(chunk)
        assert partial.text == partial.committed + partial.tentative
        assert partial.committed.startswith(committed)
        committed = partial.committed
    final, whole = stream.finish(), recognizer.transcribe(waveform)
    assert final.text.startswith(committed)
    assert text_and_offsets(final) == text_and_offsets(whole)
    assert final.score == pytest.approx(whole.score, abs=1e-3)


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_streams_as_each_of_its_utterances(labels, cell):
    """Utterances of unlike length, if only the last chunk is not full."""
    torch.manual_seed(0)
    model = streaming_model(labels, rnn_type=cell, lookahead_context=4)
    features, lengths = torch.randn(3, 161, 90), torch.tensor([90, 61, 75])
    for row, length in zip(features, lengths.tolist(), strict=True):
        row[:, length:] = 0
    with torch.inference_mode():
        whole, counts = model(features, lengths)
        first, _, state = model.forward_chunk(features[:, :, :60], final=False)
        last, ends, _ = model.forward_chunk(features[:, :, 60:], lengths - 60, state)
    assert (ends + first.shape[1]).tolist() == counts.tolist()
    streamed = torch.cat([first, last], 1)
    for row, expected, count in zip(streamed, whole, counts.tolist(), strict=True):
        assert torch.allclose(row[:count], expected[:count], atol=1e-5)


def test_a_stream_continues_after_the_end_of_an_utterance(labels):
    recognizer = streaming_recognizer(labels)
    stream, utterances = recognizer.stream(), [audio(20_000, seed=1), audio(9000, seed=2)]
    for utterance in utterances:
        assert stream.finish().text == ""
        for chunk in chunks_of(utterance, [1600]):
            stream.feed(chunk)
        assert stream.seconds == pytest.approx(len(utterance) / 16000)
        assert text_and_offsets(stream.finish()) == text_and_offsets(recognizer.transcribe(utterance))


def test_two_streams_of_one_recognizer_do_not_mix(labels):
    recognizer = streaming_recognizer(labels, "beam")
    waveforms = [audio(20_000, seed=1), audio(20_000, seed=2)]
    streams = [recognizer.stream() for _ in waveforms]
    for chunks in zip(*(chunks_of(waveform, [1600]) for waveform in waveforms), strict=True):
        for stream, chunk in zip(streams, chunks, strict=True):
            stream.feed(chunk)
    texts = [stream.finish().text for stream in streams]
    assert texts == [recognizer.transcribe(waveform).text for waveform in waveforms]
    assert len(set(texts)) == 2


@pytest.mark.parametrize("context", [1, 4, 20])
def test_latency_is_how_long_an_output_frame_waits(labels, context):
    """One sample before its time is not enough for the frame, its own sample is."""
    recognizer = streaming_recognizer(labels, lookahead_context=context)
    frame = 7
    samples = round((frame * recognizer.model.frame_seconds + recognizer.model.latency) * 16000)
    assert recognizer.model.latency == pytest.approx(0.16 + 0.02 * (context - 1))

    def frames_of(samples):
        features, _, _ = recognizer.spectrogram.forward_chunk(torch.zeros(1, samples), final=False)
        return recognizer.model.forward_chunk(features, final=False)[0].shape[1]

    assert frames_of(samples - 1) == frame
    assert frames_of(samples) == frame + 1


@pytest.mark.slow
def test_ten_minutes_of_silence_cost_no_more_than_one(labels):
    features = FeatureConfig(sample_rate=8000, window_size=0.01, normalize="running")
    recognizer = streaming_recognizer(labels, "beam", features=features, hidden_size=4, hidden_layers=1)
    stream, sizes = recognizer.stream(), []
    silence = np.zeros(60 * 8000, dtype=np.float32)
    for _ in range(10):
        partial = stream.feed(silence)
        audio, network = stream.state.audio, stream.state.network
        parts = [audio.held, audio.sums, *network.conv, network.lookahead]
        parts += [part for state in network.rnns for part in state]
        sizes.append(sum(part.numel() for part in parts))
        assert stream._decoder_stream.frames - stream._decoder_stream.start < HORIZON + COMMIT
    assert len(set(sizes)) == 1
    assert np.isfinite(stream.finish().score)
    assert partial.text == partial.text.strip()


@pytest.mark.parametrize("samples", [0, 1, 2, 159])
@pytest.mark.parametrize("decoder", DECODERS)
def test_next_to_nothing_is_transcribed(labels, decoder, samples):
    recognizer = streaming_recognizer(labels, decoder)
    stream = recognizer.stream()
    stream.feed(audio(samples))
    final = stream.finish()
    assert final.text == (recognizer.transcribe(audio(samples)).text if samples else "")


def test_16_bit_samples_are_those_of_a_file(labels):
    recognizer = streaming_recognizer(labels)
    waveform = (audio(16000) * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
    stream = recognizer.stream()
    stream.feed(waveform)
    assert text_and_offsets(stream.finish()) == text_and_offsets(
        recognizer.transcribe(waveform * np.float32(2**-15))
    )


def test_other_sample_rates_are_resampled(labels):
    recognizer, waveform = streaming_recognizer(labels), audio(30_000)
    stream = recognizer.stream()
    for chunk in chunks_of(waveform, [500, 33]):
        stream.feed(chunk, 44100)
    final, whole = stream.finish(), recognizer.transcribe(soxr.resample(waveform, 44100, 16000))
    assert final.text == whole.text
    assert stream.seconds == 0


def test_samples_that_vanish_on_resampling_have_no_text(labels):
    """One sample at 48 kHz is less than one at 16 kHz."""
    stream = streaming_recognizer(labels).stream()
    stream.feed(audio(1), 48000)
    assert stream.finish().text == ""


@pytest.mark.parametrize("rate", [8000, 44100, 1000])
def test_utterances_start_where_the_network_is_not_where_the_resampler_is(labels, rate):
    """The resampler holds back up to a second of audio."""
    recognizer, stream = streaming_recognizer(labels), streaming_recognizer(labels).stream()
    waveform = audio(4 * rate)
    resampled = soxr.resample(waveform, rate, 16000)
    for chunk in chunks_of(waveform, [rate // 10]):
        stream.feed(chunk, rate)
    recent = stream._recent
    stream.end_utterance()
    start = round(stream.start * 16000)
    assert np.allclose(resampled[start : start + len(recent)], recent, atol=1e-3)
    assert stream.seconds == pytest.approx(4)
    assert recognizer.model.latency < 4 - stream.start < recognizer.model.latency + 1.5


@pytest.mark.parametrize("samples", [11920, 16000, 160])
def test_words_end_with_the_audio(labels, samples):
    """Its last frame reaches beyond it."""
    recognizer = streaming_recognizer(labels)
    stream, waveform = recognizer.stream(), audio(samples)
    stream.keeps_log_probs = True
    stream.feed(waveform)
    found = [stream.words(stream.finish()), recognizer.transcripts(waveform)[0].words]
    assert [words[-1].end <= samples / 16000 for words in found] == [True, True]
    assert len(recognizer.log_probs([waveform])[0][0]) * 0.02 > samples / 16000


def test_a_chunk_that_fails_does_not_count(labels):
    stream = streaming_recognizer(labels).stream()
    with pytest.raises(InputError, match="NaN"):
        stream.feed(np.full(800, np.nan, np.float32), 8000)
    assert stream.seconds == 0
    stream.feed(audio(800)[::-1], 8000)
    assert stream.seconds == 0.1


def test_the_sample_rate_may_change(labels):
    """Nothing is lost where it does: as many frames as the seconds of both parts have."""
    recognizer = streaming_recognizer(labels, lookahead_context=1)
    stream = recognizer.stream()
    stream.feed(audio(16000), 16000)
    stream.feed(audio(8000), 8000)
    stream.feed(audio(44100), 44100)
    assert stream.seconds == pytest.approx(3)
    decoder = stream._decoder_stream
    stream.finish()
    assert decoder.frames == pytest.approx(151, abs=1)


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (np.array([0.1, np.nan], np.float32), None, "audio has NaN or infinite samples; repair"),
        (np.array([0.1, np.inf], np.float32), None, "audio has NaN or infinite samples; repair"),
        (np.zeros((2, 10), np.float32), None, r"samples of shape \(2, 10\); give one channel"),
        (np.zeros(10, np.int64), None, "samples of type int64; give float32 or int16"),
        (np.zeros(10, np.float32), 3, "audio of 3 Hz; give 1000 to 768000 Hz"),
    ],
)
def test_bad_samples_are_refused_and_the_utterance_continues(labels, samples, rate, words):
    recognizer, waveform = streaming_recognizer(labels), audio(8000)
    stream = recognizer.stream()
    stream.feed(waveform[:3000])
    with pytest.raises(InputError, match=f"^stream: {words}"):
        stream.feed(samples, rate)
    stream.feed(waveform[3000:])
    assert text_and_offsets(stream.finish()) == text_and_offsets(recognizer.transcribe(waveform))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"bidirectional": True}, "it processes utterances in both directions; train"),
        ({"features": FeatureConfig()}, "it normalises by the statistics of whole utterances; train"),
        ({"bidirectional": True, "features": FeatureConfig()}, "both directions and normalises by"),
    ],
)
def test_models_that_cannot_stream_say_why_and_what_to_train(labels, options, why):
    model = streaming_model(labels, **options)
    remedy = r"cannot stream: .*--no-bidirectional --normalize running"
    with pytest.raises(InputError, match=remedy) as caught:
        Recognizer(model).stream()
    assert why in str(caught.value)
    with pytest.raises(InputError, match=remedy):
        model.forward_chunk(torch.zeros(1, 161, 9), final=False)


def test_alignment_needs_whole_utterances(labels):
    recognizer = Recognizer(streaming_model(labels), ForcedAligner(labels, "A"))
    with pytest.raises(InputError, match="ForcedAligner needs whole utterances"):
        recognizer.stream()


@pytest.mark.slow
def test_train_normalises_as_asked_and_the_model_file_remembers(corpus, tmp_path):
    flags = [
        "--hidden-size",
        "12",
        "--hidden-layers",
        "1",
        "--num-workers",
        "0",
        "--no-cuda",
        "--epochs",
        "1",
    ]
    flags += ["--no-bidirectional", "--normalize", "running", "--lookahead-context", "3"]
    flags += [*corpus.flags(), "--save-folder", str(tmp_path)]
    assert load_script("train.py").main(flags) == 0
    model = load_model(tmp_path / "deepspeech_final.pth")
    assert model.config.features == RUNNING
    Recognizer(model).stream()
    flags += ["--continue-from", str(tmp_path / "deepspeech_final.pth"), "--normalize", "utterance"]
    with pytest.raises(InputError, match=r"--normalize utterance: .* has running"):
        load_script("train.py").main(flags)


@pytest.mark.parametrize("cell", CELLS)
def test_ending_an_utterance_loses_nothing(labels, cell):
    waveform, starts = audio(64_000), []
    model = often_silent(streaming_model(labels, rnn_type=cell, lookahead_context=3), waveform)
    recognizer = Recognizer(model)
    stream = recognizer.stream()
    for chunk in chunks_of(waveform, [1600]):
        stream.feed(chunk)
        if stream.silence >= 0.1:
            start, now = stream.start, stream.seconds
            found = stream.end_utterance()
            assert stream.start == pytest.approx(now - model.latency, abs=1e-4)
            starts.append(stream.start)
            # The same as of a stream of this part of the audio alone
            alone = recognizer.stream()
            part = waveform[round(start * 16000) : round(now * 16000)]
            partial = alone.feed(part)
            assert found.text == partial.text
            spoken = [offset for label, offset in zip(found.text, found.offsets, strict=True) if label != " "]
            assert all(start + each * model.frame_seconds < stream.start for each in spoken)
    assert len(starts) > 1


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("scale", ["linear", "mel"])
def test_streams_that_advance_together_give_what_each_gives_alone(labels, cell, scale):
    features = FeatureConfig(normalize="running", scale=scale)
    model = tiny_model(labels, bidirectional=False, rnn_type=cell, lookahead_context=3, features=features)
    recognizer, random = Recognizer(model), np.random.default_rng(0)
    lengths = 9600, 9600, 6400, 11000, 0
    audio = [(0.1 * random.standard_normal(length)).astype(np.float32) for length in lengths]
    together = [recognizer.stream() for _ in audio]
    for stream in together:
        stream.keeps_log_probs = True
    for start in range(0, 11000, 1600):  # those that start later, or end earlier, are in other groups
        going = [place for place, each in enumerate(audio) if start < len(each)]
        chunks = [together[place].prepare(audio[place][start : start + 1600]) for place in going]
        assert len(advance([together[place] for place in going], chunks)) == len(going)
    for waveform, stream in zip(audio, together, strict=True):
        hypothesis, alone = stream.finish(), recognizer.stream()
        alone.keeps_log_probs = True
        alone.feed(waveform)
        assert hypothesis.text == alone.finish().text
        if len(waveform):
            ours, theirs = (np.concatenate(each._ended) for each in (stream, alone))
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
