"""Every option of testing, decoding and transcribing; see `config.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepspeech.errors import InputError
from deepspeech.options import CHUNK, NOT_NEGATIVE, POSITIVE, Options, flag_names, one_of, option


@dataclass(frozen=True)
class InferenceConfig(Options):
    """Model and device"""

    model_path: str = option("models/deepspeech_final.pth", "a model or checkpoint; path or URL")
    cuda: bool = option(False, "run on the GPU")
    half: bool = option(False, "half precision on the GPU, as --precision fp16")
    precision: str = option(
        "fp32", "number format: fp32, bf16, fp16 (on a GPU) or auto", one_of("fp32", "bf16", "fp16", "auto")
    )
    int8: bool = option(False, "8-bit weights in lstm and gru layers, on the CPU")


@dataclass(frozen=True)
class DecoderConfig(Options):
    """Decoder"""

    decoder: str = option("greedy", "greedy or beam", one_of("greedy", "beam"))
    beam_width: int = option(10, "hypotheses that beam search keeps", POSITIVE)
    top_paths: int = option(1, "hypotheses that beam search returns", POSITIVE)
    lm_path: str | None = option(None, "language model of beam search: ARPA file or KenLM binary")
    lm_unit: str = option("word", "its tokens: word or character", one_of("word", "character"))
    lm_open: bool = option(False, "let words through that the language model does not know")
    lm_unknown: float = option(-10.0, "log-probability of such a word, in place of the model's own")
    alpha: float = option(0.8, "weight of the language model's log-probability")
    beta: float = option(1.0, "bonus for every word, with a language model")
    hot_words: str | None = option(
        None,
        "words and phrases with what each adds to the score (5 is much)",
        metavar="WORD:BOOST,PHRASE OF WORDS:BOOST",
    )
    cutoff_top_n: int = option(40, "labels of a frame that beam search looks at, at most", POSITIVE)
    cutoff_prob: float = option(1.0, "and as many as sum up to this probability", POSITIVE)
    lm_workers: int = option(1, "processes of beam search", POSITIVE)


@dataclass(frozen=True)
class TuningConfig(Options):
    """Tuning"""

    trials: int = option(60, "pairs of alpha and beta to try", POSITIVE)
    alpha_range: tuple[float, float] = option((0.0, 3.0), "where to look for alpha", nargs=2, metavar="A")
    beta_range: tuple[float, float] = option((-2.0, 5.0), "where to look for beta", nargs=2, metavar="B")
    study: str | None = option(None, "SQLite file that keeps the trials; one that exists is gone on with")
    plot: str | None = option(None, "PNG of the WER over alpha and beta to write")
    seed: int = option(123456, "seed of the search", NOT_NEGATIVE)


@dataclass(frozen=True)
class EvaluationConfig(Options):
    """Test data"""

    test_manifest: str = option("data/test_manifest.csv", "CSV of audio,transcript[,seconds]")
    batch_size: int = option(20, "utterances in a batch", POSITIVE)
    num_workers: int = option(4, "processes that load data; 0 loads in the main one", NOT_NEGATIVE)
    unknown_characters: str = option(
        "error", "what to do with characters outside the labels: error or drop", one_of("error", "drop")
    )
    skip_faulty: bool = option(False, "go on without faulty rows of the manifest instead of stopping")
    verbose: bool = option(False, "print every reference with its hypothesis")
    save_output: str | None = option(None, "file for the network's output, to tune beam search with")
    output: str | None = option(None, "CSV of references, hypotheses and error counts to write")
    report: str | None = option(None, "HTML page on the errors to write")
    stream: bool = option(False, "transcribe as it will be live, a tenth of a second at a time")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stream and (self.report or self.save_output):
            flag = "--report" if self.report else "--save-output"
            raise InputError(f"{flag}: is of whole utterances; leave out --stream")


@dataclass(frozen=True)
class RecordingsConfig(Options):
    """Recordings"""

    manifest: str | None = option(None, "CSV of audio,transcript[,seconds] whose audio to transcribe")
    folder: str | None = option(None, "folder whose audio files to transcribe, with all folders below it")
    output: str | None = option(
        None, "folder for one file of results per recording; those that are there already are not made again"
    )
    chunk_seconds: float | None = option(
        None,
        "cut longer recordings into segments of at most this length, at silences where there are any; "
        "0: never cut (default: 20 for recordings of more than a minute, shorter ones are not cut)",
        CHUNK,
        metavar="SECONDS",
    )
    batch_seconds: float = option(80.0, "audio computed at a time, padding included", POSITIVE)
    num_workers: int = option(2, "processes that read the audio of many files; 0: none", NOT_NEGATIVE)

    @property
    def whole_seconds(self) -> float:
        """Recordings up to this length are not cut."""
        if self.chunk_seconds is None:
            return 60.0
        return self.chunk_seconds or math.inf

    @property
    def segment_seconds(self) -> float:
        """How long segments of those that are cut may be."""
        return self.chunk_seconds or 20.0


@dataclass(frozen=True)
class TranscriptConfig(Options):
    """Output"""

    format: str = option(
        "json",
        "json (a document a line), text, subtitles (srt, vtt) or NIST's time-marked words (ctm)",
        one_of("json", "text", "srt", "vtt", "ctm"),
    )
    offsets: bool = option(False, "tell where each character begins, in output frames and seconds")
    words: bool = option(False, "tell the start, end and confidence of each word")
    align: str | None = option(
        None, "file with the transcript of the audio: tell its times instead of transcribing"
    )


@dataclass(frozen=True)
class StreamConfig(Options):
    """Streaming"""

    stream: bool = option(
        False, "transcribe one file as it comes, telling the text so far; - reads from a pipe"
    )
    sample_rate: int = option(
        16000, "of raw samples from a pipe, in Hz; a WAV header tells its own", POSITIVE
    )
    channels: int = option(1, "of raw samples from a pipe, which are 16-bit, little-endian", POSITIVE)
    real_time: bool = option(False, "read a file no faster than it was spoken")
    end_silence: float = option(1.0, "seconds without speech that end an utterance; 0: never", NOT_NEGATIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sample_rate", "channels", "real_time", "end_silence"):
            entry = type(self).__dataclass_fields__[name]
            if not self.stream and getattr(self, name) != entry.default:
                raise InputError(f"{flag_names(entry)[0]}: has no effect without --stream; add it")
