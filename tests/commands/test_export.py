"""deepspeech export; its files are tested with `deepspeech.export` and `checkpoint.deepspeech_pytorch`."""

import pytest
from huggingface_hub import ModelCard

from deepspeech.checkpoint.format import load_checkpoint, save_checkpoint
from deepspeech.commands import test, train, transcribe
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
    shown = capsys.readouterr()
    assert shown.err.startswith(f"{tmp_path}/m.onnx: an ONNX model for whole utterances, ")
    assert not shown.out, "the file is the result"


def test_8_bit_weights_and_what_they_cost(tmp_path, model, own_corpus, capsys):
    save_checkpoint(tmp_path / "m.pth", model)
    main([str(tmp_path / "m.pth"), "--int8", "--manifest", str(own_corpus.val)])
    shown = capsys.readouterr()
    torch_rates, onnx_rates = shown.out.splitlines()
    assert "of its float weights" in shown.err
    assert torch_rates.startswith("torch: WER ")
    assert onnx_rates.startswith(f"{tmp_path}/m.onnx: WER ")
    assert onnx_rates.endswith("times real time")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--to", "v2", "--int8"], "--int8: has no effect with --to v2"),
        (
            ["--to", "huggingface", "--manifest", "a.csv"],
            "--manifest a.csv: has no effect with --to huggingface",
        ),
        (["--features-outside", "--manifest", "a.csv"], "--manifest a.csv: needs waveforms"),
    ],
)
def test_flags_that_do_not_fit(tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        main([str(tmp_path / "m.pth"), *flags])


def test_features_outside_needs_onnx(tmp_path):
    with pytest.raises(InputError, match="--features-outside: has no effect with --to v2"):
        main([str(tmp_path / "m.pth"), "--to", "v2", "--features-outside"])


def test_a_folder_for_the_hub_knows_how_it_was_trained(tmp_path, own_corpus, capsys):
    flags = "--hidden-size 8 --hidden-layers 1 --epochs 2 --num-workers 0 --no-cuda --batch-size 2".split()
    train.main([*own_corpus.flags(), *flags, "--save-folder", str(tmp_path / "run")])
    checkpoint, folder = tmp_path / "run" / "deepspeech_last.pth", tmp_path / "orders"
    main([str(checkpoint), str(folder), "--to", "huggingface", "--results", "my test=9.5"])
    state = load_checkpoint(checkpoint).training
    card = ModelCard.load(folder / "README.md")
    results = {(each.dataset_name, each.metric_type): each.metric_value for each in card.data.eval_results}
    assert results == {
        ("validation data", "wer"): pytest.approx(100 * state["selection"]["wer"], abs=0.01),
        ("validation data", "cer"): pytest.approx(100 * state["selection"]["cer"], abs=0.01),
        ("my test", "wer"): 9.5,
    }
    hours = state["history"][-1]["audio_seconds"] / 3600
    assert f"2 epochs of {hours:.2g} hours" in card.text
    capsys.readouterr()
    said = []
    for model in (checkpoint, folder):
        test.main(["--model-path", str(model), "--test-manifest", str(own_corpus.val), "--num-workers", "0"])
        transcribe.main(
            ["--model-path", str(model), "--format", "text", str(own_corpus.folder / "val_0.wav")]
        )
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    more = [*flags[4:], "--finetune", "--continue-from", str(folder)]
    assert train.main([*own_corpus.flags(), *more, "--save-folder", str(tmp_path / "more")]) == 0


def test_a_folder_that_is_not_empty_is_kept(tmp_path, model):
    save_checkpoint(tmp_path / "m.pth", model)
    with pytest.raises(InputError, match=f"{tmp_path}: exists; choose another folder"):
        main([str(tmp_path / "m.pth"), str(tmp_path), "--to", "huggingface"])
    main([str(tmp_path / "m.pth"), "--to", "huggingface"])
    assert (tmp_path / "m" / "model.safetensors").is_file()


def test_a_model_card_needs_the_hub(tmp_path):
    with pytest.raises(InputError, match="a model card: has no effect with --to onnx; leave its flags out"):
        main([str(tmp_path / "m.pth"), "--license", "mit"])
