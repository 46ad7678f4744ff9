"""Options of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from deepspeech import log
from deepspeech.options import FRACTION, NOT_NEGATIVE, POSITIVE, SEED, Options, one_of, option

if TYPE_CHECKING:
    from deepspeech.training.history import EpochRow

VALIDATION = 1.1  # time of an epoch with its validation, relative to the training alone


@dataclass(frozen=True)
class TrainingConfig(Options):
    """Training"""

    epochs: int = option(70, "number of passes over the training data", POSITIVE)
    minutes: float = option(
        0.0,
        "train no more epochs than fit into about so many minutes, by the time that the first one takes; "
        "0: all of them",
        NOT_NEGATIVE,
        metavar="M",
    )
    seed: int = option(123456, "seed of weights, shuffling and augmentation", SEED)
    cuda: bool = option(True, "train on the GPU if there is one")
    precision: str = option(
        "auto",
        "fp32 (on a GPU, and in validation there, TF32 in convolutions and recurrent layers), or mixed "
        "precision in bf16 or fp16; auto is bf16 where the hardware supports it",
        one_of("auto", "fp32", "bf16", "fp16"),
    )
    flat_start: float = option(
        0.0,
        "epochs, or a fraction of one, that train each frame on a label of the evenly spread transcript, "
        "before CTC; little speech then does not dwell on blanks",
        NOT_NEGATIVE,
        metavar="EPOCHS",
    )
    plain_epochs: int = option(
        0,
        "leave dropout and SpecAugment out of the first N epochs, which then learn faster",
        NOT_NEGATIVE,
        metavar="N",
    )
    patience: int = option(
        0, "stop when the validation loss has not fallen for N epochs; 0: never", NOT_NEGATIVE, metavar="N"
    )
    best_by: str = option(
        "noise",
        "the best model: that of the lowest WER (wer), or the latest not worse than it by more than chance "
        "(noise)",
        one_of("noise", "wer"),
    )
    learning_rate: float = option(3e-4, "initial learning rate", POSITIVE, ("--lr", "--learning-rate"))
    schedule: str = option(
        "anneal",
        "learning rate: anneal divides it after every epoch, cosine decays it to zero",
        one_of("anneal", "cosine"),
    )
    learning_anneal: float = option(1.1, "divisor of the learning rate for --schedule anneal", POSITIVE)
    warmup_epochs: float = option(
        0.0, "epochs, or a fraction of one, over which the learning rate rises from zero", NOT_NEGATIVE
    )
    weight_decay: float = option(1e-5, "weight decay", NOT_NEGATIVE, ("--wd", "--weight-decay"))
    momentum: float = option(0.9, "Nesterov momentum of SGD", FRACTION)
    adam: bool = option(False, "AdamW instead of SGD with Nesterov momentum")
    eps: float = option(1e-8, "AdamW epsilon", POSITIVE)
    betas: tuple[float, float] = option((0.9, 0.999), "AdamW betas", FRACTION, nargs=2, metavar="B")
    max_bad_steps: int = option(
        20, "stop after this many steps in a row without a finite loss or gradient", POSITIVE, metavar="N"
    )
    sync_batchnorm: bool = option(False, "compute batch norm statistics over all processes, not in each")
    max_norm: float = option(400.0, "clip gradients to this norm", POSITIVE, metavar="NORM")
    grad_accumulation: int = option(
        1, "accumulate gradients over N batches before each step", POSITIVE, metavar="N"
    )
    save_folder: str = option(
        "models/",
        "folder for models, metrics.csv and curves.png; a path, or a URL such as s3://bucket/run",
        metavar="FOLDER",
    )
    best_val_model_name: str = option(
        "deepspeech_final.pth", "file name of the best model, see --best-by", metavar="NAME"
    )
    checkpoint: bool = option(False, "save a checkpoint after every epoch")
    checkpoint_per_iteration: int = option(
        0,
        "save a checkpoint every N batches; 0: never",
        NOT_NEGATIVE,
        ("--checkpoint-per-iteration", "--checkpoint-per-batch"),
        metavar="N",
    )
    save_n_recent_models: int = option(0, "keep the N latest checkpoints; 0: all", NOT_NEGATIVE, metavar="N")
    continue_from: str | None = option(None, "resume from this checkpoint, a path or URL", metavar="FILE")
    load_auto_checkpoint: bool = option(False, "resume from the latest checkpoint in the save folder, if any")
    finetune: bool = option(False, "start a new run from the model's weights", needs="continue_from")
    drop_layers: int = option(
        0, "reinitialise the last N layers", NOT_NEGATIVE, needs="finetune", metavar="N"
    )
    freeze_epochs: int = option(
        0, "train only the new layers for the first N epochs, with --finetune", NOT_NEGATIVE, metavar="N"
    )
    tensorboard: bool = option(False, "write TensorBoard events")
    log_dir: str = option("visualize/deepspeech_final", "folder for the TensorBoard events", metavar="FOLDER")
    log_params: bool = option(False, "write histograms of weights and gradients to TensorBoard")
    id: str = option("DeepSpeech training", "name of the run in TensorBoard and the figure", metavar="NAME")

    def fitted(self, history: Sequence[EpochRow]) -> Self:
        """These options with no more epochs than fit into `minutes`, once the first one is done.

        It follows from the history alone, so that a run resumes with the same number.
        """
        if not (self.minutes and history):
            return self
        fit = int(60 * self.minutes / (VALIDATION * max(history[0].seconds, 1e-9)))
        if len(history) == 1 and fit < self.epochs:
            log.info(f"--minutes {self.minutes:g}: {max(fit, 1)} of {self.epochs} epochs fit")
        return replace(self, epochs=min(self.epochs, max(fit, 1)))
