"""The training loop: it learns, resumes exactly, survives bad utterances, and saves what it should."""

import math
import shutil
from dataclasses import replace

import pytest
import torch
from tqdm import tqdm

from deepspeech import distributed, load_model
from deepspeech.audio.augment import Augmentation, AugmentConfig
from deepspeech.checkpoint.format import load_checkpoint
from deepspeech.checkpoint.save_folder import SaveFolder
from deepspeech.data import dataset
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader
from deepspeech.data.sampler import BucketingSampler
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.errors import InputError
from deepspeech.evaluation.evaluate import evaluate
from deepspeech.training.config import TrainingConfig
from deepspeech.training.selection import Selection
from deepspeech.training.state import ResumeState
from deepspeech.training.trainer import LAST, Trainer
from tests.conftest import TinyCorpus, checkpoints, tiny_model, write_rows

BEST = "deepspeech_final.pth"


def make_trainer(
    corpus: TinyCorpus, folder, labels, batch_size=4, model=None, workers=0, **options
) -> Trainer:
    """A trainer as train.py makes it, of a tiny model."""
    loaders = []
    for manifest, shuffle in ((corpus.train, True), (corpus.val, False)):
        loaded = load_corpus(manifest, labels)
        sampler = BucketingSampler(loaded.durations, batch_size, shuffle, seed=3)
        data = SpectrogramDataset(loaded, labels)
        loaders.append(AudioDataLoader(data, sampler, workers if shuffle else 0))
    options = {"epochs": 2, "learning_rate": 1e-3, "precision": "fp32"} | options
    config = TrainingConfig(save_folder=str(folder), **options)
    return Trainer(model or tiny_model(labels), *loaders, config, SaveFolder(config.save_folder))


def resumed(path, corpus, folder, labels, **options):
    """A trainer that resumes from a checkpoint, as train.py makes it."""
    checkpoint = load_checkpoint(path)
    trainer = make_trainer(corpus, folder, labels, model=checkpoint.build_model(), **options)
    trainer.restore(ResumeState.of(checkpoint))
    return trainer


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("options", [{"adam": True, "learning_rate": 5e-3}, {"learning_rate": 1e-3}])
def test_the_loss_falls(corpus, tmp_path, labels, options):
    rows = make_trainer(corpus, tmp_path, labels, epochs=4, **options).fit()
    assert [row.epoch for row in rows] == [1, 2, 3, 4]
    assert rows[-1].train_loss < 0.8 * rows[0].train_loss


def test_the_reported_loss_is_the_mean_over_the_utterances(corpus, tmp_path, labels):
    """With a tiny learning rate and one batch per epoch, the loss stays the same."""
    trainer = make_trainer(corpus, tmp_path, labels, batch_size=12, epochs=2, learning_rate=1e-12)
    first, second = trainer.fit()
    batch = next(iter(trainer.train_loader))
    trainer.model.train()
    log_probs, frames = trainer.model(batch.features, batch.lengths)
    expected = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1), batch.targets, frames, batch.target_lengths, reduction="sum"
    )
    assert first.train_loss == pytest.approx(expected.item() / 12, rel=1e-3)
    assert second.train_loss == pytest.approx(first.train_loss, rel=1e-3)
    assert first.audio_seconds == pytest.approx(batch.duration)


def test_accumulated_batches_are_one_large_batch(tmp_path, labels, own_corpus):
    """Every row is the same utterance, so that batch norm has the same statistics in both."""
    write_rows(own_corpus.train, [("train_0.wav", "train_0.txt")] * 8)
    options = {"epochs": 2, "learning_rate": 1e-4}
    one = make_trainer(own_corpus, tmp_path / "1", labels, 4, **options)
    two = make_trainer(own_corpus, tmp_path / "2", labels, 2, grad_accumulation=2, **options)
    before = [weights.clone() for weights in one.model.parameters()]
    one.fit()
    two.fit()
    for (name, weights), others in zip(one.model.named_parameters(), two.model.parameters(), strict=True):
        assert torch.allclose(weights, others, atol=1e-5), name
    changes = [(a - b).abs().max() for a, b in zip(before, one.model.parameters(), strict=True)]
    assert max(changes) > 1e-3


def test_the_last_batches_of_an_epoch_are_a_step_too(corpus, tmp_path, labels):
    trainer = make_trainer(corpus, tmp_path, labels, grad_accumulation=2, epochs=1)  # 3 batches
    steps = []
    trainer.step.optimizer.register_step_post_hook(lambda *_: steps.append(trainer.progress.batch))
    trainer.fit()
    assert steps == [2, 3]


def long_transcript(corpus, name="train_0.txt"):
    (corpus.folder / name).write_text("A" * 400)


def test_an_utterance_too_short_for_ctc_is_reported_once(own_corpus, tmp_path, labels, capsys):
    long_transcript(own_corpus)
    trainer = make_trainer(own_corpus, tmp_path, labels, batch_size=2, epochs=3)
    rows = trainer.fit()
    shown = capsys.readouterr().err
    assert shown.count(f"{own_corpus.train}:1: skipped: fewer output frames than CTC needs") == 1
    assert [row.too_short for row in rows] == [1, 1, 1]
    assert all(math.isfinite(row.train_loss) and row.train_loss > 0 for row in rows)
    assert all(torch.isfinite(tensor).all() for tensor in weights_of(trainer).values())


def test_an_utterance_too_short_for_ctc_has_no_gradient(own_corpus, tmp_path, labels):
    """All rows are too short, so that no weight may get a gradient."""
    for index in range(4):
        long_transcript(own_corpus, f"train_{index}.txt")
    trainer = make_trainer(own_corpus, tmp_path, labels, weight_decay=0.0, epochs=1)
    before = [weights.clone() for weights in trainer.model.parameters()]
    with pytest.raises(InputError, match="no utterance has as many output frames as its transcript needs"):
        trainer.fit()
    assert (trainer.progress.too_short, trainer.progress.skipped_steps) == (4, 0)
    assert all(map(torch.equal, before, trainer.model.parameters()))
    assert not (tmp_path / "deepspeech_final.pth").exists()


def test_gradients_that_are_not_finite_are_skipped_and_counted(corpus, tmp_path, labels):
    trainer = make_trainer(corpus, tmp_path, labels, epochs=1)
    weights = dict(trainer.model.named_parameters())["fc.0.module.1.weight"]
    spoiled = iter([math.inf, math.nan, 1.0])
    weights.register_hook(lambda gradient: gradient * next(spoiled))
    before, changed = weights_of(trainer), []

    def compare(*_):
        after = dict(trainer.model.named_parameters())
        changed.append(any(not torch.equal(after[name], before[name]) for name in after))

    trainer.step.optimizer.register_step_post_hook(compare)
    (row,) = trainer.fit()
    assert row.skipped_steps == 2
    assert changed == [False, False, True]
    assert all(torch.isfinite(each).all() for each in trainer.model.parameters())


def test_gradients_are_clipped(corpus, tmp_path, labels):
    norms = []
    trainer = make_trainer(corpus, tmp_path, labels, epochs=1, max_norm=0.01)
    trainer.step.optimizer.register_step_pre_hook(
        lambda *_: norms.append(torch.nn.utils.get_total_norm(w.grad for w in trainer.model.parameters()))
    )
    trainer.fit()
    assert len(norms) == 3
    assert max(norms) <= 0.0101


def test_ranks_exchange_one_message_for_each_batch(corpus, tmp_path, labels, monkeypatch):
    sent, gather = [], distributed.gather
    monkeypatch.setattr(distributed, "gather", lambda value: sent.append(value) or gather(value))
    counts = []
    for batch_size in (4, 1):
        trainer = make_trainer(corpus, tmp_path / str(batch_size), labels, batch_size, epochs=1)
        trainer.val_loader = trainer.train_loader
        trainer.step.asynchronous = True  # as on a GPU
        trainer.fit()
        counts.append(len(sent))
        sent.clear()
    assert counts[1] - counts[0] == 2 * (12 - 3)  # batches of training and of validation


def test_the_bar_is_not_drawn_for_every_batch(corpus, tmp_path, labels, monkeypatch):
    """tqdm decides: at most ten times a second."""
    trainer, drawn = make_trainer(corpus, tmp_path, labels, epochs=1), []
    monkeypatch.setattr(tqdm, "refresh", lambda bar, *given, **more: drawn.append(bar.n))
    monkeypatch.setattr(tqdm, "update", lambda bar, *given: None)
    trainer._train_epoch()
    assert len(drawn) <= 1  # at its start


def test_out_of_memory_is_one_line_with_the_remedy(corpus, tmp_path, labels, monkeypatch):
    trainer = make_trainer(corpus, tmp_path, labels)

    def backward(*given, **more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has ...")

    monkeypatch.setattr(trainer.step, "backward", backward)
    with pytest.raises(
        InputError, match=r"^cpu: out of memory; .* --find-batch prints; saved .*_iter_0\.pth"
    ):
        trainer.fit()
    assert [path.name for path in checkpoints(tmp_path)] == ["deepspeech_checkpoint_epoch_1_iter_0.pth"]


@pytest.mark.parametrize(("saved", "resumed_with"), [(False, True), (True, False), (True, True)])
def test_training_resumes_with_and_without_scaled_gradients(corpus, tmp_path, labels, saved, resumed_with):
    """Gradients are scaled in fp16 only; a checkpoint may come from bf16, fp32 or a CPU."""
    first = make_trainer(corpus, tmp_path, labels, epochs=1)
    first.step.scaler = torch.amp.GradScaler("cpu", 256.0, enabled=saved)
    first.fit()
    checkpoint = load_checkpoint(tmp_path / BEST)
    trainer = make_trainer(corpus, tmp_path, labels, model=checkpoint.build_model())
    trainer.step.scaler = torch.amp.GradScaler("cpu", enabled=resumed_with)
    trainer.restore(ResumeState.of(checkpoint))
    trainer.fit()
    assert [row.skipped_steps for row in trainer.history] == [0, 0]
    scale = trainer.step.scaler.get_scale()
    assert scale == (1.0 if not resumed_with else 256.0 if saved else 65536.0)


def test_the_learning_rate_follows_the_schedule(corpus, tmp_path, labels):
    options = {"epochs": 3, "learning_anneal": 2.0, "learning_rate": 4e-4}
    rows = make_trainer(corpus, tmp_path, labels, **options).fit()
    assert [row.learning_rate for row in rows] == pytest.approx([4e-4, 2e-4, 1e-4])


def test_the_history_is_written(corpus, tmp_path, labels):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = {"tensorboard": True, "log_dir": str(tmp_path / "events"), "id": "x"}
    make_trainer(corpus, tmp_path, labels, **options).fit()
    assert {path.name for path in tmp_path.iterdir()} == {
        "metrics.csv", "curves.png", "events", "deepspeech_final.pth", "deepspeech_last.pth",
    }  # fmt: skip
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 3
    events = EventAccumulator(str(tmp_path / "events")).Reload().Scalars("x/train_loss")
    assert [event.step for event in events] == [1, 2]


def test_the_best_model_has_the_lowest_wer(corpus, tmp_path, labels):
    model = tiny_model(labels, hidden_size=32, hidden_layers=1)
    options = {"batch_size": 1, "epochs": 5, "adam": True, "learning_rate": 0.01, "best_by": "wer"}
    trainer = make_trainer(corpus, tmp_path, labels, model=model, **options)
    rows = trainer.fit()
    best = min(rows, key=lambda row: (row.wer, row.cer))
    assert best.wer < 1  # it did learn
    training, best_path = load_checkpoint(tmp_path / BEST).training, tmp_path / BEST
    assert len(training["history"]) == best.epoch
    assert training["best_wer"] == best.wer
    again = evaluate(load_model(best_path), trainer.val_loader, GreedyDecoder(labels))
    assert again.words.rate == best.wer


def test_a_worse_epoch_leaves_the_best_model_alone(corpus, tmp_path, labels):
    trainer = make_trainer(corpus, tmp_path, labels, epochs=1)
    trainer.selection = Selection(lowest=(0.0, 0.0))
    trainer.fit()
    assert not (tmp_path / BEST).exists()


def test_only_recent_checkpoints_are_kept(corpus, tmp_path, labels):
    trainer = make_trainer(corpus, tmp_path, labels, epochs=4, checkpoint=True, save_n_recent_models=2)
    trainer.fit()
    names = [path.name for path in checkpoints(tmp_path)]
    assert names == ["deepspeech_checkpoint_epoch_3.pth", "deepspeech_checkpoint_epoch_4.pth"]


def test_later_checkpoints_of_another_run_are_left_alone(corpus, tmp_path, labels):
    later = tmp_path / "deepspeech_checkpoint_epoch_9.pth"
    later.touch()
    make_trainer(corpus, tmp_path, labels, checkpoint=True, save_n_recent_models=1).fit()
    assert [path.name for path in checkpoints(tmp_path)] == ["deepspeech_checkpoint_epoch_2.pth", later.name]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"adam": True, "schedule": "cosine"}, {"grad_accumulation": 2}])
def test_resuming_from_any_checkpoint_equals_an_uninterrupted_run(corpus, tmp_path, labels, options):
    """Two epochs of six batches: shortest first, then shuffled."""
    options |= {"checkpoint": True, "checkpoint_per_iteration": 1}
    whole = make_trainer(corpus, tmp_path / "whole", labels, batch_size=2, **options)
    whole.fit()
    found = checkpoints(tmp_path / "whole")
    assert len(found) == (14 if "grad_accumulation" not in options else 8)
    for path in found[2::5]:
        torch.manual_seed(99)  # resuming does not depend on it
        rest = resumed(path, corpus, tmp_path / path.stem, labels, batch_size=2, **options)
        rest.fit()
        assert_equal(weights_of(rest), weights_of(whole))
        for one, other in zip(rest.history, whole.history, strict=True):
            assert (one.train_loss, one.val_loss, one.wer) == (other.train_loss, other.val_loss, other.wer)
            assert one.learning_rate == other.learning_rate


def test_the_epoch_is_repeated_if_its_batches_differ(corpus, tmp_path, labels, capsys):
    make_trainer(corpus, tmp_path, labels, batch_size=2, checkpoint_per_iteration=4, epochs=1).fit()
    trainer = resumed(checkpoints(tmp_path)[0], corpus, tmp_path, labels, batch_size=3)
    assert "repeating its last epoch" in capsys.readouterr().err
    assert (trainer.progress.epoch, trainer.progress.batch, trainer.progress.utterances) == (0, 0, 0)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("part", ["train", "val"])
def test_nothing_is_lost_when_audio_breaks_during_training(tmp_path, own_corpus, labels, part, accumulation):
    """The manifest has durations, so that files are first opened when they are needed."""
    for name, count in (("train", 4), ("val", 2)):
        rows = [(f"{name}_{i}.{'flac' if i % 2 else 'wav'}", f"{name}_{i}.txt", 1 + i) for i in range(count)]
        write_rows(own_corpus.folder / f"{name}.csv", rows)
    options = {"batch_size": 1, "grad_accumulation": accumulation, "epochs": 2}
    whole = make_trainer(own_corpus, tmp_path / "whole", labels, **options)
    whole.fit()
    broken = own_corpus.folder / f"{part}_1.flac"
    shutil.copy(broken, tmp_path / "good")
    trainer = make_trainer(own_corpus, tmp_path / "cut", labels, **options)
    broken.write_bytes(b"")
    with pytest.raises(InputError) as caught:
        trainer.fit()
    (path,) = checkpoints(tmp_path / "cut")
    assert str(caught.value) == (
        f"{own_corpus.folder / part}.csv:2: {broken}: empty audio file; replace or remove it; "
        f"saved {path}; resume with --continue-from {path}"
    )
    shutil.copy(tmp_path / "good", broken)
    rest = resumed(path, own_corpus, tmp_path / "rest", labels, **options)
    rest.fit()
    if accumulation == 1:
        assert_equal(weights_of(rest), weights_of(whole))
    else:  # batch norm sees the batch before the broken one twice
        for (name, one), other in zip(rest.model.named_parameters(), whole.model.parameters(), strict=True):
            assert torch.equal(one, other), name


def test_unreadable_utterances_can_be_left_out_while_training(tmp_path, own_corpus, labels):
    rows = [(f"train_{i}.{'flac' if i % 2 else 'wav'}", f"train_{i}.txt", 1 + i) for i in range(4)]
    write_rows(own_corpus.train, rows)
    trainer = make_trainer(own_corpus, tmp_path, labels, batch_size=1)
    trainer.train_loader.skip_faulty = True
    (own_corpus.folder / "train_2.wav").write_bytes(b"RIFF")
    assert [row.unreadable for row in trainer.fit()] == [1, 1]


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_mixed_precision_learns(corpus, tmp_path, labels, precision):
    rows = make_trainer(corpus, tmp_path, labels, epochs=4, precision=precision).fit()
    assert rows[-1].train_loss < 0.9 * rows[0].train_loss


def test_a_damaged_state_is_an_error(corpus, tmp_path, labels):
    trainer = make_trainer(corpus, tmp_path, labels)
    trainer.save("m.pth")
    checkpoint = load_checkpoint(tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"m\.pth: damaged training state: it lacks 'history'; take another"):
        ResumeState.of(replace(checkpoint, training={}))


@pytest.mark.parametrize("adam", [False, True])
def test_reading_losses_every_few_steps_changes_nothing(corpus, tmp_path, labels, adam):
    """As on a GPU."""
    losses, weights = [], []
    for asynchronous in (False, True):
        trainer = make_trainer(corpus, tmp_path / f"{asynchronous}", labels, epochs=1, adam=adam)
        trainer.step.asynchronous = asynchronous
        spoiled = iter([1.0, math.nan, 1.0])
        layer = dict(trainer.model.named_parameters())["fc.0.module.1.weight"]
        layer.register_hook(lambda gradient, spoiled=spoiled: gradient * next(spoiled))
        (row,) = trainer.fit()
        assert row.skipped_steps == 1
        losses.append(row.train_loss)
        weights.append(weights_of(trainer))
    assert losses[0] == losses[1]
    assert_equal(*weights)


def test_a_flat_start_ends_after_its_share_of_an_epoch(corpus, tmp_path, labels, monkeypatch):
    trainer, flat = make_trainer(corpus, tmp_path, labels, epochs=2, flat_start=1.4), []  # 3 batches an epoch
    backward = trainer.step.backward
    monkeypatch.setattr(
        trainer.step,
        "backward",
        lambda *args, **kwargs: flat.append(kwargs["flat"]) or backward(*args, **kwargs),
    )
    trainer.fit()
    assert flat == [True] * 4 + [False] * 2


def test_training_ends_when_the_validation_loss_has_not_fallen(corpus, tmp_path, labels, monkeypatch):
    trainer = make_trainer(corpus, tmp_path, labels, epochs=9, patience=2)
    values = iter([3.0, 2.0, 2.5, 2.2, 1.0])
    real = trainer._validate
    monkeypatch.setattr(trainer, "_validate", lambda: replace(real(), loss=next(values)))
    assert [row.epoch for row in trainer.fit()] == [1, 2, 3, 4]


def test_the_last_model_is_saved_beside_the_best(corpus, tmp_path, labels):
    trainer = make_trainer(corpus, tmp_path, labels)
    trainer.selection = Selection(lowest=(0.0, 0.0))
    trainer.fit()
    assert_equal(load_model(tmp_path / LAST).state_dict(), weights_of(trainer))
    assert load_checkpoint(tmp_path / LAST).training["progress"]["epoch"] == 2


def test_utterances_that_ctc_cannot_align_are_left_out_of_the_validation_loss(
    own_corpus, tmp_path, labels, capsys
):
    long_transcript(own_corpus, "val_0.txt")
    evaluation = make_trainer(own_corpus, tmp_path, labels, batch_size=1)._validate()
    assert [place.endswith("val.csv:1") for place in evaluation.too_short] == [True]
    assert "val.csv:1: not in the validation loss: fewer output frames" in capsys.readouterr().err
    write_rows(own_corpus.val, [("val_1.flac", "val_1.txt")])
    alone = make_trainer(own_corpus, tmp_path, labels, batch_size=1)._validate()
    assert evaluation.loss == pytest.approx(alone.loss, rel=1e-5)


def test_dropout_and_masks_start_after_the_plain_epochs(corpus, tmp_path, labels, monkeypatch):
    model = tiny_model(labels, dropout=0.5)
    trainer = make_trainer(corpus, tmp_path, labels, model=model, epochs=3, plain_epochs=2)
    data, draw, backward = trainer.train_loader.dataset, dataset.draw_warp_and_masks, trainer.step.backward
    data.augment = Augmentation(AugmentConfig(spec_augment="adaptive"), 16000, plain_epochs=2)
    masked, drops = [], []
    monkeypatch.setattr(dataset, "draw_warp_and_masks", lambda *all: masked.append(data.epoch) or draw(*all))
    trainer.step.backward = lambda *all, **more: drops.append(model.drops) or backward(*all, **more)
    trainer.fit()
    assert masked == [2] * 12
    assert drops == [False] * 6 + [True] * 3


def test_training_ends_in_time_and_a_resumed_run_at_the_same_epoch(corpus, tmp_path, labels):
    trainer = make_trainer(corpus, tmp_path, labels, epochs=50, schedule="cosine", minutes=1e-6)
    assert [row.epoch for row in trainer.fit()] == [1]
    again = resumed(tmp_path / LAST, corpus, tmp_path, labels, epochs=50, schedule="cosine", minutes=1e-6)
    assert again.config.epochs == 1
    assert len(again.fit()) == 1, "all that fit are done"
