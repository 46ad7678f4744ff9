"""Every corpus script, on a miniature archive of the real layout and a server that breaks once."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data import an4, common_voice, librispeech, ted, voxforge
from deepspeech.corpora.prepare import CorpusConfig, Recording, normalise, prepare, read_lines
from deepspeech.data.manifest import read_manifest, read_transcript
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from tests.corpora.archive_server import Server, serve, tar

RATE = 16000
LABELS = str(Path(__file__).parents[2] / "labels.json")


@pytest.fixture
def server():
    with serve() as server:
        yield server


def tone(seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """16-bit noise that depends on the seed."""
    return np.random.default_rng(seed).integers(-9000, 9000, round(seconds * rate), dtype=np.int16)


def coded(samples: np.ndarray, format: str, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=None if format == "MP3" else "PCM_16")
    return buffer.getvalue()


def snapshot(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Time and content of every file; manifests may be written again with the same content."""
    return {
        path: (0 if path.suffix == ".csv" else path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def run_twice(main, folder: Path, server: Server, *flags: str) -> dict[str, list]:
    """Prepare; again, which must not fetch or write anything; return the manifests by split."""
    target = ["--target-dir", f"{folder}/x_dataset", "--manifest-dir", str(folder)]
    arguments = [*target, "--labels-path", LABELS, *flags]
    main(arguments)
    assert any(byte_range for _, byte_range in server.requests), "the broken download was not resumed"
    before, requests = snapshot(folder), len(server.requests)
    main(arguments)
    assert len(server.requests) == requests
    assert snapshot(folder) == before
    assert not [path for path in before if path.suffix == ".part"]
    manifests = {}
    for path in sorted(folder.glob("*_manifest.csv")):
        rows, faults = read_manifest(path)
        assert not faults
        assert all(
            row.duration == pytest.approx(soundfile.info(row.audio_path).duration, abs=1e-3) for row in rows
        )
        assert [row.duration for row in rows] == sorted(row.duration for row in rows)
        manifests[path.name.removesuffix("_manifest.csv")] = rows
    return manifests


def samples(row) -> np.ndarray:
    return soundfile.read(row.audio_path, dtype="int16")[0]


def texts(rows) -> set[str]:
    return {read_transcript(row.transcript_path) for row in rows}


@pytest.mark.parametrize("kind", ["raw", "sph"])
def test_an4(tmp_path, server, kind):
    files, waves = {}, {}
    for part, folder, count in (("train", "an4_clstk", 8), ("test", "an4test_clstk", 2)):
        names, lines = [], []
        for index in range(count):
            speaker = f"speak{part}{index // 2}"
            name = f"an{index}-{speaker}-b"
            waves[name] = tone(1.5 + index / 10, index + 100 * (part == "test"))
            sound = waves[name].astype(">i2").tobytes() if kind == "raw" else coded(waves[name], "NIST")
            files[f"an4/wav/{folder}/{speaker}/{name}.{kind}"] = sound
            names.append(f"{folder}/{speaker}/{name}")
            lines.append(
                f"<s> GO {'ONE' if index else 'TWO'} </s> ({name})" if part == "train" else f"YES ({name})"
            )
        files[f"an4/etc/an4_{part}.fileids"] = "\n".join(names) + "\n"
        files[f"an4/etc/an4_{part}.transcription"] = "\n".join(lines) + "\n"
    server.files["an4.tar.gz"] = tar(files)
    found = run_twice(an4.main, tmp_path, server, "--url", server.url("an4.tar.gz"), "--val-fraction", "0.25")
    assert {name: len(rows) for name, rows in found.items()} == {"an4_train": 6, "an4_val": 2, "an4_test": 2}
    assert texts(found["an4_train"] + found["an4_val"]) == {"GO ONE", "GO TWO"}
    assert texts(found["an4_test"]) == {"YES"}
    for row in found["an4_train"] + found["an4_val"] + found["an4_test"]:
        assert np.array_equal(samples(row), waves[Path(row.audio_path).stem])
    speakers = [
        {Path(row.audio_path).parent.name for row in found[f"an4_{part}"]} for part in ("train", "val")
    ]
    assert not set.intersection(*speakers)


def test_librispeech(tmp_path, server, capsys):
    for subset, count in (("train-clean-100", 6), ("dev-clean", 2), ("test-other", 2)):
        files, lines = {}, []
        for index in range(count):
            name = f"84-121123-{index:04d}"
            seconds = (0.5, 1.2, 16.0, 1.4, 1.5, 1.6)[index]
            files[f"LibriSpeech/{subset}/84/121123/{name}.flac"] = coded(tone(seconds, index), "FLAC")
            lines.append(f"{name} GO DO YOU HEAR" if index != 4 else f"{name} CAFÉ")
        files[f"LibriSpeech/{subset}/84/121123/84-121123.trans.txt"] = "\n".join(lines) + "\n"
        server.files[f"{subset}.tar.gz"] = tar(files)
    found = run_twice(
        librispeech.main,
        tmp_path,
        server,
        "--url",
        server.url(""),
        "--subsets",
        "train-clean-100",
        "dev-clean",
        "test-other",
        "--remove-archives",
    )
    assert {name: len(rows) for name, rows in found.items()} == {
        "libri_train": 3,  # one too short, one too long, one with a letter the labels lack
        "libri_val": 2,  # no pruning by duration here
        "libri_test_other": 2,
    }
    printed = capsys.readouterr().err
    assert "1 of 10 utterances are left out: they have characters that are not in the labels" in printed
    assert "'CAFÉ'" in printed
    assert "shorter than 1 s" in printed
    assert "longer than 15 s" in printed
    assert not list((tmp_path / "x_dataset" / "archives").iterdir())


@pytest.mark.parametrize("release", [2, 3])
def test_ted(tmp_path, server, release):
    root = {2: "TEDLIUM_release2", 3: "TEDLIUM_release-3"}[release]
    folders = {2: ("train", "dev", "test"), 3: ("data", "legacy/dev", "legacy/test")}[release]
    talk, files = tone(30, 1), {}
    segments = [(index * 3, index * 3 + 2 + index / 10) for index in range(6)]
    for folder, count in zip(folders, (6, 2, 2), strict=True):
        name = f"Talk_{folder[-3:]}"
        text = "it 's a {NOISE} talk(2) <unk> of mine"
        lines = [
            f"{name} 1 {name} {start:.2f} {end:.2f} <o,f0,male> {text}" for start, end in segments[:count]
        ]
        lines.insert(0, f"{name} 1 inter_segment_gap 0 1.5 <o,,> ignore_time_segment_in_scoring")
        files[f"{root}/{folder}/stm/{name}.stm"] = "\n".join(lines) + "\n"
        files[f"{root}/{folder}/sph/{name}.sph"] = coded(talk, "NIST")
    server.files["ted.tgz"] = tar(files)
    found = run_twice(ted.main, tmp_path, server, "--url", server.url("ted.tgz"))
    assert {name: len(rows) for name, rows in found.items()} == {"ted_train": 6, "ted_val": 2, "ted_test": 2}
    assert texts(found["ted_train"]) == {"IT'S A TALK OF MINE"}
    for row, (start, end) in zip(found["ted_train"], segments, strict=True):
        assert np.array_equal(samples(row), talk[start * RATE : round(end * RATE)])


def test_voxforge(tmp_path, server):
    speakers = ("anna", "anna", "bert", "carl", "dora")
    names = [f"{speaker}-20080318-k{index}" for index, speaker in enumerate(speakers)]
    for number, name in enumerate(names):
        ending = ("wav", "flac")[number % 2]
        files, prompts = {}, ""
        for index, word in enumerate(("so", "0")):
            files[f"{name}/{ending}/a000{index}.{ending}"] = coded(tone(2 + index, number), ending.upper())
            prompts += f"{name}/mfc/a000{index} Well, it is {word}.\n"
        files[f"{name}/etc/PROMPTS"] = prompts
        server.files[f"16kHz_16bit/{name}.tgz"] = tar(files)
    links = "".join(f'<a href="{name}.tgz">{name}.tgz</a>\n' for name in names)
    server.files["16kHz_16bit/"] = f"<html><a href='/'>up</a>{links}</html>".encode()
    found = run_twice(
        voxforge.main, tmp_path, server, "--url", server.url("16kHz_16bit/"), "--val-fraction", "0.4"
    )
    everything = found["voxforge_train"] + found["voxforge_val"]
    assert len(everything) == 5  # "it is 0" cannot be spelled, the others can
    assert texts(everything) == {"WELL IT IS SO"}
    speakers = [
        {Path(row.transcript_path).parent.name.split("-")[0] for row in found[f"voxforge_{part}"]}
        for part in ("train", "val")
    ]
    assert not set.intersection(*speakers)


def test_common_voice(tmp_path, server):
    root, files = "cv-corpus-5.1-2020-06-22/en", {}
    columns = ["client_id", "path", "sentence", "up_votes", "down_votes"]
    columns += ["age", "gender", "accent", "locale", "segment"]
    for part, count in (("train", 6), ("dev", 2), ("test", 2)):
        lines = ["\t".join(columns)]
        for index in range(count):
            clip = f"common_voice_en_{part}{index}.mp3"
            files[f"{root}/clips/{clip}"] = coded(tone(2 + index / 5, index, 48000), "MP3", 48000)
            sentence = "“It’s” well-known, isn't it?" if index else '"Yes!'
            lines.append("\t".join([f"{index:0128x}", clip, sentence, "2", "0", "", "", "", "en", ""]))
        files[f"{root}/{part}.tsv"] = "\n".join(lines) + "\n"
    server.files["cv.tar.gz"] = tar(files)
    found = run_twice(common_voice.main, tmp_path, server, "--url", server.url("cv.tar.gz"))
    assert {name: len(rows) for name, rows in found.items()} == {
        "common_voice_train": 6,
        "common_voice_val": 2,
        "common_voice_test": 2,
    }
    assert texts(found["common_voice_train"]) == {"IT'S WELL KNOWN ISN'T IT", "YES"}
    info = soundfile.info(found["common_voice_train"][0].audio_path)
    assert (info.samplerate, info.channels, info.format) == (RATE, 1, "FLAC")
    with pytest.raises(InputError, match="pass --archive or --url"):
        common_voice.main(["--target-dir", f"{tmp_path}/other"])


def test_a_local_archive_needs_no_network(tmp_path, capsys):
    archive = tmp_path / "an4_raw.bigendian.tar.gz"
    sound = tone(1.2, 3).astype(">i2").tobytes()
    files = {}
    for part in ("train", "test"):
        files[f"an4/etc/an4_{part}.fileids"] = f"an4_clstk/me/{part}\n"
        files[f"an4/etc/an4_{part}.transcription"] = f"<s> HI </s> ({part})\n"
        files[f"an4/wav/an4_clstk/me/{part}.raw"] = sound
    archive.write_bytes(tar(files))
    flags = ["--target-dir", f"{tmp_path}/a", "--manifest-dir", str(tmp_path), "--labels-path", LABELS]
    an4.main([*flags, "--tar-path", str(archive), "--val-fraction", "0"])
    assert len(read_manifest(tmp_path / "an4_train_manifest.csv")[0]) == 1
    assert "an4_test_manifest.csv: 1 utterances" in capsys.readouterr().err
    assert archive.exists()


def test_another_layout_is_reported(tmp_path):
    (tmp_path / "other.tar.gz").write_bytes(tar({"readme": "no AN4"}))
    with pytest.raises(InputError, match="is the archive that of AN4"):
        an4.main(
            [
                "--target-dir",
                f"{tmp_path}/a",
                "--archive",
                f"{tmp_path}/other.tar.gz",
                "--labels-path",
                LABELS,
            ]
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it’s “done” — really…", "IT'S DONE REALLY"),
        ("re-do_it", "RE DO IT"),
        ("cafe\N{COMBINING ACUTE ACCENT}", None),
        ("route 66", None),
        ("50%", None),
        (" \t", ""),
    ],
)
def test_texts_are_spelled_with_the_labels_or_refused(text, expected):
    assert normalise(text, Labels.load(LABELS)) == expected


def test_texts_take_the_case_of_the_labels():
    assert normalise("Äpfel, 2", Labels(["_", *"äpfel2 "])) == "äpfel 2"


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c", "\x0b", "\x1c"])
def test_only_line_feeds_end_a_line(tmp_path, separator):
    path = tmp_path / "a.txt"
    path.write_bytes(f"one{separator}line\r\ntwo\n\n".encode())
    assert read_lines(path, "a corpus") == [f"one{separator}line", "two"]


def test_the_case_of_languages():
    turkish = Labels([*"_abcçdefgğhıijklmnoöprsştuüvyz "])
    assert normalise("ISPARTA İzmir", turkish) == "ısparta izmir"
    assert normalise("ısparta izmir", Labels([*"_ABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ "])) == "ISPARTA İZMİR"
    assert normalise("Straße", Labels([*"_ABCDEFGHIJKLMNOPQRSTUVWXYZß "])) == "STRAßE"
    assert normalise("Straße", Labels([*"_ABCDEFGHIJKLMNOPQRSTUVWXYZ "])) == "STRASSE"


@pytest.mark.parametrize(("start", "end"), [(0.5, 1.5), (1.2, 1.4), (0.8, 0.2), (-1.0, 0.5)])
def test_segments_outside_their_recording_are_left_out(tmp_path, start, end):
    soundfile.write(tmp_path / "a.wav", tone(1.0, 0), RATE)
    segment = Recording("train", "s", "n", tmp_path / "a.wav", "TEXT", start, end)
    whole = Recording("train", "s", "m", tmp_path / "a.wav", "TEXT", 0.0, 1.0)
    config = CorpusConfig(target_dir=str(tmp_path / "target"), labels_path=LABELS)
    assert len(prepare(config, [segment, whole])["train"]) == 1


@pytest.mark.parametrize("table", ["path\tsentence\na.mp3\tHELLO\n", "client_id\tpath\tsentence\nx\ty\n"])
def test_a_cut_or_foreign_table_is_one_line(tmp_path, table):
    (tmp_path / "train.tsv").write_text(table)
    with pytest.raises(InputError, match=r"train\.tsv:2: no path, client_id and sentence"):
        list(common_voice.recordings(tmp_path))


def test_a_contribution_in_latin_1_is_read(tmp_path):
    (tmp_path / "x" / "etc").mkdir(parents=True)
    (tmp_path / "x" / "etc" / "PROMPTS").write_bytes("a/mfc/b001 CAFÉ\n".encode("latin-1"))
    assert [each.text for each in voxforge.recordings(tmp_path)] == ["CAFÉ"]
