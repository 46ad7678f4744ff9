"""deepspeech export-v2; what it writes is tested with `deepspeech.checkpoint.deepspeech_pytorch`."""

import pytest

from deepspeech.checkpoint.format import load_checkpoint, save_checkpoint
from deepspeech.commands.export import main
from deepspeech.errors import InputError


def test_the_model_itself_is_never_overwritten(tmp_path, model):
    save_checkpoint(tmp_path / "m.pth", model)
    with pytest.raises(InputError, match="would overwrite the model itself"):
        main([str(tmp_path / "m.pth"), f"{tmp_path}/./m.pth"])
    assert load_checkpoint(tmp_path / "m.pth").config == model.config
