"""The optimiser, its learning rate and its state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import SGD, AdamW, Optimizer

from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.training.config import TrainingConfig

STATE = {SGD: {"momentum_buffer"}, AdamW: {"step", "exp_avg", "exp_avg_sq"}}


def learning_rate(config: TrainingConfig, epoch: int, share: float) -> float:
    """The rate at `share` (0 to 1) of an epoch (from 0).

    `anneal` divides the rate by `learning_anneal` after every epoch; `cosine` decays to zero
    (Loshchilov and Hutter, 2017). Both may rise linearly over `warmup_epochs`.
    """
    position = epoch + share
    rate = config.learning_rate
    if config.schedule == "anneal":
        rate /= config.learning_anneal**epoch
    elif position > config.warmup_epochs:
        done = (position - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
        rate *= (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return rate * min(1.0, position / config.warmup_epochs) if config.warmup_epochs else rate


def make_optimizer(model: DeepSpeech, config: TrainingConfig) -> Optimizer:
    """SGD with Nesterov momentum, or AdamW."""
    common: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    if config.adam:
        return AdamW(model.parameters(), betas=config.betas, eps=config.eps, **common)
    optimizer = SGD(model.parameters(), momentum=config.momentum, nesterov=config.momentum > 0, **common)
    _fill_momentum(optimizer)
    return optimizer


def _fill_momentum(optimizer: Optimizer) -> None:
    """Zeros for missing momentum buffers: the first step is the same, and fused SGD needs all or none.

    Layers that were frozen have none when they are first trained.
    """
    for group in optimizer.param_groups if isinstance(optimizer, SGD) else ():
        for parameter in group["params"] if group["momentum"] else ():
            if optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def load_optimizer_state(optimizer: Optimizer, saved: Mapping[str, Any], complete: bool = False) -> None:
    """Load the state of every parameter; this optimiser keeps its own options.

    Args:
        optimizer: From `make_optimizer`.
        saved: A state dict; its keys are the positions of the parameters in the network.
        complete: Whether every parameter must have a state (frozen ones have none).

    Raises:
        ValueError: The state is of another optimiser or network, or not complete. Damaged values also raise
            other errors.
    """
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    names = STATE[type(optimizer)]
    found = set()
    for position, entry in saved["state"].items():
        if position not in range(len(parameters)):
            raise ValueError(f"state for parameter {position!r}, but the model has {len(parameters)}")
        values = {name: value for name, value in entry.items() if value is not None}
        if values and values.keys() != names:
            theirs, ours = (", ".join(sorted(map(str, each))) for each in (values, names))
            raise ValueError(f"the saved optimiser has {theirs}, this one {ours}")
        found |= {position} if values else set()
        for name, value in values.items():
            value = torch.as_tensor(value)  # older versions of torch count steps with a number
            shape = () if name == "step" else parameters[position].shape
            if value.shape != shape or not torch.isfinite(value).all():
                raise ValueError(f"{name} of parameter {position} does not fit")
    if complete and len(found) < len(parameters):
        raise ValueError(f"state for {len(found)} of {len(parameters)} parameters")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    _fill_momentum(optimizer)
