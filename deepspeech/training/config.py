"""Every option of training and of the model: its default, help text and check stand here once.

Those of testing and transcribing are in `inference_config.py`. `cli.py` turns the fields into
flags; checkpoints hold `ModelConfig` as plain data.
"""

from __future__ import annotations

from dataclasses import dataclass

from deepspeech.options import (
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Options,
    one_of,
    option,
)


@dataclass(frozen=True)
class TrainingConfig(Options):
    """Training"""

    epochs: int = option(70, "number of passes over the training data", POSITIVE)
    seed: int = option(123456, "seed of weights, shuffling and augmentation", SEED)
    cuda: bool = option(True, "train on the GPU if there is one")
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
