"""Several processes under torchrun train as one process does, and survive failures."""

from __future__ import annotations

import csv
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from deepspeech import cli, distributed
from deepspeech.checkpoint.format import load_checkpoint, save_checkpoint
from deepspeech.data.batch import Sample, collate
from deepspeech.model.batch_norm import all_reduce_sum
from deepspeech.training.config import TrainingConfig
from deepspeech.training.train_step import TrainStep
from tests.conftest import (
    ROOT,
    TinyCorpus,
    load_script,
    make_corpus,
    script_environment,
    tiny_model,
    write_rows,
)

# in one process, so that fixtures run once
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("test_distributed")]

PATIENCE = 200
SMALL = ["--hidden-size", "12", "--hidden-layers", "2"]
# With a higher rate so small a network multiplies differences of 1e-7 by a thousand in 20 steps.
TRAIN = ["--lr", "1e-5", "--no-cuda", "--precision", "fp32", "--num-workers", "0", "--checkpoint"]
EPOCHS = [*SMALL, *TRAIN, "--epochs", "5"]
SHARED = [*EPOCHS, "--sync-batchnorm", "--batch-size", "2", "--checkpoint-per-iteration", "1"]  # by two
ALONE = [*EPOCHS, "--batch-size", "4"]
LAST = "deepspeech_checkpoint_epoch_5.pth"


def start(script: str, *arguments: object, restarts: int = 0) -> subprocess.Popen:
    """Run a script in two processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [
            sys.executable,
            *launcher,
            "--max-restarts",
            str(restarts),
            str(ROOT / script),
            *map(str, arguments),
        ],
        cwd=ROOT,
        env=script_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    """Status, standard output and standard error."""
    try:
        shown, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()
        pytest.fail(f"it hangs: {process.communicate()}")
    return process.returncode, shown, errors


def wait_for(process: subprocess.Popen, path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if process.poll() is not None or time.monotonic() > end:
            process.terminate()
            pytest.fail(f"{path} never came: {process.communicate()}")
        time.sleep(0.002)  # between two looks at a folder


def worker(launcher: subprocess.Popen, rank: int) -> int:
    """The process of a rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    environments = {child: Path(f"/proc/{child}/environ").read_bytes().split(b"\0") for child in children}
    return next(int(child) for child, each in environments.items() if f"RANK={rank}".encode() in each)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).state_dict


def assert_close(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        tolerance = 2e-4 if "running" in name else 1e-5  # statistics follow all weights before them
        assert torch.allclose(tensor.double(), other[name].double(), rtol=0, atol=tolerance), name


def history(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> TinyCorpus:
    """Batches of 4, 4, 4 and 1; the second process has no part of the last one."""
    return make_corpus(tmp_path_factory.mktemp("odd"), train=13, val=7)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, odd: TinyCorpus) -> tuple[Path, str]:
    """The folder and the messages of 20 steps in two processes."""
    folder = tmp_path_factory.mktemp("together")
    status, _, errors = finish(start("train.py", *odd.flags(), *SHARED, "--save-folder", folder))
    assert status == 0, errors
    return folder, errors.replace("\r", "\n")


def test_two_processes_train_as_one_with_double_the_batch_size(together, odd, tmp_path):
    folder, shown = together
    assert not load_script("train.py").main([*odd.flags(), *ALONE, "--save-folder", str(tmp_path)])
    assert_close(weights(folder / LAST), weights(tmp_path / LAST))
    first, last = weights(folder / "deepspeech_checkpoint_epoch_1_iter_1.pth"), weights(folder / LAST)
    assert max((last[name] - tensor).abs().max() for name, tensor in first.items() if "bias" in name) > 1e-3
    for ours, alone in zip(history(folder), history(tmp_path), strict=True):
        assert {ours[name] == alone[name] for name in ("epoch", "wer", "cer", "too_short")} == {True}
        for name in ("train_loss", "val_loss", "audio_seconds"):
            assert float(ours[name]) == pytest.approx(float(alone[name]), rel=1e-4)
    assert len(re.findall(r"^epoch \d: train loss", shown, re.MULTILINE)) == 5  # one process speaks


def in_two(work: Callable[[int], object]) -> None:
    """Call a function with its rank in two processes forked from this one, which has imported everything."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}

    def run(rank: int) -> None:
        os.environ.update(place, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank))
        work(rank)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0, 0]


def train_in_two(arguments: list[str]) -> None:
    main = load_script("train.py").main
    in_two(lambda rank: cli.run(lambda: main(arguments)))


def test_gradients_wait_for_minutes_and_control_messages_for_an_hour():
    """A rank that hangs in a step is noticed soon; rank 0 may check a large corpus for long."""

    def work(rank: int) -> None:
        distributed.init()
        store, step = distributed._control_group(), torch.distributed.group.WORLD
        found = [group._get_backend(torch.device("cpu")).options._timeout for group in (store, step)]
        assert found == [timedelta(hours=1), timedelta(minutes=10)]
        assert distributed.gather(rank) == [0, 1]
        distributed.shutdown()

    in_two(work)


def test_ranks_share_gradients_only(labels):
    """On a pretended GPU: lengths stay on the host, running statistics on their rank until validation."""

    def work(rank: int) -> None:
        distributed.init()
        torch.manual_seed(0)
        model = tiny_model(labels).train()
        step = TrainStep(model, TrainingConfig(precision="fp32"))
        step.device = torch.device("cuda", rank)
        step.prepare()
        step.device = torch.device("cpu")
        torch.manual_seed(1 + rank)
        devices: list[str] = []
        model.register_forward_pre_hook(lambda module, inputs: devices.append(inputs[1].device.type))
        sample = Sample(index=0, features=torch.randn(161, 40), target=torch.tensor([1, 2]), duration=0.4)
        for _ in range(2):
            step.backward(collate([sample, sample]), 4)
            step.update(1e-3)
        assert devices == ["cpu", "cpu"]
        mean = model.conv.seq_module[1].running_mean
        means = distributed.gather(mean)
        assert not torch.equal(*means)
        distributed.broadcast(model.buffers())
        assert torch.equal(mean, means[0])
        first, second = distributed.gather([*model.parameters()])
        assert all(map(torch.equal, first, second))
        distributed.shutdown()

    in_two(work)


@pytest.mark.parametrize("case", ["accumulation", "frozen layers", "unreadable utterances"])
def test_two_processes_train_as_one_with_any_options(case, odd, labels, tmp_path):
    flags = {
        "accumulation": [*odd.flags(), *SMALL, "--grad-accumulation", "3"],
        "frozen layers": [*odd.flags(), "--continue-from", str(tmp_path / "model.pth"), "--finetune"],
        "unreadable utterances": ["--val-manifest", str(odd.val), *SMALL, "--skip-faulty"],
    }[case]
    if case == "frozen layers":
        save_checkpoint(tmp_path / "model.pth", tiny_model(labels))
        flags += ["--drop-layers", "1", "--freeze-epochs", "1"]
    elif case == "unreadable utterances":  # one batch has nothing else, of another one process has it
        (tmp_path / "broken.wav").write_bytes(b"RIFF")
        names = [odd.folder / f"train_{index}.{('wav', 'flac')[index % 2]}" for index in range(12)]
        for index in (0, 1, 2, 3, 5):
            names[index] = tmp_path / "broken.wav"
        texts = [odd.folder / f"train_{index}.txt" for index in range(12)]
        rows = [(name, text, 1 + index) for index, (name, text) in enumerate(zip(names, texts, strict=True))]
        flags += ["--train-manifest", str(write_rows(tmp_path / "train.csv", rows))]
    flags += [*TRAIN, "--epochs", "2", "--save-folder"]
    one, two = tmp_path / "one", tmp_path / "two"
    train_in_two([*flags, str(two), "--sync-batchnorm", "--batch-size", "2"])
    assert not load_script("train.py").main([*flags, str(one), "--batch-size", "4"])
    name = "deepspeech_checkpoint_epoch_2.pth"
    assert_close(weights(two / name), weights(one / name))
    for ours, alone in zip(history(two), history(one), strict=True):
        assert {ours[name] == alone[name] for name in ("epoch", "wer", "cer", "unreadable")} == {True}


def test_two_processes_test_as_one(odd, labels, tmp_path, capsys):
    save_checkpoint(tmp_path / "model.pth", tiny_model(labels))
    common = ["--model-path", str(tmp_path / "model.pth"), "--test-manifest", str(odd.train)]
    common += ["--batch-size", "3", "--num-workers", "0"]

    def outputs(name: str) -> list[str]:
        files = {"--output": "csv", "--save-output": "npz", "--report": "html"}
        return [each for flag, kind in files.items() for each in (flag, str(tmp_path / f"{name}.{kind}"))]

    status, shown, errors = finish(start("test.py", *common, *outputs("two"), "--verbose"))
    assert status == 0, errors
    assert not load_script("test.py").main([*common, *outputs("one"), "--verbose"])
    assert shown == capsys.readouterr().out
    assert "13 utterances" in shown
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    with np.load(tmp_path / "two.npz") as two, np.load(tmp_path / "one.npz") as one:
        assert np.array_equal(two["lengths"], one["lengths"])
        assert np.allclose(two["log_probs"], one["log_probs"], atol=0.01)
        assert np.array_equal(two["texts"], one["texts"])
    assert (tmp_path / "two.html").stat().st_size > 10_000


def test_a_killed_worker_is_restarted_and_nothing_is_lost(together, odd, tmp_path):
    arguments = [*odd.flags(), *SHARED, "--save-folder", tmp_path]
    launcher = start("train.py", *arguments, restarts=1)
    wait_for(launcher, tmp_path / "deepspeech_checkpoint_epoch_2_iter_2.pth")
    os.kill(worker(launcher, rank=1), signal.SIGKILL)
    assert not (tmp_path / LAST).exists()
    status, _, errors = finish(launcher)
    assert status == 0, errors
    assert "restarted by torchrun: resuming from" in errors
    assert [row["epoch"] for row in history(tmp_path)] == ["1", "2", "3", "4", "5"]
    whole = weights(together[0] / LAST)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(tmp_path / LAST).items())


def test_sigterm_saves_and_resuming_equals_an_uninterrupted_run(together, odd, tmp_path):
    """Preempted as two processes, resumed as one with double the batch size."""
    launcher = start("train.py", *odd.flags(), *SHARED, "--save-folder", tmp_path)
    wait_for(launcher, tmp_path / "deepspeech_checkpoint_epoch_2_iter_1.pth")
    launcher.terminate()
    status, _, errors = finish(launcher)
    assert status == 1, errors  # torchrun's own
    saved = re.search(r"^SIGTERM: saved (\S+); resume with --continue-from \1$", errors, re.MULTILINE)
    assert saved, errors
    assert not (tmp_path / LAST).exists()
    arguments = [*odd.flags(), *ALONE, "--save-folder", str(tmp_path), "--continue-from", saved[1]]
    assert not load_script("train.py").main(arguments)
    assert_close(weights(tmp_path / LAST), weights(together[0] / LAST))
    assert [row["epoch"] for row in history(tmp_path)] == ["1", "2", "3", "4", "5"]


def test_a_loss_that_is_not_finite_in_one_process_is_skipped_by_both(tmp_path):
    """Utterances are sorted by length; the second process gets every second one."""
    broken = {3, 9, 11}  # of twelve, so the steps are: good, bad, good, good, bad, bad
    corpus = make_corpus(tmp_path / "corpus", train=12, val=2)
    rows = []
    for index in range(12):
        sound = np.random.default_rng(index).normal(0, 0.1, 16000 + 800 * index).astype(np.float32)
        if index in broken:
            sound = np.full_like(sound, 3e38)  # a spectrogram of this overflows
        soundfile.write(corpus.folder / f"{index}.wav", sound, 16000, subtype="FLOAT")
        rows.append((f"{index}.wav", "train_0.txt"))
    write_rows(corpus.train, rows)
    flags = [*corpus.flags(), *EPOCHS, "--batch-size", "1", "--max-bad-steps", "2"]
    status, _, errors = finish(start("train.py", *flags, "--save-folder", tmp_path))
    assert status != 0
    message = next(line for line in errors.splitlines() if "error: no finite loss" in line)
    assert "in 2 steps in a row" in message
    assert f"{corpus.folder / '11.wav'};" in message
    assert "10.wav" not in message  # the first process's
    content = load_checkpoint(re.search(r"--continue-from (\S+)", message)[1])
    assert content.training["progress"]["skipped_steps"] == 3
    assert content.training["progress"]["batch"] == 6
    assert content.training["progress"]["utterances"] == 9
    assert all(torch.isfinite(tensor).all() for tensor in content.state_dict.values())


def test_one_process_alone_agrees_with_itself():
    assert (distributed.world_size(), distributed.rank(), distributed.is_rank_zero()) == (1, 0, True)
    assert distributed.gather("a") == ["a"]
    assert list(distributed.in_lockstep(iter([1, 2]), str)) == [(1, ["1"]), (2, ["2"])]
    values = torch.ones(2)
    assert all_reduce_sum(values) is values
