"""Checks of the weights in a model file, and of the configuration against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepspeech.errors import InputError

OUTPUT = "fc.0.module.1.weight"  # (labels, hidden)
GATES = {4: "lstm", 3: "gru", 1: "rnn"}


def check_tensors(state_dict: Mapping[str, Any]) -> None:
    """Refuse anything but ordinary, finite tensors with all their values in the file.

    Raises:
        InputError: Names the first such entry and its fault.
    """
    for name, tensor in state_dict.items():
        if not isinstance(name, str) or type(tensor) is not Tensor or tensor.layout != torch.strided:
            raise InputError(f"weights {name!r} are not a tensor")
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise InputError(f"weights {name} claim {tensor.numel()} values that are not in the file")
        if not torch.isfinite(tensor).all():
            raise InputError(f"weights {name} are not finite")


def architecture(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """The fields of `ModelConfig` that follow from the names and shapes of the weights.

    Raises:
        InputError: They are not those of this network.
    """
    try:
        rows, hidden = state_dict["rnns.0.rnn.weight_hh_l0"].shape
        found = {
            "hidden_size": hidden,
            "hidden_layers": len({name.split(".")[1] for name in state_dict if name.startswith("rnns.")}),
            "rnn_type": GATES[rows // hidden],
            "bidirectional": "rnns.0.rnn.weight_hh_l0_reverse" in state_dict,
        }
        if not found["bidirectional"]:
            found["lookahead_context"] = state_dict["lookahead.0.conv.weight"].shape[2]
        return found
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"weights are not those of this network (at {error})") from None


def check_config(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> None:
    """Refuse a configuration that the weights contradict, before the network is built.

    Args:
        config: Fields of `ModelConfig` with their values: the labels, and any others.
        state_dict: Weights.

    Raises:
        InputError: The first contradiction.
    """
    for name, actual in architecture(state_dict).items():
        if (stated := config.get(name, actual)) != actual:
            raise InputError(f"{name} is {stated} in the file, but {actual} by its weights")
    rows = state_dict[OUTPUT].shape[0] if OUTPUT in state_dict else 0
    if rows != len(config["labels"]):
        raise InputError(f"{len(config['labels'])} labels in the file, but {rows} by its weights")
