"""Log-probabilities in a file."""

import numpy as np
import pytest
import torch

from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.data.corpus import load_corpus
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.errors import InputError
from deepspeech.evaluation.log_probs import SavedOutput
from tests.conftest import load_script


def test_test_py_saves_what_it_decodes(tmp_path, model, corpus, capsys):
    save_checkpoint(tmp_path / "model.pth", model)
    flags = ["--model-path", tmp_path / "model.pth", "--test-manifest", corpus.val, "--num-workers", 0]
    flags += ["--batch-size", 3, "--verbose", "--save-output", tmp_path / "output.npz"]
    assert load_script("test.py").main(list(map(str, flags))) == 0
    lines = capsys.readouterr().out.splitlines()
    texts = [line.split(":", 1)[1].strip() for line in lines if line.startswith("  hypothesis:")]

    output = SavedOutput.read(tmp_path / "output.npz")
    assert output.labels == model.labels
    references = load_corpus(corpus.val, model.labels).targets
    assert output.references == [model.labels.decode(target) for target in references]
    for saved, text in zip(output.log_probs, texts, strict=True):
        log_probs = torch.from_numpy(saved).float()
        torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(len(log_probs)), atol=0.02, rtol=0)
        decoded = GreedyDecoder(model.labels).decode(log_probs[None], torch.tensor([len(log_probs)]))
        assert " ".join(decoded[0][0].text.split()) == text


def test_a_frame_takes_at_most_two_bytes_per_label(tmp_path, labels):
    log_probs = np.random.default_rng(0).normal(size=(2000, len(labels))).astype(np.float16)
    SavedOutput(labels, [log_probs], ["A"]).write(tmp_path / "output.npz")
    assert (tmp_path / "output.npz").stat().st_size < 2000 * len(labels) * 2 + 2000


def test_an_empty_file_can_be_read(tmp_path, labels):
    SavedOutput(labels, [], []).write(tmp_path / "output.npz")
    assert SavedOutput.read(tmp_path / "output.npz") == SavedOutput(labels, [], [])


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("A B C")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name, words in (
        ("none.npz", "No such file"),
        ("text", "not a file of log-prob"),
        ("other.npz", "not a file of log-prob"),
        ("array.npy", "not a file of log-prob"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            SavedOutput.read(tmp_path / name)
        assert "\n" not in str(caught.value)
