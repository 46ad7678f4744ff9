"""Checkpoints of deepspeech.pytorch: 2.x, older ones that lack some keys, 2.1 and 3.0.

The original's windows are symmetric (it passes scipy's function to librosa), those of new models here are
periodic: see `FeatureConfig.periodic`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepspeech import log
from deepspeech.audio.config import FeatureConfig
from deepspeech.checkpoint.safe_load import plain
from deepspeech.errors import InputError
from deepspeech.model.config import ModelConfig
from deepspeech.model.integrity import OUTPUT, architecture, check_config, check_tensors

ENGLISH = "_'ABCDEFGHIJKLMNOPQRSTUVWXYZ "  # the original's labels.json
NOISE = {"noise_dir": None, "noise_prob": 0.4, "noise_levels": (0.0, 0.5)}  # its defaults
CONTEXT = 20  # frames of its lookahead convolution, not stored in its files
EPOCHS = 70  # room in its tensors of results


def convert(
    content: Mapping[str, Any], source: str | Path
) -> tuple[ModelConfig, dict[str, Tensor], dict[str, Any] | None]:
    """Convert the content of a file to our configuration, weights and training state (see `ResumeState`).

    Raises:
        InputError: It is not a complete deepspeech.pytorch model.
    """
    state_dict = _weights(content["state_dict"])
    check_tensors(state_dict)
    content = plain({key: value for key, value in content.items() if key != "state_dict"})
    if "hyper_parameters" in content:  # 3.0, written by PyTorch Lightning
        options = content["hyper_parameters"]
        model, audio = options.get("model_cfg") or {}, options.get("spect_cfg") or {}
    else:
        options = model = content
        audio = content.get("audio_conf") or {}
    found, labels = architecture(state_dict), _labels(options.get("labels"), state_dict)
    rnn_type = str(model.get("rnn_type", found["rnn_type"])).lower()
    check_config({**model, "rnn_type": rnn_type, "labels": labels}, state_dict)
    config = ModelConfig(**found, labels=labels, features=_features(audio))
    if audio.get("noise_dir"):
        log.info(
            f"{source}: its noise settings (noise_dir {audio['noise_dir']}) are dropped: "
            "they belong to training, not to a model"
        )
    return config, state_dict, _training(content)


def _weights(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Remove the prefix of a parallel wrapper; add counters that old versions lack."""
    weights = {str(name).removeprefix("module."): tensor for name, tensor in state_dict.items()}
    if "conv.0.weight" in weights:
        raise InputError("a 1.x network, whose convolutions have no padding: it cannot run here")
    for name in [name for name in weights if name.endswith("running_mean")]:
        weights.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return weights


def _labels(labels: Any, state_dict: Mapping[str, Tensor]) -> tuple[str, ...]:
    """A list or a string; older files without labels are English."""
    rows = len(state_dict[OUTPUT]) if OUTPUT in state_dict else 0
    if labels is None and rows == len(ENGLISH):
        labels = ENGLISH
    if not isinstance(labels, str | list):
        raise InputError(f"no labels, and its {rows} outputs are not the {len(ENGLISH)} English ones")
    return tuple(labels)


def _features(audio: Mapping[str, Any]) -> FeatureConfig:
    defaults = FeatureConfig(periodic=False)
    rate = int(audio.get("sample_rate", defaults.sample_rate))

    def seconds(name: str) -> float:
        """The original truncates to whole samples where we round."""
        value = float(audio.get(name, getattr(defaults, name)))
        samples = int(rate * value)
        return value if samples == round(rate * value) else samples / rate

    return FeatureConfig(
        sample_rate=rate,
        window_size=seconds("window_size"),
        window_stride=seconds("window_stride"),
        window=audio.get("window", defaults.window),
        normalize=audio.get("normalize", "utterance"),  # this key and the next are from `export`,
        periodic=bool(audio.get("periodic", False)),  # the original ignores them
    )


def _training(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a run resumes from; None if the file does not say (3.0 stores it in another form)."""
    if content.get("epoch") is None or "optim_dict" not in content:
        return None
    epochs = max(int(content["epoch"]), 0)
    if content.get("iteration") is not None and epochs:  # saved within an epoch, which is repeated here
        epochs -= 1
    results = content.get("wer_results")
    percents = results[:epochs].tolist() if isinstance(results, Tensor) else []
    percents += [float(each) for each in [content.get("best_wer")] if each is not None]
    best = min((value for value in percents if math.isfinite(value)), default=math.inf)
    optimizer = content["optim_dict"] or {}
    groups = optimizer.get("param_groups", [])
    position = {key: index for index, key in enumerate(key for group in groups for key in group["params"])}
    state = {position[key]: entry for key, entry in optimizer.get("state", {}).items()}
    return {
        "progress": {"epoch": epochs}, "best_wer": best / 100, "optimizer": {"state": state}, "history": []
    }  # fmt: skip


def export(
    config: ModelConfig, state_dict: Mapping[str, Tensor], training: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The content of a 2.x file; the inverse of `convert`.

    Args:
        config: Architecture, labels and features.
        state_dict: Weights.
        training: The training state of our own checkpoint, if there is one.

    Raises:
        InputError: The model has features that deepspeech.pytorch does not know.
    """
    if config.features.scale == "mel":
        raise InputError("deepspeech.pytorch has no mel features; train the model with --features linear")
    model = {
        "hidden_size": config.hidden_size,
        "hidden_layers": config.hidden_layers,
        "rnn_type": config.rnn_type,
        "audio_conf": config.features.to_dict() | NOISE,
        "labels": list(config.labels),
        "state_dict": dict(state_dict),
        "bidirectional": config.bidirectional,
    }
    training = training or {
        "optimizer": None, "history": [], "progress": {"epoch": 0, "batch": 0}, "best_wer": math.inf
    }  # fmt: skip
    rows, epoch, batch = training["history"], training["progress"]["epoch"], training["progress"]["batch"]
    return model | {
        "optim_dict": training["optimizer"],
        "amp": None,
        "avg_loss": 0.0,
        "best_wer": 100 * training["best_wer"] if math.isfinite(training["best_wer"]) else None,
        "epoch": epoch + (batch > 0),
        "iteration": batch - 1 if batch else None,
        "loss_results": _results([row["train_loss"] for row in rows]),
        "wer_results": _results([100 * row["wer"] for row in rows]),
        "cer_results": _results([100 * row["cer"] for row in rows]),
    }


def _results(values: list[float]) -> Tensor:
    return torch.tensor(values + [0.0] * (EPOCHS - len(values)))


def caveats(config: ModelConfig) -> list[str]:
    """What differs when the original uses an exported model."""
    found = []
    if config.features.periodic:
        found.append("its window is periodic, the original's symmetric: features differ slightly")
    if config.features.normalize == "running":
        found.append(
            "its features are normalised frame by frame, the original's per utterance: transcripts differ"
        )
    if config.labels.index("_") != 0:
        found.append("its blank is not the first label: the original transcribes with it, but cannot train")
    if not config.bidirectional and config.lookahead_context != CONTEXT:
        found.append(
            f"its lookahead context is {config.lookahead_context} frames: "
            f"the original builds {CONTEXT} and does not load it"
        )
    return found
