"""Model files: whole or not at all, back as they were, refused when they are none."""

import io
import pickle
import resource

import pytest
import torch

from deepspeech import load_model
from deepspeech.atomic_file import write_atomic
from deepspeech.checkpoint.format import checkpoint_name, load_checkpoint, save_checkpoint
from deepspeech.errors import InputError
from tests.conftest import checkpoints, tiny_model


@pytest.mark.parametrize("options", [{}, {"rnn_type": "gru", "bidirectional": False, "lookahead_context": 7}])
def test_a_model_comes_back_as_it_was(tmp_path, labels, options):
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
def test_what_is_no_model_is_refused_in_one_line(tmp_path, model, capsys):
    for kind, content in refusals(model).items():
        path = tmp_path / f"{kind}.pth"
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            load_model(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
    assert "never run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["missing.pth", "."])
def test_what_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="no such model file; correct the path"):
        load_model(tmp_path / name)


def test_names_are_ordered_by_position_not_by_letters_or_time(tmp_path):
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


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    for data in (b"first", b"second"):
        write_atomic(tmp_path / "m.pth", data)
        assert (tmp_path / "m.pth").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


@pytest.mark.parametrize("target", ["file/m.pth", "folder"])
def test_where_nothing_can_be_written_is_named(tmp_path, target):
    (tmp_path / "file").write_text("a file, no folder")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        write_atomic(tmp_path / target, b"data")
    assert str(caught.value).startswith(f"{tmp_path / target}: cannot write: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_no_space_left_keeps_the_file_that_was_there(tmp_path):
    """A limit on the size of files stands for a full disk."""
    (tmp_path / "m.pth").write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(InputError) as caught:
            write_atomic(tmp_path / "m.pth", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{tmp_path / 'm.pth'}: cannot write: File too large; make room" in str(caught.value)
    assert (tmp_path / "m.pth").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]
