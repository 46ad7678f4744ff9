"""Tuning finds the weights that a known task needs."""

from dataclasses import replace

import matplotlib.image
import numpy as np
import optuna
import pytest
import torch

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.commands import tune_lm
from deepspeech.commands.test import main as main_of_test
from deepspeech.errors import InputError
from deepspeech.evaluation.log_probs import SavedOutput
from deepspeech.inference.factory import tuned
from tests.conftest import tiny_model

WORDS_ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-99\t<s>\t-0.3
-0.9\t</s>
-0.5\tTEA\t-0.2
-0.8\tSEA\t-0.1
-0.8\tHOT\t-0.1

\\2-grams:
-0.1\tHOT TEA
-2.0\tHOT SEA

\\end\\
"""


@pytest.fixture
def task(tmp_path, labels):
    """The network hears SEA a little better than TEA, and the references say HOT TEA."""
    random, log_probs = np.random.default_rng(0), []
    for _ in range(6):
        frames = "H_O_T_ _S_E_A_"
        logits = torch.tensor(random.normal(size=(len(frames), len(labels))) * 0.1).float()
        for row, character in zip(logits, frames, strict=True):
            row[labels.index(character)] += 8
        logits[8, labels.index("T")] += 6
        log_probs.append(logits.log_softmax(1).half().numpy())
    SavedOutput(labels, log_probs, ["HOT TEA"] * 6).write(tmp_path / "output.npz")
    (tmp_path / "lm.arpa").write_text(WORDS_ARPA)
    return tmp_path


def tune(task, *more):
    flags = [task / "output.npz", "--lm-path", task / "lm.arpa", "--trials", 12, "--alpha-range", 0, 1, *more]
    return tune_lm.main(list(map(str, flags)))


@pytest.mark.slow
def test_flags_to_use_a_picture_and_a_study_to_go_on_with(task, capsys):
    study, plot = task / "study.db", task / "map.png"
    tune(task, "--study", study, "--plot", plot, "--lm-workers", 2, "--beam-width", 20)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "12 trials on 6 utterances"
    assert lines[1] == "best: WER 0.00 %, CER 0.00 %"
    words = lines[2].split()
    assert words[:2] == ["--decoder", "beam"]
    assert {"--lm-path", "--beam-width", "--alpha", "--beta"} < set(words)
    assert matplotlib.image.imread(plot).std() > 0

    tune(task, "--study", study)
    assert capsys.readouterr().out.startswith("24 trials on 6 utterances\n")
    loaded = optuna.load_study(study_name="alpha and beta", storage=f"sqlite:///{study}")
    worst = max(trial.value for trial in loaded.trials)
    assert worst == 0.5, "without the language model SEA must win"


def test_wrong_input(task):
    with pytest.raises(InputError, match="pass --lm-path"):
        tune_lm.main([str(task / "output.npz")])
    with pytest.raises(InputError, match="No such file"):
        tune_lm.main([str(task / "none.npz"), "--lm-path", str(task / "lm.arpa")])
    with pytest.raises(InputError, match="No such file"):
        tune_lm.main([str(task / "output.npz"), "--lm-path", str(task / "none.arpa")])
    with pytest.raises(InputError, match="--study"):
        tune(task, "--study", task / "none" / "study.db")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("3", "1"), "give a lower and a higher number"),
        (("1", "1"), "give a lower and a higher number"),
        (("nan", "1"), "must be from -1000 to 1000"),
        (("0", "inf"), "must be from -1000 to 1000"),
    ],
)
@pytest.mark.parametrize("flag", ["--alpha-range", "--beta-range"])
def test_a_range_needs_a_lower_and_a_higher_number(task, flag, values, words):
    with pytest.raises(InputError, match=f"{flag} .*: {words}"):
        tune_lm.main(["output.npz", flag, *values])


def test_a_plot_that_cannot_be_written_is_found_before_the_trials(task, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--plot .*: cannot write there"):
        tune_lm.main(["output.npz", "--lm-path", "lm.arpa", "--plot", str(tmp_path / "file" / "a.png")])


@pytest.mark.slow
def test_in_one_go_a_model_gets_a_language_model_that_beam_search_finds(own_corpus, tmp_path, labels, capsys):
    save_checkpoint(tmp_path / "m.pth", tiny_model(labels))
    manifests = ["--train-manifest", own_corpus.train, "--val-manifest", own_corpus.val]
    flags = ["--model-path", tmp_path / "m.pth", *manifests, "--trials", 3, "--beam-width", 7]
    assert tune_lm.main(list(map(str, flags))) == 0
    assert "m.lm.json: written" in capsys.readouterr().err
    found = tuned(DecoderConfig(decoder="beam", beta=0.5), str(tmp_path / "m.pth"))
    assert (found.lm_path, found.beam_width, found.beta) == (str(tmp_path / "m.arpa"), 7, 0.5)
    assert f"{tmp_path / 'm.arpa'}: language model, alpha {found.alpha}" in capsys.readouterr().err
    assert main_of_test(["--model-path", str(tmp_path / "m.pth"), "--decoder", "beam", "--num-workers", "0",
                         "--test-manifest", str(own_corpus.val)]) == 0  # fmt: skip


def test_what_tuning_leaves_is_for_beam_search_without_a_model_of_its_own(tmp_path):
    path = str(tmp_path / "m.pth")
    (tmp_path / "m.lm.json").write_text('{"lm_path": "m.arpa", "alpha": 0.3}')
    assert tuned(DecoderConfig(), path) == DecoderConfig()
    other = DecoderConfig(decoder="beam", lm_path="other.arpa")
    assert tuned(other, path) == other
    assert tuned(replace(other, lm_path="none"), path).lm_path is None
    assert tuned(DecoderConfig(decoder="beam"), path).alpha == 0.3
    for damage in ("", "[]", '{"alpha": 1}', '{"lm_path": 3}', '{"lm_path": "m.arpa", "colour": 1}'):
        (tmp_path / "m.lm.json").write_text(damage)
        with pytest.raises(InputError, match=r"m\.lm\.json: damaged: "):
            tuned(DecoderConfig(decoder="beam"), path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lm-path", "lm.arpa"], "give a model with --model-path"),
        (["--val-manifest", "dev.csv", "--lm-path", "lm.arpa"], "--val-manifest"),
    ],
)
def test_tuning_says_what_it_needs(flags, message):
    with pytest.raises(InputError, match=message):
        tune_lm.main(flags)
