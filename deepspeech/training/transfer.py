"""A trained network for another alphabet: every layer that fits is kept, the last ones are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.model.batch_norm import MaskedBatchNorm
from deepspeech.model.deepspeech2 import DeepSpeech, ModelConfig

OUTPUT, OUTPUT_NORM = "fc.0.module.1", "fc.0.module.0"


def layers(config: ModelConfig) -> list[str]:
    """The layers of a network from its input to its output, by their state-dict prefixes."""
    recurrent = [f"rnns.{index}" for index in range(config.hidden_layers)]
    return ["conv", *recurrent, *([] if config.bidirectional else ["lookahead"]), OUTPUT]


def transfer(source: DeepSpeech, labels: Labels, drop_layers: int = 0) -> tuple[DeepSpeech, list[str]]:
    """A network that begins with the weights of another one.

    Args:
        source: The trained network.
        labels: What the new one shall write. If they differ, the output layer is made anew, but
            labels of both alphabets, the blank always, begin with the weights that they had.
        drop_layers: How many layers, from the output, are made anew from nothing. With more than
            the output layer goes the normalisation before it, which knows the old ones' outputs.

    Returns:
        The network, and the prefixes of its new layers.

    Raises:
        InputError: It has not that many layers.
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
        output, trained = (each.fc[0].module[1].weight.detach() for each in (model, source))
        for row, label in enumerate(labels):
            if label in source.labels:
                output[row] = trained[source.labels.index(label)]
    return model, new


def belongs(name: str, prefixes: Sequence[str]) -> bool:
    """Whether a weight or module lies in one of the layers."""
    return f"{name}.".startswith(tuple(f"{prefix}." for prefix in prefixes))


def freeze(model: DeepSpeech, new_layers: Sequence[str], frozen: bool) -> None:
    """Let only the new layers learn, or all of them.

    Normalisations of frozen layers keep their statistics and use them: the new layers shall
    learn from what the network will compute in use. To be called after `model.train()`.
    """
    for name, weights in model.named_parameters():
        weights.requires_grad_(not frozen or belongs(name, new_layers))
    for name, module in model.named_modules():
        if isinstance(module, MaskedBatchNorm) and frozen and not belongs(name, new_layers):
            module.eval()
