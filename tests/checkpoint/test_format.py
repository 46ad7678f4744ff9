"""Checkpoints: saved and loaded unchanged; anything else is refused."""

import io
import pickle

import pytest
import torch

from deepspeech import load_model
from deepspeech.checkpoint.format import checkpoint_name, load_checkpoint, save_checkpoint
from deepspeech.errors import InputError
from tests.conftest import checkpoints, tiny_model


@pytest.mark.parametrize("options", [{}, {"rnn_type": "gru", "bidirectional": False, "lookahead_context": 7}])
def test_a_model_is_loaded_as_it_was_saved(tmp_path, labels, options):
    model = tiny_model(labels, **options)
    save_checkpoint(tmp_path / "new folder" / "m.pth", model)
    again = load_model(tmp_path / "new folder" / "m.pth")
    assert again.config == model.config
    assert not again.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_file_is_plain_data(tmp_path, model):
    save_checkpoint(tmp_path / "m.pth", model, {"progress": {"epoch": 3}})
    content = torch.load(tmp_path / "m.pth", weights_only=True)
    assert set(content) == {"format", "config", "state_dict", "training"}
    assert content["format"] == 1
    assert content["config"]["features"]["sample_rate"] == 16000
    assert load_checkpoint(tmp_path / "m.pth").training == {"progress": {"epoch": 3}}


def contents(model, **changes):
    data = io.BytesIO()
    plain = {
        "format": 1,
        "config": model.config.to_dict(),
        "state_dict": model.state_dict(),
        "training": None,
    }
    torch.save(plain | changes, data)
    return data.getvalue()


class Harmful:
    def __reduce__(self):
        return print, ("this must never run",)


def refusals(model):
    whole, config, weights = contents(model), model.config.to_dict(), model.state_dict()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    pickled = io.BytesIO()
    torch.save({"format": Harmful()}, pickled)
    return {
        "empty": b"",
        "text": b"no checkpoint",
        "zip": b"PK\x03\x04" + bytes(100),
        "half": whole[: len(whole) // 2],
        "flipped": bytes(flipped),
        "harmful": pickled.getvalue(),
        "pickle": pickle.dumps({"format": 1}),
        "format": contents(model, format=99),
        "config": contents(model, config={"hidden_size": 3}),
        "type": contents(model, config=config | {"hidden_size": "wide"}),
        "fraction": contents(model, config=config | {"hidden_size": 2.5}),
        "labels": contents(model, config=config | {"labels": []}),
        "wider": contents(model, config=config | {"hidden_size": 13}),
        "missing": contents(model, state_dict=dict(list(weights.items())[:-1])),
        "more": contents(model, state_dict=weights | {"more": torch.zeros(1)}),
        "number": contents(model, state_dict=5),
        "nothing": contents(model, state_dict=None),
    }


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_are_not_models_are_refused_in_one_line(tmp_path, model, capsys):
    for kind, content in refusals(model).items():
        path = tmp_path / f"{kind}.pth"
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            load_model(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
    assert "never run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["missing.pth", "."])
def test_missing_files_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="no such model file; correct the path"):
        load_model(tmp_path / name)


def test_checkpoints_are_ordered_by_position_not_by_name_or_time(tmp_path):
    names = [
        checkpoint_name(2),
        checkpoint_name(10, 4),
        checkpoint_name(2, 30),
        checkpoint_name(10),
        checkpoint_name(2, 4),
    ]
    for name in [*names, "deepspeech_final.pth", "deepspeech_checkpoint_epoch_3.pth.part"]:
        (tmp_path / name).touch()
    assert [path.name for path in checkpoints(tmp_path)] == [names[index] for index in (4, 2, 0, 1, 3)]
