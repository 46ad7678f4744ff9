"""Fine-tuning for other labels: every layer that fits is kept, the last ones are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.model.batch_norm import MaskedBatchNorm
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech

OUTPUT, OUTPUT_NORM = "fc.0.module.1", "fc.0.module.0"


def layers(config: ModelConfig) -> list[str]:
    """State-dict prefixes of the layers, from input to output."""
    recurrent = [f"rnns.{index}" for index in range(config.hidden_layers)]
    return ["conv", *recurrent, *([] if config.bidirectional else ["lookahead"]), OUTPUT]


def transfer(source: DeepSpeech, labels: Labels, drop_layers: int = 0) -> tuple[DeepSpeech, list[str]]:
    """Build a network that starts from the weights of another.

    Args:
        source: The trained network.
        labels: Labels of the new network. If they differ, the output layer is new, but labels of both
            alphabets, always including the blank, keep their weights.
        drop_layers: Number of layers, counted from the output, that start from scratch. If these are more
            than the output layer, so does the normalisation before it, which is fitted to the old ones.

    Returns:
        The network, and the prefixes of its new layers.

    Raises:
        InputError: The network has fewer layers.
    """
    names = layers(source.config)
    if drop_layers >= len(names):
        raise InputError(
            f"--drop-layers {drop_layers}: the model has {len(names)} layers ({', '.join(names)}), "
            "keep at least one, or train a new model"
        )
    count = max(drop_layers, int(labels != source.labels))
    new = names[len(names) - count :]
    if count > 1:
        new.append(OUTPUT_NORM)
    model = DeepSpeech(replace(source.config, labels=labels.characters))
    kept = {name: value for name, value in source.state_dict().items() if not belongs(name, new)}
    model.load_state_dict(kept, strict=False)
    if not drop_layers:
        output, trained = (each.get_parameter(f"{OUTPUT}.weight").detach() for each in (model, source))
        for row, label in enumerate(labels):
            if label in source.labels:
                output[row] = trained[source.labels.index(label)]
    return model, new


def belongs(name: str, prefixes: Sequence[str]) -> bool:
    """Whether a parameter or module is in one of the layers."""
    return f"{name}.".startswith(tuple(f"{prefix}." for prefix in prefixes))


def check_new_layers(freeze_epochs: int, new_layers: Sequence[str]) -> None:
    """Check that there is something to train while all other layers are frozen.

    Raises:
        InputError: There is not.
    """
    if freeze_epochs and not new_layers:
        raise InputError(
            f"--freeze-epochs {freeze_epochs}: no layer is new; "
            "pass --finetune with other --labels-path or with --drop-layers"
        )


def freeze(model: DeepSpeech, new_layers: Sequence[str], frozen: bool) -> None:
    """Train only the new layers, or all of them; call it after `model.train()`.

    Normalisations of frozen layers use their running statistics, as in inference, and do not update them.
    """
    for name, weights in model.named_parameters():
        weights.requires_grad_(not frozen or belongs(name, new_layers))
    for name, module in model.named_modules():
        if isinstance(module, MaskedBatchNorm) and frozen and not belongs(name, new_layers):
            module.eval()
