"""Save folders at URLs: background uploads, slow and failing remotes, resuming."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from deepspeech import load_model
from deepspeech.checkpoint import save_folder
from deepspeech.checkpoint.format import load_checkpoint, save_checkpoint
from deepspeech.checkpoint.remote import is_url, open_url
from deepspeech.checkpoint.save_folder import SaveFolder
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader
from deepspeech.data.sampler import BucketingSampler
from deepspeech.errors import InputError
from deepspeech.training.config import TrainingConfig
from deepspeech.training.trainer import Trainer
from tests.conftest import TinyCorpus, load_script, tiny_model

URL = "flaky://bucket/run"
OLD, NEW = "deepspeech_checkpoint_epoch_1.pth", "deepspeech_checkpoint_epoch_2.pth"


class Flaky(MemoryFileSystem):
    """A remote that may be slow, or fail in the middle of a file."""

    protocol = "flaky"
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    failures = 0  # uploads that will fail
    opened = threading.Event()  # uploads wait for it

    def put_file(self, lpath, rpath, **options):
        assert self.opened.wait(60)
        if Flaky.failures:
            Flaky.failures -= 1
            self.pipe_file(rpath, Path(lpath).read_bytes()[:100])
            raise OSError("connection lost")
        super().put_file(lpath, rpath, **options)


@pytest.fixture(autouse=True)
def _remote(tmp_path, monkeypatch):
    """A new empty remote, and no waiting between attempts."""
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr(Flaky, "store", {})
    monkeypatch.setattr(Flaky, "pseudo_dirs", [""])
    monkeypatch.setattr(Flaky, "failures", 0)
    monkeypatch.setattr(save_folder, "PAUSE", 0.0)
    monkeypatch.setattr(save_folder.tempfile, "tempdir", str(tmp_path / "here"))
    (tmp_path / "here").mkdir()
    Flaky.opened.set()


def remote_files() -> set[str]:
    return {name.rpartition("/")[2] for name in Flaky.store}


def write(folder: SaveFolder, name: str, content: bytes) -> None:
    (folder.path / name).write_bytes(content)
    folder.publish(name)


def make_trainer(corpus: TinyCorpus, labels, **options) -> Trainer:
    loaders = []
    for manifest, shuffle in ((corpus.train, True), (corpus.val, False)):
        loaded = load_corpus(manifest, labels)
        sampler = BucketingSampler(loaded.durations, 4, shuffle)
        loaders.append(AudioDataLoader(SpectrogramDataset(loaded, labels), sampler))
    options = {"epochs": 2, "precision": "fp32", "checkpoint": True} | options
    config = TrainingConfig(save_folder=URL, **options)
    return Trainer(tiny_model(labels), *loaders, config, SaveFolder(URL))


def test_training_continues_while_the_remote_is_stuck(corpus, labels):
    trainer = make_trainer(corpus, labels)
    Flaky.opened.clear()

    def at_the_end(*_) -> None:
        if trainer.progress.epoch == 1 and trainer.progress.batch == 3:
            assert not remote_files()
            Flaky.opened.set()

    trainer.step.optimizer.register_step_post_hook(at_the_end)
    assert len(trainer.fit()) == 2
    assert remote_files() == {
        "metrics.csv", "curves.png", "deepspeech_final.pth", "deepspeech_last.pth",
        "deepspeech_checkpoint_epoch_1.pth", "deepspeech_checkpoint_epoch_2.pth",
    }  # fmt: skip
    assert not list(trainer.folder.path.iterdir())  # all of it is safe elsewhere
    assert load_model("flaky://bucket/run/deepspeech_final.pth").config == trainer.model.config


def test_failed_uploads_are_repeated(corpus, labels):
    Flaky.failures = 2 * save_folder.ATTEMPTS + 1
    trainer = make_trainer(corpus, labels, save_n_recent_models=1)
    trainer.fit()
    assert remote_files() == {
        "metrics.csv", "curves.png", "deepspeech_final.pth", "deepspeech_last.pth",
        "deepspeech_checkpoint_epoch_2.pth",
    }  # fmt: skip
    assert load_checkpoint("flaky://bucket/run/deepspeech_checkpoint_epoch_2.pth").training["progress"]


def test_uploaded_files_stay_intact_when_the_remote_fails(capsys):
    folder = SaveFolder(URL)
    write(folder, OLD, b"good" * 100)
    folder.finish()
    Flaky.failures = 1000
    write(folder, OLD, b"better" * 100)
    write(folder, NEW, b"next" * 100)
    folder.remove_older(NEW, keep=1)
    (folder.path / OLD).write_bytes(b"better" * 100)
    with pytest.raises(InputError, match=f"could not be reached: .*{NEW}.*the files are in"):
        folder.finish()
    assert (
        f"{NEW}: cannot be reached: OSError: connection lost; training continues" in capsys.readouterr().err
    )
    assert Flaky.store[f"{URL}/{OLD}"].getvalue() == b"good" * 100
    assert (folder.path / NEW).read_bytes() == b"next" * 100
    Flaky.failures = 0
    write(folder, "last.pth", b"last")
    folder.finish()
    assert Flaky.store[f"{URL}/{NEW}"].getvalue() == b"next" * 100


def test_a_checkpoint_that_is_not_uploaded_is_found_on_the_disk(labels, tmp_path):
    folder = SaveFolder(URL)
    Flaky.failures = 1000
    save_checkpoint(folder.path / "deepspeech_checkpoint_epoch_3.pth", tiny_model(labels))
    folder.publish("deepspeech_checkpoint_epoch_3.pth")
    with pytest.raises(InputError):
        folder.finish()
    again = SaveFolder(URL)
    assert again.latest_checkpoint() == str(folder.path / "deepspeech_checkpoint_epoch_3.pth")


@pytest.mark.parametrize("url", ["flaky://bucket/run", "file://{}/run"])
def test_training_resumes_from_a_url(corpus, tmp_path, url, capsys):
    url = url.format(tmp_path)
    flags = [*corpus.flags(), "--hidden-size", "8", "--hidden-layers", "1", "--no-cuda", "--num-workers", "0"]
    flags += ["--save-folder", url, "--checkpoint", "--load-auto-checkpoint"]
    for epochs in ("1", "2"):
        assert not load_script("train.py").main([*flags, "--epochs", epochs])
    assert f"model {url}/deepspeech_final.pth, curves {url}/curves.png" in capsys.readouterr().out
    with fsspec.open(f"{url}/metrics.csv", "rt") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nothing://bucket", "nothing://bucket: no way to open such a URL: .*; give another one"),
        ("flaky://bucket/none.pth", "flaky://bucket/none.pth: cannot fetch it: FileNotFoundError"),
    ],
)
def test_unreadable_urls_are_errors(url, words):
    with pytest.raises(InputError, match=words):
        load_model(url)


def test_a_missing_package_is_named():
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="pip install s3fs"):
            open_url("s3://bucket/run")
    else:
        assert open_url("s3://bucket/run")[1] == "bucket/run"


def test_an_unwritable_folder_is_reported_at_once(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("read only")

    monkeypatch.setattr(Flaky, "pipe_file", refuse)
    with pytest.raises(
        InputError, match=r"--save-folder flaky://bucket/run: cannot write there: .*read only"
    ):
        SaveFolder(URL)


def test_paths_are_not_urls():
    assert is_url("s3://a/b")
    assert not is_url("/a/b")
    assert not is_url(Path("a//b"))
