"""Evaluation: each utterance once, in the order of the manifest."""

import csv
import math

import pytest
import torch

from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader
from deepspeech.data.sampler import BucketingSampler
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.decoding.word_times import confidences
from deepspeech.evaluation.evaluate import Evaluation, compare, evaluate
from deepspeech.evaluation.metrics import char_errors, word_errors
from tests.conftest import write_rows


def loader_of(manifest, labels, batch_size=5, **options):
    corpus = load_corpus(manifest, labels, allow_empty=True)
    sampler = BucketingSampler(corpus.durations, batch_size, shuffle=False)
    return AudioDataLoader(SpectrogramDataset(corpus, labels), sampler, **options)


def test_results_are_in_the_order_of_the_manifest(corpus, model, labels):
    loader = loader_of(corpus.train, labels)
    evaluation = evaluate(model.train(), loader, GreedyDecoder(labels))
    utterances = loader.dataset.corpus
    assert [each.audio_path for each in evaluation.results] == [each.audio_path for each in utterances]
    references = [loader.dataset.reference(index) for index in range(12)]
    assert [each.reference for each in evaluation.results] == references
    assert not model.training


def test_results_do_not_depend_on_the_batch_size(corpus, model, labels):
    loaders = [loader_of(corpus.train, labels, size) for size in (1, 12)]
    one, other = (evaluate(model, loader, GreedyDecoder(labels)) for loader in loaders)
    assert one.results == other.results
    assert one.loss == pytest.approx(other.loss, rel=1e-5)


def test_the_loss_is_the_mean_over_single_utterances(corpus, model, labels):
    loader, losses = loader_of(corpus.val, labels), []
    with torch.inference_mode():
        for index in range(len(loader.dataset)):
            sample = loader.dataset[index]
            log_probs, _ = model(sample.features[None], torch.tensor([sample.features.shape[1]]))
            sizes = (log_probs.shape[1],), (len(sample.target),)
            loss = torch.nn.functional.ctc_loss(log_probs[0], sample.target, *sizes, reduction="sum")
            losses.append(loss.item())
    loss = evaluate(model, loader, GreedyDecoder(labels)).loss
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_confidences_and_log_probs_are_those_of_single_utterances(corpus, model, labels):
    loader, decoder = loader_of(corpus.train, labels), GreedyDecoder(labels)
    evaluation = evaluate(model, loader, decoder, with_confidences=True, with_log_probs=True)
    for index, result in enumerate(evaluation.results):
        features = loader.dataset[index].features
        with torch.inference_mode():
            log_probs, lengths = model(features[None], torch.tensor([features.shape[1]]))
        (best,) = decoder.decode(log_probs, lengths)[0]
        assert result.confidences == pytest.approx(confidences(best, log_probs[0], labels), abs=1e-4)
        assert len(result.confidences) == len(result.hypothesis.split())
        assert result.log_probs == pytest.approx(log_probs[0].half().numpy(), abs=0.02)


def test_totals_are_sums_of_counts(labels):
    pairs = [("ONE TWO", "ONE"), ("", "A B"), ("THREE", "THREE")]
    evaluation = Evaluation([compare(f"{index}.wav", *pair) for index, pair in enumerate(pairs)], 0.0)
    assert evaluation.words == word_errors("ONE TWO THREE", "ONE THREE") + word_errors("", "A B")
    assert evaluation.words.rate == 3 / 3
    assert evaluation.characters == char_errors("ONETWOTHREE", "ONETHREE") + char_errors("", "AB")
    assert evaluation.characters_and_spaces.length == len("ONE TWO") + len("THREE")


@pytest.mark.parametrize("empty", [["val_0.txt"], ["val_0.txt", "val_1.txt"]])
def test_empty_references_are_accepted(own_corpus, model, labels, empty):
    for name in empty:
        (own_corpus.folder / name).write_text("\n")
    evaluation = evaluate(model, loader_of(own_corpus.val, labels), GreedyDecoder(labels))
    assert len(evaluation.results) == 2
    assert [each.words.length == 0 for each in evaluation.results].count(True) == len(empty)
    assert math.isnan(evaluation.words.rate) == (len(empty) == 2)


def test_unreadable_utterances_are_counted(own_corpus, model, labels):
    write_rows(own_corpus.val, [("val_0.wav", "val_0.txt", 1), ("val_1.flac", "val_1.txt", 1)])
    (own_corpus.folder / "val_0.wav").write_bytes(b"")
    loader = loader_of(own_corpus.val, labels, batch_size=1, skip_faulty=True)
    evaluation = evaluate(model, loader, GreedyDecoder(labels))
    assert len(evaluation.results) == 1
    assert [str(own_corpus.folder / "val_0.wav") in fault for fault in evaluation.faults] == [True]


def test_results_are_written_as_csv(tmp_path):
    results = [compare("a, b.wav", "ONE TWO", "ONE TOO"), compare("c.wav", "Ä", "")]
    Evaluation(results, 0.0).write_csv(tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["audio"], first["reference"], first["hypothesis"]) == ("a, b.wav", "ONE TWO", "ONE TOO")
    assert [first[name] for name in ("words", "word_sub", "word_del", "word_ins")] == ["2", "1", "0", "0"]
    assert [second[name] for name in ("characters", "character_sub", "character_del")] == ["1", "0", "1"]


def test_evaluation_can_be_stopped(corpus, model, labels):
    answers, loader = iter([False, True]), loader_of(corpus.train, labels, 1)
    evaluation = evaluate(model, loader, GreedyDecoder(labels), stop=lambda: next(answers))
    assert len(evaluation.results) == 1
