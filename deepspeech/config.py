"""Every option of the scripts: its default, help text and check stand here once.

`cli.py` turns the fields into flags; checkpoints hold `ModelConfig` as plain data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from deepspeech.errors import InputError
from deepspeech.options import (
    CHUNK,
    FRACTION,
    LEVEL,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    SEED,
    TEMPO,
    Options,
    flag_names,
    one_of,
    option,
)


@dataclass(frozen=True)
class FeatureConfig(Options):
    """Features"""

    sample_rate: int = option(16000, "sample rate of the features in Hz; audio is resampled to it", POSITIVE)
    window_size: float = option(0.02, "STFT window in seconds", POSITIVE)
    window_stride: float = option(0.01, "STFT stride in seconds", POSITIVE)
    window: str = option("hamming", "STFT window function", one_of("hamming", "hann", "blackman", "bartlett"))
    normalize: str = option(
        "utterance",
        "mean and deviation of the whole utterance, or running: of the frames so far, as streaming needs",
        one_of("utterance", "running"),
    )
    periodic: bool = True  # False in models of deepspeech.pytorch, whose windows are symmetric

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride_samples < 1 or self.window_samples < 2:
            raise InputError(
                f"--window-size {self.window_size} --window-stride {self.window_stride}: "
                f"shorter than a sample at {self.sample_rate} Hz; choose larger ones"
            )

    @property
    def window_samples(self) -> int:
        return round(self.sample_rate * self.window_size)

    @property
    def stride_samples(self) -> int:
        return round(self.sample_rate * self.window_stride)

    @property
    def bins(self) -> int:
        """Frequency bins of a frame: 161 by default."""
        return self.window_samples // 2 + 1


@dataclass(frozen=True)
class ModelConfig(Options):
    """Model"""

    hidden_size: int = option(1024, "units of a recurrent layer and direction", POSITIVE)
    hidden_layers: int = option(5, "number of recurrent layers", POSITIVE)
    rnn_type: str = option("lstm", "recurrent cell", one_of("lstm", "gru", "rnn"))
    bidirectional: bool = option(True, "read forward only, with a lookahead convolution")
    lookahead_context: int = option(20, "frames the lookahead convolution sees, its own included", POSITIVE)
    labels: tuple[str, ...] = ()
    features: FeatureConfig = FeatureConfig()

    def require_streaming(self) -> None:
        """Nothing, if the model can read audio as it comes.

        Raises:
            InputError: It cannot: says why, and what to train.
        """
        reasons = ["reads every utterance backwards, too"] if self.bidirectional else []
        if self.features.normalize != "running":
            reasons.append("normalises by the statistics of whole utterances")
        if reasons:
            raise InputError(
                f"the model cannot stream: it {' and '.join(reasons)}; "
                "train one with --no-bidirectional --normalize running"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        values = dict(values)
        values["labels"] = tuple(values["labels"])
        values["features"] = FeatureConfig.from_dict(values["features"])
        return super().from_dict(values)


@dataclass(frozen=True)
class DataConfig(Options):
    """Data"""

    train_manifest: str = option(
        "data/train_manifest.csv",
        "CSV of audio,transcript[,seconds] to train on, or shards: 'x-{000..099}.tar'",
    )
    val_manifest: str = option("data/val_manifest.csv", "CSV to validate on after every epoch")
    labels_path: str = option("labels.json", "JSON list of the characters, with '_' as the blank")
    batch_size: int = option(20, "utterances in a batch", POSITIVE)
    batch_seconds: float | None = option(
        None,
        "instead of --batch-size: as many utterances of like length as fit, padding counted",
        POSITIVE,
    )
    num_workers: int = option(4, "processes that load data; 0 loads in the main one", NOT_NEGATIVE)
    unknown_characters: str = option(
        "error", "what to do with characters outside the labels: error or drop", one_of("error", "drop")
    )
    skip_faulty: bool = option(False, "go on without faulty rows of the manifests instead of stopping")
    features_on_device: bool | None = option(
        None, "compute features and SpecAugment where the network is, or not (default: on a GPU only)"
    )
    sorta_grad: bool = option(
        True,
        "shuffle the first epoch too, instead of shortest first",
        flags=("--no-sorta-grad", "--no-sortaGrad"),
    )


@dataclass(frozen=True)
class AugmentConfig(Options):
    """Augmentation of the training data"""

    speed_volume_perturb: bool = option(False, "change tempo (pitch kept) and gain of every utterance")
    tempo_range: tuple[float, float] = option(
        (0.85, 1.15), "tempo factors (--speed-volume-perturb)", TEMPO, nargs=2, metavar=("LOW", "HIGH")
    )
    gain_range: tuple[float, float] = option(
        (-6.0, 8.0), "gains in dB (--speed-volume-perturb)", LEVEL, nargs=2, metavar=("LOW", "HIGH")
    )
    noise_dir: str | None = option(None, "folder of noise files to mix in, of any rate and length")
    noise_prob: float = option(0.4, "share of the utterances that get noise", PROBABILITY)
    noise_min: float = option(0.0, "least amplitude of noise, as a share of the speech's", NOT_NEGATIVE)
    noise_max: float = option(0.5, "largest amplitude of noise, as a share of the speech's", NOT_NEGATIVE)
    noise_snr: tuple[float, float] | None = option(
        None,
        "signal-to-noise ratios in dB instead of --noise-min and --noise-max",
        LEVEL,
        nargs=2,
        metavar=("LOW", "HIGH"),
    )
    rir_dir: str | None = option(None, "folder of room impulse responses to reverberate speech with")
    rir_prob: float = option(0.5, "share of the utterances that are reverberated", PROBABILITY)
    telephone_prob: float = option(0.0, "share of the utterances that sound as over a telephone", PROBABILITY)
    spec_augment: str | None = option(
        None,
        "mask and warp spectrograms; POLICY is original (the default), or LB, LD, SM or SS of the paper",
        one_of("original", "LB", "LD", "SM", "SS"),
        nargs="?",
        const="original",
        metavar="POLICY",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        ranges = {name: getattr(self, name) for name in ("tempo_range", "gain_range", "noise_snr")}
        ranges["noise_min"] = (self.noise_min, self.noise_max)
        for name, limits in ranges.items():
            if limits and limits[0] > limits[1]:
                raise self._fault(name, f"the range ends below its beginning, {limits}; swap them")
        for switch, names in AUGMENT_SWITCHES.items():
            for name in names:
                default = type(self).__dataclass_fields__[name].default
                if not getattr(self, switch) and getattr(self, name) != default:
                    raise self._fault(name, f"has no effect without --{switch.replace('_', '-')}; add it")

    def _fault(self, name: str, words: str) -> InputError:
        flag = flag_names(type(self).__dataclass_fields__[name])[0]
        return InputError(f"{flag} {getattr(self, name)}: {words}")


AUGMENT_SWITCHES = {
    "speed_volume_perturb": ("tempo_range", "gain_range"),
    "noise_dir": ("noise_prob", "noise_min", "noise_max", "noise_snr"),
    "rir_dir": ("rir_prob",),
}


@dataclass(frozen=True)
class TrainingConfig(Options):
    """Training"""

    epochs: int = option(70, "number of passes over the training data", POSITIVE)
    seed: int = option(123456, "seed of weights, shuffling and augmentation", SEED)
    cuda: bool = option(True, "train on the CPU even where there is a GPU")
    precision: str = option(
        "auto",
        "fp32, or bf16/fp16 by autocast; auto takes bf16 where the hardware computes in it",
        one_of("auto", "fp32", "bf16", "fp16"),
    )
    learning_rate: float = option(3e-4, "initial learning rate", POSITIVE, ("--lr", "--learning-rate"))
    schedule: str = option(
        "anneal",
        "learning rate: anneal divides it after every epoch, cosine lowers it to zero step by step",
        one_of("anneal", "cosine"),
    )
    learning_anneal: float = option(1.1, "divides the rate after every epoch (--schedule anneal)", POSITIVE)
    warmup_epochs: float = option(
        0.0, "epochs (fractions too) over which the rate rises from zero", NOT_NEGATIVE
    )
    weight_decay: float = option(1e-5, "weight decay", NOT_NEGATIVE, ("--wd", "--weight-decay"))
    momentum: float = option(0.9, "Nesterov momentum of SGD", FRACTION)
    adam: bool = option(False, "AdamW instead of SGD with Nesterov momentum")
    eps: float = option(1e-8, "AdamW epsilon", POSITIVE)
    betas: tuple[float, float] = option((0.9, 0.999), "AdamW betas", FRACTION, nargs=2, metavar="B")
    max_bad_steps: int = option(
        20, "stop after this many steps in a row without a finite loss or gradient", POSITIVE
    )
    sync_batchnorm: bool = option(
        False, "with several processes: normalise with the statistics of all of them, not of each"
    )
    max_norm: float = option(400.0, "gradients are clipped to this norm", POSITIVE)
    grad_accumulation: int = option(1, "batches summed before a step of the optimiser", POSITIVE)
    save_folder: str = option(
        "models/", "where models, metrics.csv and curves.png go; a path, or a URL such as s3://bucket/run"
    )
    best_val_model_name: str = option("deepspeech_final.pth", "file name of the best model by validation WER")
    checkpoint: bool = option(False, "save a checkpoint after every epoch")
    checkpoint_per_iteration: int = option(
        0,
        "save one every N batches; 0: never",
        NOT_NEGATIVE,
        ("--checkpoint-per-iteration", "--checkpoint-per-batch"),
    )
    save_n_recent_models: int = option(0, "keep this many checkpoints; 0: all", NOT_NEGATIVE)
    continue_from: str | None = option(None, "checkpoint (path or URL) to go on from exactly")
    finetune: bool = option(False, "take only the weights of --continue-from and start anew")
    drop_layers: int = option(0, "with --finetune: make this many last layers anew", NOT_NEGATIVE)
    freeze_epochs: int = option(0, "with --finetune: train only the new layers this long", NOT_NEGATIVE)
    load_auto_checkpoint: bool = option(False, "go on from the latest checkpoint in the save folder, if any")
    tensorboard: bool = option(False, "write TensorBoard events")
    log_dir: str = option("visualize/deepspeech_final", "folder of the TensorBoard events")
    log_params: bool = option(False, "log weights and gradients as TensorBoard histograms")
    id: str = option("DeepSpeech training", "name of the run in TensorBoard and in the figure")


@dataclass(frozen=True)
class MeasureConfig(Options):
    """Measuring, instead of training"""

    find_batch: bool = option(False, "find the largest --batch-seconds that fits into memory, and exit")
    memory_limit: float | None = option(
        None, "memory of --find-batch in GiB (default: nine tenths of what is free)", POSITIVE, metavar="GIB"
    )
    profile: int = option(
        0, "write a trace of N training steps and a summary, and exit", NOT_NEGATIVE, metavar="N"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory_limit and not self.find_batch:
            raise InputError(
                f"--memory-limit {self.memory_limit}: has no effect without --find-batch; add it"
            )


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
