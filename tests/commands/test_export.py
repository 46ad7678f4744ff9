"""deepspeech export; its files are tested with `deepspeech.export` and `checkpoint.deepspeech_pytorch`."""

import pytest

from deepspeech.checkpoint.format import load_checkpoint, save_checkpoint
from deepspeech.commands.export import main
from deepspeech.errors import InputError


@pytest.mark.parametrize("target", ["onnx", "v2"])
def test_the_model_itself_is_never_overwritten(tmp_path, model, target):
    save_checkpoint(tmp_path / "m.pth", model)
    with pytest.raises(InputError, match="would overwrite the model itself"):
        main([str(tmp_path / "m.pth"), f"{tmp_path}/./m.pth", "--to", target])
    assert load_checkpoint(tmp_path / "m.pth").config == model.config


def test_onnx_goes_next_to_the_model(tmp_path, model, capsys):
    save_checkpoint(tmp_path / "m.pth", model)
    main([str(tmp_path / "m.pth")])
    assert (tmp_path / "m.onnx").is_file()
    assert capsys.readouterr().out.startswith(f"{tmp_path}/m.onnx: an ONNX model for whole utterances, ")


def test_features_outside_needs_onnx(tmp_path):
    with pytest.raises(InputError, match="--features-outside: has no effect with --to v2"):
        main([str(tmp_path / "m.pth"), "--to", "v2", "--features-outside"])
