"""Model files of deepspeech.pytorch: 2.x, older ones that lack some keys, 2.1 and 3.0.

The original's windows were symmetric (it gave scipy's function to librosa), new models here
have periodic ones: `FeatureConfig.periodic` tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from deepspeech.audio.features import FeatureConfig
from deepspeech.checkpoint.safe_load import plain
from deepspeech.checkpoint.validation import OUTPUT, architecture, check_config, check_tensors
from deepspeech.errors import InputError
from deepspeech.model.deepspeech2 import ModelConfig

ENGLISH = "_'ABCDEFGHIJKLMNOPQRSTUVWXYZ "  # the original's labels.json
NOISE = {"noise_dir": None, "noise_prob": 0.4, "noise_levels": (0.0, 0.5)}  # its defaults
CONTEXT = 20  # frames of its lookahead convolution, which it does not save
EPOCHS = 70


@dataclass(frozen=True)
class Imported:
    """A model of deepspeech.pytorch."""

    config: ModelConfig
    state_dict: dict[str, Tensor]
    training: dict[str, Any] | None  # see `_training`
    notes: list[str] = field(default_factory=list)  # what the user should know


def convert(content: Mapping[str, Any]) -> Imported:
    """Turn the content of a file into what it means here.

    Raises:
        InputError: It is not a whole model of deepspeech.pytorch.
    """
    state_dict = _weights(content["state_dict"])
    check_tensors(state_dict)
    content = plain({key: value for key, value in content.items() if key != "state_dict"})
    if "hyper_parameters" in content:  # 3.0, written by PyTorch Lightning
        given = content["hyper_parameters"]
        model, sound = given.get("model_cfg") or {}, given.get("spect_cfg") or {}
    else:
        given = model = content
        sound = content.get("audio_conf") or {}
    found = architecture(state_dict)
    for name, there in found.items():
        said = model.get(name, there)
        said = said.lower() if isinstance(said, str) else said
        if said != there:
            raise InputError(f"{name} is {said} in the file, but {there} by its weights")
    config = ModelConfig(**found, labels=_labels(given.get("labels"), state_dict), features=_features(sound))
    check_config(config, state_dict)
    notes = []
    if sound.get("noise_dir"):
        notes.append(
            f"its noise settings (noise_dir {sound['noise_dir']}) are dropped: they belong to training, "
            "not to a model"
        )
    return Imported(config, state_dict, _training(content), notes)


def _weights(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Names without the prefix of a parallel wrapper; counters that old versions did not have."""
    weights = {str(name).removeprefix("module."): tensor for name, tensor in state_dict.items()}
    if "conv.0.weight" in weights:
        raise InputError("a 1.x network, whose convolutions have no padding: it cannot run here")
    for name in [name for name in weights if name.endswith("running_mean")]:
        weights.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return weights


def _labels(labels: Any, state_dict: Mapping[str, Tensor]) -> tuple[str, ...]:
    """A list or one string; older files without labels have English ones."""
    rows = len(state_dict[OUTPUT]) if OUTPUT in state_dict else 0
    if labels is None and rows == len(ENGLISH):
        labels = ENGLISH
    if not isinstance(labels, str | list):
        raise InputError(f"no labels, and its {rows} outputs are not the {len(ENGLISH)} English ones")
    return tuple(labels)


def _features(sound: Mapping[str, Any]) -> FeatureConfig:
    defaults = FeatureConfig(periodic=False)
    rate = int(sound.get("sample_rate", defaults.sample_rate))

    def seconds(name: str) -> float:
        """The original cuts down to whole samples where we round."""
        value = float(sound.get(name, getattr(defaults, name)))
        samples = int(rate * value)
        return value if samples == round(rate * value) else samples / rate

    return FeatureConfig(
        sample_rate=rate,
        window_size=seconds("window_size"),
        window_stride=seconds("window_stride"),
        window=sound.get("window", defaults.window),
        normalize=sound.get("normalize", "utterance"),  # like "periodic" a key of `export`, which the
        periodic=bool(sound.get("periodic", False)),  # original ignores
    )


def _training(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a training can go on with: `epochs` done, `best_wer`, the optimiser's `state` by weight.

    None if the file has no such state (3.0 keeps it in another form).
    """
    if content.get("epoch") is None or "optim_dict" not in content:
        return None
    epochs = max(int(content["epoch"]), 0)
    if content.get("iteration") is not None and epochs:  # within an epoch, which starts again here
        epochs -= 1
    results = content.get("wer_results")
    percents = results[:epochs].tolist() if isinstance(results, Tensor) else []
    percents += [float(each) for each in [content.get("best_wer")] if each is not None]
    best = min((value for value in percents if math.isfinite(value)), default=math.inf)
    optimizer = content["optim_dict"] or {}
    groups = optimizer.get("param_groups", [])
    position = {key: index for index, key in enumerate(key for group in groups for key in group["params"])}
    state = {position[key]: entry for key, entry in optimizer.get("state", {}).items()}
    return {"epochs": epochs, "best_wer": best / 100, "optimizer": {"state": state}}


def export(config: ModelConfig, state_dict: Mapping[str, Tensor], training: Mapping[str, Any] | None) -> dict:
    """The content of a 2.x file; the inverse of `convert`.

    Args:
        config: Architecture, labels and features.
        state_dict: Weights.
        training: The state of a `Trainer`, if there is one.
    """
    features = config.features
    content = {
        "hidden_size": config.hidden_size,
        "hidden_layers": config.hidden_layers,
        "rnn_type": config.rnn_type,
        "audio_conf": {
            "sample_rate": features.sample_rate,
            "window_size": features.window_size,
            "window_stride": features.window_stride,
            "window": features.window,
            "normalize": features.normalize,
            "periodic": features.periodic,
            **NOISE,
        },
        "labels": list(config.labels),
        "state_dict": dict(state_dict),
        "bidirectional": config.bidirectional,
    }
    return content | _exported_training(training)


def _exported_training(training: Mapping[str, Any] | None) -> dict[str, Any]:
    rows = training["history"] if training else []
    progress = training["progress"] if training else {"epoch": 0, "batch": 0}
    within = progress["batch"] > 0
    best = training["best_wer"] if training else math.inf
    return {
        "optim_dict": training["optimizer"] if training else None,
        "amp": None,
        "avg_loss": 0.0,
        "best_wer": 100 * best if math.isfinite(best) else None,
        "epoch": progress["epoch"] + within,
        "iteration": progress["batch"] - 1 if within else None,
        "loss_results": _results([row["train_loss"] for row in rows]),
        "wer_results": _results([100 * row["wer"] for row in rows]),
        "cer_results": _results([100 * row["cer"] for row in rows]),
    }


def _results(values: list[float]) -> Tensor:
    """The original writes into a tensor with room for all epochs."""
    return torch.tensor(values + [0.0] * (EPOCHS - len(values)))


def caveats(config: ModelConfig) -> list[str]:
    """What the original does in another way with an exported model."""
    found = []
    if config.features.periodic:
        found.append("its window is periodic, the original's symmetric: features differ slightly")
    if config.features.normalize == "running":
        found.append("its features are normalised frame by frame, the original's per utterance: texts differ")
    if config.labels.index("_") != 0:
        found.append("its blank is not the first label: the original transcribes with it, but cannot train")
    if not config.bidirectional and config.lookahead_context != CONTEXT:
        found.append(
            f"its lookahead context is {config.lookahead_context}: "
            f"the original builds {CONTEXT} frames and will not load it"
        )
    return found
