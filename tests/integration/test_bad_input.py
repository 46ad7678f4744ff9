"""A user's mistakes: one clear line, status 2, nothing lost. The scripts run as users run them."""

import json
import re
import resource
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from deepspeech.checkpoint.format import load_checkpoint, save_checkpoint
from deepspeech.errors import InputError
from tests.conftest import checkpoints, load_script, make_corpus, run_script, tiny_model, write_rows

pytestmark = pytest.mark.xdist_group("test_bad_input")  # one process, so that fixtures run once

WHOLE = "train_0.wav", "train_0.txt"
TINY = [
    "--hidden-size", "8", "--hidden-layers", "1", "--no-cuda", "--precision", "fp32", "--num-workers", "0",
    "--epochs", "1", "--batch-size", "1",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command line, with @ for the folder of the files, and what it must say."""

    script: str
    arguments: str
    words: Sequence[str]
    status: int = 2
    options: dict = field(default_factory=dict)


def limit_file_size() -> None:
    """Stands for a full disk: a table and a figure still fit, a model does not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))


def train(manifest: str, *words: str, more: str = "", status: int = 2, **options) -> Case:
    """train.py on a manifest."""
    arguments = f"--train-manifest @/{manifest} --val-manifest @/val.csv --save-folder @/models {more}"
    return Case("train.py", arguments, words, status, options)


def row(name: str, words: str, **options) -> Case:
    """train.py on a manifest whose second row is wrong."""
    return train(f"{name}.csv", f"error: @/{name}.csv:2: {words}", **options)


MODEL = "@/models/deepspeech_final.pth"
CASES = {
    "missing manifest": train("gone.csv", "@/gone.csv: cannot read the manifest: No such file"),
    "unreadable manifest": train("folder", "@/folder: cannot read the manifest: Is a directory"),
    "one column": row("column", "expected audio,transcript[,seconds], got 'train_0.wav'"),
    "missing audio": row("no_audio", "@/gone.wav: no such audio file; correct the path"),
    "missing transcript": row("no_text", "@/gone.txt: cannot read the transcript: No such file"),
    "corrupt audio": row("corrupt", "@/corrupt.wav: not an audio file that can be read"),
    "truncated audio": row("cut", "@/cut.wav: truncated audio: 5000 of "),
    "empty audio": row("empty", "@/empty.wav: empty audio file; replace or remove it"),
    "audio broken later": train(
        "late.csv",
        "@/late.csv:2: @/cut.flac: damaged audio",
        "; saved @/models/deepspeech_checkpoint_epoch_1_iter_",
        "; resume with --continue-from @/models/deepspeech_checkpoint_epoch_1_iter_",
    ),
    "unknown characters": row(
        "cafe",
        "'CAFÉ' has characters that are not in the labels: 'É'; add them to the labels "
        "or pass --unknown-characters drop",
    ),
    "unknown characters dropped": train("cafe.csv", more="--unknown-characters drop", status=0),
    "empty transcript": row("silent", "@/silent.txt: empty transcript; training needs text"),
    "labels without blank": train(
        "train.csv",
        "@/no_blank.json: labels have no blank; add '_' as the first entry",
        more="--labels-path @/no_blank.json",
    ),
    "labels with duplicates": train(
        "train.csv",
        "@/twice.json: labels hold 'A' more than once; keep one",
        more="--labels-path @/twice.json",
    ),
    "no checkpoint": train("train.csv", "@/cafe.txt: not a", more="--continue-from @/cafe.txt"),
    "other architecture": train(
        "train.csv", f"--hidden-size 8: {MODEL} has 12; leave the flag out", more=f"--continue-from {MODEL}"
    ),
    "other labels": train(
        "train.csv",
        f"--labels-path @/other.json: {MODEL} has other labels",
        more=f"--hidden-size 12 --hidden-layers 2 --labels-path @/other.json --continue-from {MODEL}",
    ),
    "no space left": train(
        "train.csv",
        f"{MODEL}: cannot write: File too large; make room or choose another folder",
        preexec_fn=limit_file_size,
    ),
    "Mozilla's manifest in lower case": train(
        "mozilla.csv",
        "@/mozilla.csv:2: 'one' has characters that are not in the labels",
        "the labels have its upper-case form: deepspeech manifest convert --case upper",
    ),
    "a JSON list": train("list.json", "@/list.json: a JSON list; write one object a line"),
    "segment after the end": train(
        "after.jsonl", "error: @/after.jsonl:1: @/train_0.wav: no audio from 60 s to 61 s: it has "
    ),
    "Kaldi folder": train("kaldi", "deepspeech manifest convert @/kaldi FILE.jsonl"),
    "weight of nothing": train("train.csv:0", "@/train.csv:0: a weight must be positive"),
    "all faulty rows": train(
        "many.csv",
        "@/many.csv: 3 faulty rows; fix them or pass --skip-faulty:",
        "@/many.csv:1: expected",
        "@/many.csv:3: @/gone.wav: no such audio file",
        "@/many.csv:4: 'CAFÉ'",
    ),
    "faulty rows skipped": train(
        "many.csv", "@/many.csv: 3 faulty rows are left out, the first is", more="--skip-faulty", status=0
    ),
    "no CUDA to test": Case("test.py", f"--cuda --model-path {MODEL}", ["--cuda: no CUDA device can be"]),
    "no CUDA to transcribe": Case(
        "transcribe.py", f"--cuda --model-path {MODEL} @/train_0.wav", ["--cuda: no CUDA device can be"]
    ),
    "no model": Case("test.py", "--model-path @/cafe.txt", ["@/cafe.txt: not a"]),
    "empty references": Case(
        "test.py",
        f"--model-path {MODEL} --test-manifest @/all_silent.csv",
        ["@/all_silent.csv: no words in the references"],
        1,
    ),
    "missing file to transcribe": Case(
        "transcribe.py", f"--model-path {MODEL} @/gone.wav", ["@/gone.wav: no such audio file"], 1
    ),
    "no samples to transcribe": Case(
        "transcribe.py",
        f"--model-path {MODEL} @/no_samples.wav",
        ["error: @/no_samples.wav: audio has no samples; replace or remove it"],
        1,
    ),
}


def prepare(folder: Path, labels) -> Path:
    """A sound corpus and a model, and beside them whatever can be wrong."""
    corpus = make_corpus(folder, train=2, val=2)
    assert corpus.train == folder / "train.csv"
    (folder / "models").mkdir()
    save_checkpoint(folder / "models" / "deepspeech_final.pth", tiny_model(labels))
    (folder / "folder").mkdir()
    (folder / "corrupt.wav").write_bytes(b"no audio at all " * 99)
    (folder / "cut.wav").write_bytes((folder / "train_0.wav").read_bytes()[:5000])
    soundfile.write(folder / "cut.flac", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    (folder / "cut.flac").write_bytes((folder / "cut.flac").read_bytes()[:20000])
    (folder / "empty.wav").touch()
    soundfile.write(folder / "no_samples.wav", np.zeros(0), 16000)
    (folder / "silent.txt").write_text(" \n")
    (folder / "cafe.txt").write_text("CAFÉ", encoding="utf-8")
    write_rows(folder / "mozilla.csv", [("wav_filename", "transcript"), ("train_0.wav", "one")])
    (folder / "list.json").write_text('[{"audio_filepath": "train_0.wav", "text": "ONE"}]')
    row = {"audio_filepath": "train_0.wav", "text": "ONE", "offset": 60, "duration": 1}
    (folder / "after.jsonl").write_text(json.dumps(row))
    (folder / "kaldi").mkdir()
    (folder / "kaldi" / "wav.scp").touch()
    for name, alphabet in (("no_blank", '["A", "B"]'), ("twice", '["_", "A", "A"]'), ("other", '["_", "A"]')):
        (folder / f"{name}.json").write_text(alphabet)
    second = {
        "column": ("train_0.wav",),
        "no_audio": ("gone.wav", "train_0.txt"),
        "no_text": ("train_0.wav", "gone.txt"),
        "corrupt": ("corrupt.wav", "train_0.txt"),
        "cut": ("cut.wav", "train_0.txt"),
        "empty": ("empty.wav", "train_0.txt"),
        "late": ("cut.flac", "train_0.txt", 1),
        "cafe": ("train_0.wav", "cafe.txt"),
        "silent": ("train_0.wav", "silent.txt"),
    }
    for name, row in second.items():
        write_rows(folder / f"{name}.csv", [WHOLE, row])
    write_rows(folder / "many.csv", [second["column"], WHOLE, second["no_audio"], second["cafe"]])
    write_rows(folder / "all_silent.csv", [second["silent"]])
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, labels) -> dict:
    """The folder of every case and what came of it; two scripts run at a time."""

    def run(number_and_case):
        number, case = number_and_case
        folder = prepare(tmp_path_factory.getbasetemp() / f"bad_input_{number}" / "files", labels)
        arguments = case.arguments.replace("@", str(folder)).split()
        if case.script == "train.py":
            arguments = [*TINY, *arguments]
        return folder, run_script(case.script, *arguments, **case.options)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(CASES, pool.map(run, enumerate(CASES.values())), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_script_says_it_clearly(runs, name, labels):
    case, (folder, done) = CASES[name], runs[name]
    assert done.returncode == case.status, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
    message = "\n".join(line for line in lines if "|" not in line)  # without progress bars
    if case.status:
        message = re.sub(r"\A[\d,]+ weights on .*\n", "", message)  # training had started
        assert message.startswith(f"{case.script}: error: ")
        assert len(message.splitlines()) == (4 if name == "all faulty rows" else 1)
    else:
        message += done.stdout
    for words in case.words:
        assert words.replace("@", str(folder)) in message
    model = load_checkpoint(folder / "models" / "deepspeech_final.pth")  # it is whole, whatever happened
    trained = case.script == "train.py" and not case.status
    assert (model.training is not None) == trained


@pytest.mark.slow
def test_audio_broken_later_is_no_loss(runs):
    """Once the file is repaired, training resumes from the saved position."""
    folder, _ = runs["audio broken later"]
    (saved,) = checkpoints(folder / "models")
    soundfile.write(folder / "cut.flac", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    arguments = CASES["audio broken later"].arguments.replace("@", str(folder)).split()
    assert not load_script("train.py").main([*TINY, *arguments, "--continue-from", str(saved)])
    assert load_checkpoint(folder / "models" / "deepspeech_final.pth").training["history"]


@pytest.fixture
def files(tmp_path, labels) -> Path:
    return prepare(tmp_path / "files", labels)


def refusal(script: str, *arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        load_script(script).main([str(argument) for argument in arguments])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch-size", "0"], "--batch-size 0: must be positive"),
        (["--batch-size", "-4"], "--batch-size -4: must be positive"),
        (["--batch-size", "many"], "argument --batch-size: invalid int value: 'many'"),
        (["--lr", "0"], "--lr 0.0: must be positive"),
        (["--lr", "-0.001"], "--lr -0.001: must be positive"),
        (["--epochs", "-1"], "--epochs -1: must be positive"),
        (["--num-workers", "-1"], "--num-workers -1: must not be negative"),
        (["--hidden-size", "0"], "--hidden-size 0: must be positive"),
        (["--rnn-type", "lsmt"], "--rnn-type lsmt: must be one of lstm, gru, rnn"),
        (["--precision", "fp16"], "--precision fp16: the CPU computes in fp32 or bf16"),
        (["--window-stride", "0.00001"], "shorter than a sample"),
        (["--labels-path", "gone.json"], "gone.json: cannot read labels"),
        (["--labels-path", "."], ".: cannot read labels"),
        (["--val-manifest", "gone.csv"], "gone.csv: cannot read the manifest"),
        (["--continue-from", "gone.pth"], "gone.pth: no such model file"),
        (["--finetune"], "--finetune: has no effect without --continue-from"),
        (["--save-folder", "labels.json"], "--save-folder labels.json: cannot write there: File exists"),
        (["--save-folder", "labels.json/new"], "--save-folder labels.json/new: cannot write there"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["stray.csv"], "unrecognized arguments: stray.csv"),
    ],
)
def test_mistakes_on_the_command_line_of_training(files, arguments, words):
    sound = ["--train-manifest", files / "train.csv", "--val-manifest", files / "val.csv", *TINY]
    assert words in refusal("train.py", *sound, "--save-folder", files / "new", *arguments)


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("test.py", ["--model-path", "gone.pth"], "gone.pth: no such model file; correct the path"),
        ("test.py", ["--model-path", "."], ".: no such model file"),
        ("test.py", ["--test-manifest", "gone.csv"], "gone.csv: cannot read the manifest"),
        ("test.py", ["--half"], "--half: has no effect without --cuda"),
        ("test.py", ["--output", "labels.json/rows.csv"], "--output labels.json: cannot write there"),
        ("transcribe.py", [], "no audio file; give one or more"),
        ("transcribe.py", ["--model-path", "labels.json", "a.wav"], "labels.json: not a"),
        (
            "test.py",
            ["--beam-width", "99"],
            "--beam-width 99: greedy decoding has no use for it; pass --decoder",
        ),
        (
            "transcribe.py",
            ["--alpha", "2", "a.wav"],
            "--alpha 2.0: greedy decoding has no use for it; pass --",
        ),
    ],
)
def test_mistakes_on_the_command_line_of_inference(files, script, arguments, words):
    assert words in refusal(script, "--model-path", files / "models/deepspeech_final.pth", *arguments)


def test_a_folder_that_cannot_be_written_is_found_before_the_data_is_read(files):
    message = refusal("train.py", "--train-manifest", "gone.csv", "--save-folder", files / "cafe.txt")
    assert message.startswith(f"--save-folder {files / 'cafe.txt'}: cannot write there")


def test_a_window_that_contradicts_the_checkpoint_is_refused(files):
    model = files / "models" / "deepspeech_final.pth"
    for flags in (
        ["--rnn-type", "gru"],
        ["--no-bidirectional"],
        ["--sample-rate", "8000"],
        ["--window", "hann"],
    ):
        assert f"{model} has " in refusal(
            "train.py", "--continue-from", model, *flags, "--save-folder", files
        )


@pytest.mark.parametrize(
    ("name", "encoding", "newline"),
    [("plain.csv", "utf-8", "\n"), ("windows.csv", "utf-8-sig", "\r\n"), ("a, b.csv", "utf-8", "\n\n")],
)
def test_manifests_of_other_programs_train(files, name, encoding, newline):
    """Byte order mark, CRLF, blank lines, quoted paths with commas and letters outside ASCII."""
    shutil.copy(files / "train_0.wav", files / "ä, ö.wav")
    lines = ["train_0.wav,train_0.txt", '"ä, ö.wav","train_0.txt"', ""]
    (files / name).write_bytes(newline.join(lines).encode(encoding))
    arguments = [
        "--train-manifest",
        files / name,
        "--val-manifest",
        files / "val.csv",
        "--save-folder",
        files,
    ]
    assert not load_script("train.py").main([*TINY, *map(str, arguments)])


def test_every_transcript_empty_after_dropping_is_refused(files):
    (files / "train_0.txt").write_text("123")
    (files / "train_1.txt").write_text("?!")
    with pytest.raises(InputError, match="2 faulty rows") as caught:
        load_script("train.py").main(
            [*TINY, "--train-manifest", str(files / "train.csv"), "--unknown-characters", "drop",
             "--save-folder", str(files)]
        )  # fmt: skip
    assert str(caught.value).count("empty transcript") == 2


def test_an_utterance_too_short_for_its_transcript_does_not_end_training(files, capsys):
    (files / "train_0.txt").write_text("A" * 500)
    arguments = ["--train-manifest", files / "train.csv", "--val-manifest", files / "val.csv"]
    assert not load_script("train.py").main([*TINY, *map(str, arguments), "--save-folder", str(files)])
    shown = capsys.readouterr().err
    assert f"{files / 'train.csv'}:1: skipped: fewer output frames than CTC needs" in shown
    assert "1 too short for their transcript" in shown
    assert "nan" not in shown.lower()
