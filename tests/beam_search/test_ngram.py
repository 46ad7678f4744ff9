"""N-gram models: scores against KenLM and a plain reference, files against KenLM's."""

import base64
import gzip
import os
import struct
import subprocess
import sys
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepspeech.beam_search import ngram
from deepspeech.beam_search.kenlm_format import STATE, initial_state, layout, score
from deepspeech.beam_search.ngram import NGramModel
from deepspeech.errors import InputError
from tests.beam_search.models import WORDS_ARPA as ARPA

try:
    import kenlm
except ImportError:  # no wheels for every version of Python
    kenlm = None
needs_kenlm = pytest.mark.skipif(kenlm is None, reason="no kenlm")

# The same model, as KenLM's `build_binary probing` writes it
BINARY = zlib.decompress(
    base64.b85decode(
        "c-qU&O)OBz$yLZGDJihh*U!#KO-##7%}LQq&d=3P&QD2INXswEO)OC;OD!tS%+FIW<zhg9274f}pAks>2Lg}?BUFY7OdhaD7Gs"
        "0btPH4tjR80KdF(CQ@$a*|Sb*#e{q9bG71Y4`xpKaLtSx?!&4i}DpiXhGWm_rOPWFZ_|4Uq==FFJJ9soI>f#KMpSu<zuOG`_$h"
        "wvHf&z|ww2gE@7%-*wSdiDe9eK1X8=e<6!tI3i8>9I?=qq-nARRLKZ9Z0!&u74qVfC*&g<Ri<>1@HGy0ot{HP48_H=ESr$vt~-"
        "}w<*obwqvj<24a06;mF|V#Ng!Q$N&KB6J$O"
    )
)
VOCABULARY = ["A", "B", "Č", "long-word", "longer-words"]


def random_arpa(seed, order, unknown=True, pruned=False):
    """An ARPA file whose n-grams come from random sentences, as a dictionary and as text."""
    random = np.random.default_rng(seed)
    grams = {(word,) for word in ["<s>", "</s>", *VOCABULARY, *["<unk>"] * unknown]}
    for _ in range(8):
        sentence = ["<s>", *random.choice(VOCABULARY, random.integers(1, 8)).tolist(), "</s>"]
        for n in range(2, order + 1):
            grams |= {tuple(sentence[start : start + n]) for start in range(len(sentence) - n + 1)}
    if pruned:  # n-grams that only end others, and start none
        contexts = {gram[:-1] for gram in grams}
        grams = {
            gram for gram in grams if len(gram) in (1, order) or gram in contexts or random.random() < 0.5
        }
    model = {}
    for gram in sorted(grams, key=lambda gram: (len(gram), gram)):
        backoff = -round(random.random(), 4) if random.random() < 0.7 and gram != ("<unk>",) else 0
        model[gram] = (-round(3 * random.random(), 6), backoff if len(gram) < order else 0)
    lines = ["\\data\\", *(f"ngram {n}={sum(len(gram) == n for gram in model)}" for n in range(1, order + 1))]
    for n in range(1, order + 1):
        lines += ["", f"\\{n}-grams:"]
        for gram, (probability, backoff) in model.items():
            if len(gram) == n:
                lines.append(f"{probability}\t{' '.join(gram)}" + f"\t{backoff}" * (backoff != 0))
    return model, "\n".join([*lines, "", "\\end\\", ""])


def reference(model, words, bos=True, eos=True):
    """Score of a sentence by the definition of back-off."""
    known = [word if (word,) in model else "<unk>" for word in words]
    sentence = [*["<s>"] * bos, *known, *["</s>"] * eos]
    order = max(map(len, model))

    def probability(context, word):
        if (*context, word) in model:
            return model[*context, word][0]
        if not context:
            return -100.0  # no <unk>
        return model.get(context, (0, 0))[1] + probability(context[1:], word)

    return sum(
        probability(tuple(sentence[max(0, end - order + 1) : end]), sentence[end])
        for end in range(int(bos), len(sentence))
    )


def score_sentence(model, words, bos=True, eos=True):
    """Log10 probability of words, after `<s>` and with `</s>` by default."""
    state, after = np.zeros((2, STATE), np.uint32)
    if bos:
        initial_state(model.tables, state)
    total = 0.0
    for word in [*map(model.index, words), *[model.tables.sentence_end] * eos]:
        total += score(model.tables, state, np.uint32(word), after)
        state, after = after, state
    return total


def sentences(seed):
    random = np.random.default_rng(seed)
    return [
        random.choice([*VOCABULARY, "unknown", "<unk>"], random.integers(0, 10)).tolist() for _ in range(20)
    ]


def build_binary(arpa, path, kind=0, words=True):
    """What KenLM's program build_binary does, by the library that kenlm-ex installs."""
    library = Path(kenlm.__file__).with_name("libkenlm.so")
    source = f"""
import ctypes
library, config = ctypes.CDLL({str(library)!r}), ctypes.create_string_buffer(1024)
library._ZN2lm5ngram6ConfigC1Ev(config)
path = ctypes.create_string_buffer({str(path).encode()!r})
config[0] = 0  # no progress bar
ctypes.c_void_p.from_buffer(config, 96).value = ctypes.addressof(path)
config[108] = {int(words)}
library._ZN2lm5ngram11LoadVirtualEPKcRKNS0_6ConfigENS0_9ModelTypeE({str(arpa).encode()!r}, config, {kind})
"""
    subprocess.run([sys.executable, "-c", source], check=True, capture_output=True)
    return path


def write(folder, content, name="lm.arpa"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_scores_equal_the_definition(tmp_path_factory, seed, order, unknown, pruned):
    model, text = random_arpa(seed, order, unknown, pruned)
    ours = NGramModel.open(write(tmp_path_factory.mktemp("lm"), text))
    assert ours.order == order
    assert ours.words() == sorted(VOCABULARY)
    for words, bos, eos in product(sentences(seed), (True, False), (True, False)):
        expected = reference(model, words, bos, eos)
        assert score_sentence(ours, words, bos, eos) == pytest.approx(expected, abs=1e-5, rel=1e-6)


@needs_kenlm
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.booleans())
@settings(max_examples=20, deadline=None)
def test_scores_equal_kenlm(tmp_path_factory, seed, order, unknown):
    folder = tmp_path_factory.mktemp("lm")
    path = write(folder, random_arpa(seed, order, unknown)[1])
    ours = NGramModel.open(path)
    (folder / "lm.bin").write_bytes(ours.image)
    oracles = [kenlm.Model(str(path)), kenlm.Model(str(folder / "lm.bin"))]
    binary = NGramModel.open(folder / "lm.bin")
    for words, bos, eos in product(sentences(seed), (True, False), (True, False)):
        for oracle in oracles:
            expected = oracle.score(" ".join(words), bos, eos)
            assert score_sentence(ours, words, bos, eos) == pytest.approx(expected, abs=1e-5, rel=1e-6)
        assert score_sentence(binary, words, bos, eos) == score_sentence(ours, words, bos, eos)


@needs_kenlm
@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize(("unknown", "pruned"), [(True, False), (False, False), (True, True)])
def test_binaries_equal_kenlm_byte_for_byte(tmp_path, order, unknown, pruned):
    arpa = write(tmp_path, random_arpa(order, order, unknown, pruned)[1])
    theirs = build_binary(arpa, tmp_path / "theirs.bin")
    assert NGramModel.open(arpa).image.tobytes() == theirs.read_bytes()


def test_a_binary_of_kenlm_is_the_same_model(tmp_path):
    arpa, binary = NGramModel.open(write(tmp_path, ARPA)), NGramModel.open(write(tmp_path, BINARY, "lm.bin"))
    assert arpa.words() == binary.words() == ["A", "AB", "BBA"]
    for words in ([], ["A"], ["AB", "A"], ["BBA", "AB", "AB"], ["B", "A"]):
        assert score_sentence(arpa, words) == score_sentence(binary, words)
    for model in (arpa, binary):
        assert model.image.tobytes() == BINARY


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(ARPA.encode()),
        gzip.compress(ARPA[:90].encode()) + gzip.compress(ARPA[90:].encode()),
        ARPA.replace("\n", "\r\n").encode(),
        ARPA.replace("\t", " ").encode(),
        ARPA.replace("\t", " \t ").replace("\n", "\t\n").encode(),
        "\ufeff".encode() + ARPA.encode(),
        b"\n\n" + ARPA.encode(),
        b"made by a toolkit\non some day\n\n" + ARPA.encode(),
        ARPA.replace("1=6", "1 = 6").replace("\n-", "\n\n-").encode(),
        ARPA.removesuffix("\n").encode(),
        ARPA.replace("<unk>", "<UNK>").encode(),
        ARPA.replace("-0.5", "-5e-1").replace("-0.3", "-3.0E-1").replace("-99", "-.99e+2").encode(),
        ARPA.replace("-2.0\t<unk>", "-2.0\t<unk>\t0").replace("AB A\n", "AB A\t0.0\n").encode(),
    ],
    ids="gzip members crlf spaces mixed bom blank-start before blank-lines end UNK exponents zeros".split(),
)
def test_oddities_of_arpa_files(tmp_path, content):
    assert NGramModel.open(write(tmp_path, content)).image.tobytes() == BINARY


@given(st.lists(st.floats(-1e6, -1e-30), min_size=1), st.sampled_from(["{}", "{:g}", "{:.25f}", "{:.3e}"]))
@settings(deadline=None)
def test_numbers_are_read_as_python_reads_them(tmp_path_factory, numbers, form):
    texts = [form.format(number) for number in numbers]
    lines = [f"{text}\tw{index}" for index, text in enumerate(texts)]
    text = "\n".join(
        [f"\\data\\\nngram 1={len(lines) + 2}\n\n\\1-grams:\n-1 <s>\n-1 </s>", *lines, "\\end\\"]
    )
    model = NGramModel.open(write(tmp_path_factory.mktemp("lm"), text))
    for index, text in enumerate(texts):
        assert score_sentence(model, [f"w{index}"], False, False) == pytest.approx(float(text), rel=1e-7)


def test_a_no_break_space_is_part_of_a_word(tmp_path):
    model = NGramModel.open(write(tmp_path, ARPA.replace("AB", "A\u00a0B")))
    assert model.index("A\u00a0B") > 0
    assert model.index("AB") == 0


def test_states_that_make_no_difference_are_equal(tmp_path):
    model = NGramModel.open(write(tmp_path, ARPA.replace("\t-0.4", "")))
    state, after, expected = np.zeros((3, STATE), np.uint32)
    initial_state(model.tables, state)
    score(model.tables, state, np.uint32(model.index("</s>")), after)
    assert (after == expected).all()  # nothing starts with </s>
    score(model.tables, state, np.uint32(model.index("A")), after)
    score(model.tables, np.zeros(STATE, np.uint32), np.uint32(model.index("A")), expected)
    assert (after == expected).all()
    assert after[:2].tolist() == [1, model.index("A")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a language model"),
        (b"RIFF....WAVEfmt ", "not a language model"),
        (bytes(range(256)) * 9, "not a language model"),
        (ARPA.split("\\1-grams")[0], ":5: expected \\1-grams: after"),
        (ARPA[: ARPA.index("AB A")], ":15: expected a log10 probability, a word for each n"),
        (ARPA[: ARPA.index("-0.6\tAB A")], ":15: fewer n-grams than are counted at the top"),
        (ARPA.replace("\\end\\", ""), "expected \\end\\"),
        (ARPA.replace("2=5", "2=9"), ":20: fewer n-grams than are counted at the top"),
        (ARPA.replace("1=6", "1=5"), ":11: expected \\2-grams: after the n-grams that are counted"),
        (ARPA.replace("2=5", "2=99999999"), "'ngram 2=99999999' cannot be right"),
        (ARPA.replace("ngram 2", "ngram 3"), "'ngram 3=5' cannot be right"),
        (ARPA.replace("ngram", "gram"), "order 0, it must be 1 to 6"),
        (
            ARPA.replace("-0.8", "0.8"),
            ":10: the log10 probability must be a number, at most 0: '0.8\\tAB\\t-0.1'; truncated or damaged",
        ),
        (ARPA.replace("-0.8", "nan"), ":10: the log10 probability must be a number"),
        (ARPA.replace("-0.8", "-0.8.1"), ":10: the log10 probability must be a number"),
        (ARPA.replace("-0.1\n", "x\n"), ":10: the back-off must be a number"),
        (ARPA.replace("-0.1\n", "-0.1 1\n"), ":10: expected a log10 probability, a word for each n"),
        (ARPA.replace("AB A\n", "AB A\t-1\n"), ":15: the back-off must be a number, at the highest order"),
        (ARPA.replace("AB A\n", "AB X\n"), ":15: a word is not among the 1-grams: '-0.6\\tAB X'; "),
        (ARPA.replace("AB A\n", "AB\n"), ":15: expected a log10 probability, a word for each n"),
        (ARPA.replace("\tAB\t-0.1", ""), ":10: expected a log10 probability, a word for each n"),
        (ARPA.replace("-0.8\tAB", "-0.8\tA"), ":10: the same n-gram again"),
        (ARPA.replace("A A", "AB A"), ":17: the same n-gram again"),
        (ARPA.replace("-0.8\tAB", "-0.8\t<unk>"), ":10: <unk> again"),
        (ARPA.replace("<s>", "<S>"), "lack <s> or </s>"),
        (gzip.compress(ARPA.encode())[:-20], "truncated or damaged gzip"),
        (gzip.compress(ARPA.encode()) + b"x", "truncated or damaged gzip"),
        (BINARY[:60], "a KenLM binary of 'format version 5', or damaged"),
        (
            BINARY.replace(b"version 5", b"version 4"),
            "a KenLM binary of 'format version 4', or damaged; it must be of little-endian version 5",
        ),
        (BINARY[:60] + BINARY[63:59:-1] + BINARY[64:], "must be of little-endian version 5"),
        (BINARY[:56] + b"????" + BINARY[60:], "must be of little-endian version 5"),
        (BINARY[:88] + b"\x09" + BINARY[89:], "order 9 (2 to 6 can be)"),
        (BINARY[:100], "of order 2 (2 to 6 can be) with (0, 0) n-grams"),
        (BINARY[:301], "truncated KenLM binary: 301 bytes are too few for (6, 5) n-grams"),
        (BINARY[:300], "truncated KenLM binary: 300 bytes are too few for (6, 5) n-grams"),
        (BINARY[:96] + b"\x02" + BINARY[97:], "of kind 2.0: a trie, quantised, or with rest costs"),
        (
            BINARY[:132] + b"\x08" + BINARY[133:],
            "damaged KenLM binary: its 8 words are not where they belong",
        ),
        (BINARY.replace(b"<unk>", b"<unc>"), "words are not where they belong"),
    ],
)
def test_wrong_files_are_one_line(tmp_path, content, words):
    path = write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        NGramModel.open(path)
    message = str(caught.value)
    assert message.startswith(f"--lm-path {path}:")
    assert words in message
    assert "\n" not in message


def test_the_context_of_every_ngram_must_be_there(tmp_path):
    text = random_arpa(0, 3)[1].split("\n")
    context = " ".join(next(line for line in text if line.count(" ") == 2).split()[1:3])
    removed = [line for line in text if f"\t{context}" not in line or line.count(" ") != 1]
    counted = "\n".join(removed).replace(text[2], f"ngram 2={int(text[2].split('=')[1]) - 1}")
    with pytest.raises(InputError, match="the n-gram without its last word is missing"):
        NGramModel.open(write(tmp_path, counted))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ARPA.replace("BBA", "BBÄ").encode("latin-1"), "not UTF-8"),
        (BINARY[:-4], "truncated: 5 of 6 words"),
        (BINARY[:-1], "truncated: 5 of 6 words"),
        (BINARY[:100] + b"\0" + BINARY[101:-24], "built without its words"),
    ],
)
def test_wrong_words_are_one_line(tmp_path, content, words):
    model = NGramModel.open(write(tmp_path, content))
    with pytest.raises(InputError, match=words):
        model.words()


@needs_kenlm
@pytest.mark.parametrize("kind", range(1, 6))
def test_other_kinds_of_kenlm_are_refused_with_the_remedy(tmp_path, kind):
    binary = build_binary(write(tmp_path, random_arpa(0, 3)[1]), tmp_path / "lm.bin", kind)
    with pytest.raises(InputError, match=rf"of kind {kind}\.\d.*build_binary probing.*or pass the ARPA file"):
        NGramModel.open(binary)


@needs_kenlm
def test_kenlm_binaries_without_words_score(tmp_path):
    binary = build_binary(write(tmp_path, ARPA), tmp_path / "lm.bin", words=False)
    model = NGramModel.open(binary)
    assert score_sentence(model, ["A"]) == score_sentence(NGramModel.open(tmp_path / "lm.arpa"), ["A"])
    with pytest.raises(InputError, match="built without its words"):
        model.words()


def test_many_pruned_suffixes_take_larger_tables(tmp_path):
    model = {(word,): (-1.0, -0.5) for word in ("<s>", "</s>", "A", *VOCABULARY[1:])}
    model |= {("A", "A"): (-0.4, -0.2)} | {("A", "A", word): (-0.1, 0) for word in VOCABULARY[1:]}
    lines = ["\\data\\", "ngram 1=7", "ngram 2=1", f"ngram 3={len(VOCABULARY) - 1}"]
    for n in (1, 2, 3):
        lines.append(f"\\{n}-grams:")
        lines += [f"{p}\t{' '.join(gram)}\t{b}" for gram, (p, b) in model.items() if len(gram) == n]
    ours = NGramModel.open(write(tmp_path, "\n".join([*lines, "\\end\\"])))
    (tmp_path / "lm.bin").write_bytes(ours.image)
    for words in (["A", "A", "B", "A"], ["A", "B", "Č"], ["B", "A", "A", "Č"]):
        expected = pytest.approx(reference(model, words), abs=1e-5)
        assert score_sentence(ours, words) == expected
        if kenlm:
            assert kenlm.Model(str(tmp_path / "lm.bin")).score(" ".join(words)) == expected


def test_order_1_has_no_backoff(tmp_path):
    path = write(tmp_path, random_arpa(0, 1)[1].replace("<s>", "<s>\t-0.5"))
    with pytest.raises(InputError, match=r"at the highest order none or 0: '.*-0\.5'"):
        NGramModel.open(path)


def test_missing_file_and_folder(tmp_path):
    for path, words in ((tmp_path / "no.arpa", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=words):
            NGramModel.open(path)


def test_a_mapped_file_that_shrinks(tmp_path, monkeypatch):
    monkeypatch.setattr(ngram, "MAPPED_FROM", 0)
    model = NGramModel.open(write(tmp_path, BINARY))
    expected = score_sentence(model, ["A"])
    os.truncate(tmp_path / "lm.arpa", 200)
    for use in (model.check, model.words):
        with pytest.raises(InputError, match="shrank from 408 to 200 bytes while in use"):
            use()
    write(tmp_path, BINARY)
    monkeypatch.undo()
    model = NGramModel.open(tmp_path / "lm.arpa")  # too small to map
    os.truncate(tmp_path / "lm.arpa", 0)
    assert score_sentence(model, ["A"]) == expected


def test_a_large_file_is_opened_without_reading_it(tmp_path):
    """A file of a gigabyte, which takes no room on the disk: its table of bigrams is empty."""
    counts = (6, 60_000_000)
    (*_, longest, end), _ = layout(counts, 1.5)
    path = write(tmp_path, BINARY[:108] + struct.pack("<2Q", *counts) + BINARY[124 : 4 * longest])
    with open(path, "ab") as file:
        file.truncate(4 * end)
        file.seek(4 * end)
        file.write(BINARY[-24:])
    model = NGramModel.open(path)
    assert path.stat().st_size > 1 << 30
    assert model.words() == ["A", "AB", "BBA"]
    assert score_sentence(model, ["A", "AB"]) == pytest.approx(-0.3 - 0.5 - 0.2 - 0.8 - 0.1 - 0.9)
