"""Every option of training and of the model: its default, help text and check stand here once.

Those of testing and transcribing are in `inference_config.py`. `cli.py` turns the fields into
flags; checkpoints hold `ModelConfig` as plain data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from deepspeech.errors import InputError
from deepspeech.options import (
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
