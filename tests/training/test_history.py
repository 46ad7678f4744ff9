"""The table, the figure and TensorBoard events of a training run."""

import csv
import io
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.image
import pytest
import torch

from deepspeech.errors import InputError
from deepspeech.evaluation.evaluate import compare
from deepspeech.training.history import EpochRow, TensorBoard, samples, write_history

ROW = EpochRow(1, 52.5, 48.25, 0.875, 0.5, 3e-4, 61.0, 1830.0, 0.02, 0, 0, 0)
PNG = b"\x89PNG\r\n\x1a\n"


def test_the_table_and_figure_are_written_after_every_epoch(tmp_path):
    history = []
    for epoch in (1, 2, 3):
        history.append(replace(ROW, epoch=epoch, wer=1 / epoch))
        write_history(tmp_path / "new", "A run", history)
        with open(tmp_path / "new" / "metrics.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["epoch"]) for row in rows] == list(range(1, epoch + 1))
        assert float(rows[-1]["wer"]) == 1 / epoch
        assert float(rows[-1]["train_loss"]) == 52.5
        assert (tmp_path / "new" / "curves.png").read_bytes().startswith(PNG)


def test_losses_that_are_not_finite_can_be_plotted(tmp_path):
    row = replace(ROW, train_loss=float("nan"), val_loss=float("inf"))
    write_history(tmp_path, "", [row])
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)


def test_the_summary_line():
    assert str(ROW) == (
        "epoch 1: train loss 52.50, val loss 48.25, WER 87.50 %, CER 50.00 %, lr 3.00e-04, "
        "61 s, 30 audio-s/s, data wait 2.0 %"
    )
    troubled = str(replace(ROW, skipped_steps=1, too_short=2, unreadable=3))
    assert troubled.endswith(", 1 steps skipped, 2 too short for their transcript, 3 unreadable")


def test_tensorboard_has_every_epoch(tmp_path, model):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(str(tmp_path), "run", log_params=True)
    for epoch in (1, 2):
        board.add(replace(ROW, epoch=epoch, wer=1 / epoch), model)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("run/wer")] == [(1, 1.0), (2, 0.5)]
    assert set(events.Tags()["histograms"]) == {name for name, _ in model.named_parameters()}


def test_samples_are_spread_over_the_validation_set():
    results = [compare("a.wav", "A", name) for name in "ABCDEFG"]
    assert [each.hypothesis for each in samples(results)] == ["A", "D", "G"]
    assert [each.hypothesis for each in samples(results[:2])] == ["A", "B"]
    assert samples([]) == []


def test_tensorboard_shows_samples_and_a_spectrogram(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(str(tmp_path), "run", log_params=False)
    features = torch.zeros(3, 7)
    features[0, 2] = 1.0
    board.add_spectrogram([SimpleNamespace(features=features)])
    board.add_spectrogram([])  # no validation data: no picture
    board.add(ROW, None, [compare("a.wav", "THE SEA", "THE C")])
    events = EventAccumulator(str(tmp_path)).Reload()
    (text,) = events.Tensors("run/sample 1/text_summary")
    assert text.tensor_proto.string_val[0].decode().split("\n") == ["    THE SEA", "    THE C"]
    (image,) = events.Images("run/spectrogram")
    pixels = matplotlib.image.imread(io.BytesIO(image.encoded_image_string))
    assert pixels.shape[:2] == (3, 7)
    place = pixels.sum(axis=2).argmax()
    assert divmod(int(place), 7) == (2, 2), "the lowest bin is the bottom row"


def test_a_file_in_place_of_the_tensorboard_folder_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--log-dir .*file: cannot write"):
        TensorBoard(str(tmp_path / "file"), "run", log_params=False)


@pytest.mark.filterwarnings("error")
def test_tensorboard_on_a_full_disk_is_an_error(tmp_path, model, disk_full_at):
    board = TensorBoard(str(tmp_path), "run", log_params=True)
    with disk_full_at(200), pytest.raises(InputError) as caught:
        board.add(ROW, model)
    assert str(caught.value).startswith(f"--log-dir {tmp_path}: cannot write: File too large; ")
