"""What tests share: a tiny corpus, a tiny model, and scripts run as a user runs them."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import hypothesis
import numpy as np
import pytest
import soundfile
import torch

from deepspeech import log
from deepspeech.checkpoint.format import in_order
from deepspeech.labels import Labels
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
THREADS = 1  # results are compared bit by bit, and cores may be shared
WORDS = {"ONE": 400, "TWO": 700, "THREE": 1200, "FOUR": 2100}  # Hz of the tone that stands for a word

torch.set_num_threads(THREADS)
log.configure()  # messages go to standard error, as in the commands
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True, database=None, max_examples=25)
hypothesis.settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="run the exhaustive tests, and no others")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests come last, so that mistakes show early; exhaustive ones only on request."""
    wanted = config.getoption("--exhaustive")
    unwanted = [item for item in items if (item.get_closest_marker("exhaustive") is not None) != wanted]
    config.hook.pytest_deselected(items=unwanted)
    items[:] = [item for item in items if item not in set(unwanted)]
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def run_script(name: str, *arguments: object, **options: object) -> subprocess.CompletedProcess:
    """Run a script of the project as a user does; `options` go to `subprocess.run`."""
    return subprocess.run(
        script_command(name, *arguments),
        **{"cwd": ROOT, "env": script_environment(), "capture_output": True, "text": True, "timeout": 240}
        | options,
    )


def start_script(name: str, *arguments: object, **options: object) -> subprocess.Popen:
    """Start a script and return at once."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        script_command(name, *arguments), **{"cwd": ROOT, "env": script_environment()} | pipes | options
    )


def script_command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / name), *map(str, arguments)]


def script_environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(THREADS), "CUDA_VISIBLE_DEVICES": ""}


def load_script(name: str) -> ModuleType:
    """A script as a module, whatever else on the path has its name; nothing of it runs."""
    spec = importlib.util.spec_from_file_location(f"script_{Path(name).stem}", ROOT / name)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return [folder / name for name in in_order(path.name for path in folder.iterdir())]


def write_rows(path: Path, rows: list[tuple], encoding: str = "utf-8") -> Path:
    """Write a CSV file."""
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


def say(text: str, rate: int, random: np.random.Generator) -> np.ndarray:
    """A waveform of tones for words, with pauses and some noise."""
    parts = [np.zeros(rate // 20)]
    for word in text.split():
        time = np.arange(int(rate * random.uniform(0.12, 0.2))) / rate
        parts += [0.3 * np.sin(2 * np.pi * WORDS[word] * time) * np.hanning(len(time)), np.zeros(rate // 20)]
    waveform = np.concatenate(parts)
    return waveform + random.normal(0, 0.003, len(waveform))


@dataclass(frozen=True)
class TinyCorpus:
    """Where a corpus of tones lies; its words are distinguishable, so a model can learn them."""

    folder: Path
    train: Path  # manifests
    val: Path

    def flags(self) -> list[str]:
        return ["--train-manifest", str(self.train), "--val-manifest", str(self.val)]


def make_corpus(folder: Path, train: int = 12, val: int = 4) -> TinyCorpus:
    """Write a corpus: wav and flac files of 8 and 16 kHz, transcripts, two manifests."""
    random = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, count: int) -> Path:
        rows = []
        for index in range(count):
            words = random.choice(list(WORDS), 1 + index % 3)
            rate, kind = ((16000, "wav"), (8000, "flac"))[index % 2]
            audio, transcript = f"{name}_{index}.{kind}", f"{name}_{index}.txt"
            soundfile.write(folder / audio, say(" ".join(words), rate, random), rate)
            (folder / transcript).write_text(" ".join(words) + "\n", encoding="utf-8")
            rows.append((audio, transcript))
        return write_rows(folder / f"{name}.csv", rows)

    return TinyCorpus(folder, write("train", train), write("val", val))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> TinyCorpus:
    """A corpus that tests read and never change."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def own_corpus(tmp_path: Path) -> TinyCorpus:
    """A corpus that a test may damage."""
    return make_corpus(tmp_path / "corpus", train=4, val=2)


@pytest.fixture(scope="session")
def labels() -> Labels:
    return Labels.load(ROOT / "labels.json")


def tiny_model(labels: Labels, seed: int = 0, **options: object) -> DeepSpeech:
    """A network small enough for any test, with BatchNorm statistics unlike the initial ones."""
    torch.manual_seed(seed)
    options = {"hidden_size": 12, "hidden_layers": 2} | options
    model = DeepSpeech(ModelConfig(labels=labels.characters, **options))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture
def model(labels: Labels) -> DeepSpeech:
    return tiny_model(labels)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real speech and reference checkpoints beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("no shared data beside the repository")
    return SHARED


@pytest.fixture
def disk_full_at():
    """Within `with disk_full_at(bytes)`, files of this process cannot grow larger: stands for a full disk."""

    @contextlib.contextmanager
    def limit(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
