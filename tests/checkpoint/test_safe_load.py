"""200 damaged or hostile files: each is refused in one line or harmless, and none runs code."""

from __future__ import annotations

import copy
import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor

from deepspeech.checkpoint.format import Checkpoint, load_checkpoint, save_checkpoint
from deepspeech.checkpoint.save_folder import SaveFolder
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader
from deepspeech.data.sampler import BucketingSampler
from deepspeech.errors import InputError
from deepspeech.training.config import TrainingConfig
from deepspeech.training.state import ResumeState
from deepspeech.training.trainer import Trainer
from tests.checkpoint.test_deepspeech_pytorch import v2
from tests.conftest import tiny_model

WRONG = [
    "text",
    -1,
    2**70,
    0.5,
    None,
    True,
    [],
    {},
    (),
    b"bytes",
    [[1]],
    {"a": 1},
    torch.ones(2),
    float("nan"),
]


@pytest.fixture(scope="module")
def trainer(corpus, labels, tmp_path_factory):
    """A trainer after one epoch, so that every part of its state is filled."""
    data = load_corpus(str(corpus.train), labels)
    loader = AudioDataLoader(SpectrogramDataset(data, labels), BucketingSampler(data.durations, 6))
    config = TrainingConfig(epochs=1, save_folder=str(tmp_path_factory.mktemp("models")), cuda=False)
    trainer = Trainer(tiny_model(labels), loader, loader, config, SaveFolder(config.save_folder))
    trainer.fit()
    return trainer


@pytest.fixture(scope="module")
def originals(trainer, tmp_path_factory):
    """The content of good files, by the kind of file."""
    path = tmp_path_factory.mktemp("good") / "ours.pth"
    save_checkpoint(path, trainer.model, trainer.state().to_dict())
    ours = torch.load(path, weights_only=True)
    return {"ours": ours, "2.x": v2(trainer.model, optim_dict=trainer.step.optimizer.state_dict())}


def packed(content, **options):
    data = io.BytesIO()
    torch.save(content, data, **options)
    return data.getvalue()


def equal(first, second):
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return type(first) is type(second) and torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def one_line(error, path=""):
    text = str(error)
    assert text.startswith(f"{path}")
    assert "\n" not in text
    assert len(text) < 600
    return True


def refused_or_same(path, content, data, parts=("config", "state_dict")):
    """Whether a file is refused; otherwise it must have the content of the good one."""
    path.write_bytes(data)
    try:
        loaded = load_checkpoint(path)
        loaded.build_model()
    except InputError as error:
        return one_line(error, path)
    path.write_bytes(packed(content))
    there = load_checkpoint(path)
    assert all(equal(getattr(loaded, part), getattr(there, part)) for part in parts)
    return False


@pytest.mark.parametrize("zipped", [True, False])
def test_40_truncated_files_are_refused(tmp_path, originals, zipped):
    random = np.random.default_rng(0)
    for content in originals.values():
        data = packed(content, _use_new_zipfile_serialization=zipped)
        for length in random.integers(0, len(data), 10):
            assert refused_or_same(tmp_path / "m.pth", content, data[:length])


@pytest.mark.parametrize("kind", ["ours", "2.x"])
def test_60_files_with_flipped_bytes_are_refused_or_the_same(tmp_path, originals, kind):
    random, content = np.random.default_rng(1), originals[kind]
    data = packed(content)
    directory = len(data) - 12000  # about where names and checksums of all records stand
    refused = 0
    for index in range(30):
        damaged = bytearray(data)
        for place in random.integers(directory if index % 2 else 0, len(data), 1 + index % 3):
            damaged[place] ^= random.integers(1, 256)
        refused += refused_or_same(
            tmp_path / "m.pth", content, bytes(damaged), ("config", "state_dict", "training")
        )
    assert refused > 15


def test_flipped_bytes_in_the_older_format_are_refused_or_give_a_finite_model(tmp_path, originals):
    """It has no checksums: a flip within a weight cannot be detected, any other can."""
    random, path = np.random.default_rng(2), tmp_path / "m.pth"
    data = packed(originals["2.x"], _use_new_zipfile_serialization=False)
    pickles = data.rindex(b"\x80\x02") + 4000
    for _ in range(60):
        damaged = bytearray(data)
        damaged[random.integers(0, pickles)] ^= random.integers(1, 256)
        path.write_bytes(damaged)
        try:
            model = load_checkpoint(path).build_model()
        except InputError as error:
            one_line(error, path)
        else:
            assert all(torch.isfinite(weights).all() for weights in model.parameters())


def places(content, depth=4):
    """Every key or index in nested content, as a path."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (key,)
        if isinstance(value, dict | list) and depth:
            yield from ((key, *rest) for rest in places(value, depth - 1))


def changed(content, place, value):
    """A copy with another value at a place."""
    content = copy.copy(content)
    content[place[0]] = changed(content[place[0]], place[1:], value) if place[1:] else value
    return content


@pytest.mark.parametrize("kind", ["ours", "2.x"])
def test_50_wrong_types_are_refused_or_have_no_effect(tmp_path, originals, kind):
    random, content = np.random.default_rng(3), originals[kind]
    found = [place for place in places(content) if place[0] not in ("state_dict", "training", "optim_dict")]
    found += [
        ("state_dict",),
        ("training",),
        *(("state_dict", name) for name in list(content["state_dict"])[:9]),
    ]
    refused = 0
    for place in random.permutation(np.array(found, dtype=object))[:25]:
        wrong = WRONG[random.integers(len(WRONG))]
        data = packed(changed(content, place if isinstance(place, tuple) else tuple(place), wrong))
        refused += refused_or_same(tmp_path / "m.pth", content, data)
    assert refused > 8


@pytest.mark.parametrize("kind", ["ours", "2.x"])
def test_30_missing_keys_are_refused_or_have_their_default(tmp_path, originals, kind):
    content = originals[kind]
    for name in content:
        data = packed({key: value for key, value in content.items() if key != name})
        refused = refused_or_same(tmp_path / "m.pth", content, data)
        assert refused or name not in ("state_dict", "config")
    weights = content["state_dict"]
    for name in list(weights)[:15]:
        data = packed(content | {"state_dict": {key: weights[key] for key in weights if key != name}})
        parts = ("config",) if name.endswith("num_batches_tracked") else ("config", "state_dict")
        refused = refused_or_same(tmp_path / "m.pth", content, data, parts)
        assert refused or name.endswith("num_batches_tracked")  # which old versions did not have


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(marker):
    """Pickles that write a file when something in them runs."""
    import builtins
    import functools
    import importlib
    import operator
    import os
    import pathlib
    import runpy
    import shutil
    import subprocess

    command, code = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    calls = [
        Call(os.system, command),
        Call(subprocess.Popen, ["touch", str(marker)]),
        Call(subprocess.check_output, ["touch", str(marker)]),
        Call(eval, code),
        Call(exec, code),
        Call(open, str(marker), "w"),
        Call(functools.partial(open, str(marker), "w")),
        Call(pathlib.Path.touch, pathlib.PosixPath(marker)),
        Call(shutil.copy, __file__, str(marker)),
        Call(importlib.import_module, "antigravity"),
        Call(runpy.run_path, str(marker)),
        Call(operator.methodcaller("touch"), pathlib.PosixPath(marker)),
        Call(builtins.getattr, os, "system") if False else Call(builtins.__import__, "antigravity"),
        Call(torch.save, 1, str(marker)),
        Call(torch.load, str(marker)),
        Call(torch.hub.load, "a", "b"),
        Call(np.save, str(marker), 1),
    ]
    raw = f"cos\nsystem\n(V{command}\ntR.".encode()
    instance = f"(V{command}\nios\nsystem\n.".encode()
    hidden = f"cdeepspeech_pytorch.enums\nos.system\n(V{command}\ntR.".encode()
    return calls, [raw, instance, hidden]


def test_20_hostile_pickles_run_nothing(tmp_path, originals):
    marker, path, good = tmp_path / "marker", tmp_path / "m.pth", originals["2.x"]
    calls, raw = hostile(marker)
    files = []
    for index, call in enumerate(calls):
        content = (
            good | {"rnn_type": call},
            good | {"state_dict": OrderedDict(good["state_dict"], extra=call)},
            originals["ours"] | {"training": {"optimizer": call}},
            good | {"optim_dict": call},
        )[index % 4]
        for zipped in (True, False):
            files.append(packed(content, _use_new_zipfile_serialization=zipped))
        files.append(pickle.dumps(content))
        files.append(packed(content, pickle_protocol=4))
    for data in raw:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("m/data.pkl", data)
            file.writestr("m/version", "3")
        files += [data, archive.getvalue()]
    assert len(files) >= 20
    for data in files:
        assert refused_or_same(path, good, data)
        assert not marker.exists()


def test_the_refusal_names_the_function_that_a_hostile_file_calls(tmp_path, originals):
    path = tmp_path / "m.pth"
    content = originals["2.x"] | {"rnn_type": Call(eval, "1")}
    for options in ({}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}):
        path.write_bytes(packed(content, **options))
        with pytest.raises(InputError, match=r"refused, as it could run code: it names builtins\.eval,"):
            load_checkpoint(path)


def kinds(value):
    """The types in nested data, with the shapes of tensors."""
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [kinds(each) for each in value]
    return (
        tuple(value.shape) if isinstance(value, Tensor) else float if isinstance(value, int) else type(value)
    )


def test_wrong_types_in_the_training_state_are_refused_or_have_no_effect(trainer):
    random, good = np.random.default_rng(4), copy.deepcopy(trainer.state().to_dict())

    def restore(state):
        checkpoint = Checkpoint("", trainer.model.config, trainer.model.state_dict(), state)
        trainer.restore(ResumeState.of(checkpoint))

    refused = 0
    found = list(places(good))
    for index in random.permutation(len(found)):
        wrong = WRONG[random.integers(len(WRONG))]
        try:
            restore(changed(good, found[index], wrong))
        except InputError as error:
            refused += one_line(error)
        else:
            state = trainer.state().to_dict()
            for name in state.keys() - {"new_layers", "optimizer"}:
                assert kinds(state[name]) == kinds(good[name]), (found[index], wrong)
            for weights in trainer.model.parameters():
                weights.grad = torch.zeros_like(weights)
            trainer.step.optimizer.step()
    assert refused > 60
    restore(good)
    assert equal(trainer.state().to_dict(), good)
