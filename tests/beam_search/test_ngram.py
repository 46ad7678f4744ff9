"""N-gram models: scores against KenLM and a plain reference, files against KenLM's."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepspeech.beam_search.ngram import NGramModel

try:
    import kenlm
except ImportError:  # no wheels for every version of Python
    kenlm = None
needs_kenlm = pytest.mark.skipif(kenlm is None, reason="no kenlm")

ARPA = """\\data\\
ngram 1=6
ngram 2=5

\\1-grams:
-2.0\t<unk>
-99\t<s>\t-0.3
-0.9\t</s>
-0.5\tA\t-0.2
-0.8\tAB\t-0.1
-1.1\tBBA\t-0.4

\\2-grams:
-0.2\t<s> AB
-0.6\tAB A
-0.3\tA </s>
-0.9\tA A
-0.4\tBBA AB

\\end\\
"""
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
        assert ours.score_sentence(words, bos, eos) == pytest.approx(expected, abs=1e-5, rel=1e-6)


@needs_kenlm
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.booleans())
@settings(max_examples=20, deadline=None)
def test_scores_equal_kenlm(tmp_path_factory, seed, order, unknown):
    folder = tmp_path_factory.mktemp("lm")
    path = write(folder, random_arpa(seed, order, unknown)[1])
    ours = NGramModel.open(path)
    ours.write_binary(folder / "lm.bin")
    oracles = [kenlm.Model(str(path)), kenlm.Model(str(folder / "lm.bin"))]
    binary = NGramModel.open(folder / "lm.bin")
    for words, bos, eos in product(sentences(seed), (True, False), (True, False)):
        for oracle in oracles:
            expected = oracle.score(" ".join(words), bos, eos)
            assert ours.score_sentence(words, bos, eos) == pytest.approx(expected, abs=1e-5, rel=1e-6)
        assert binary.score_sentence(words, bos, eos) == ours.score_sentence(words, bos, eos)


@needs_kenlm
@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize(("unknown", "pruned"), [(True, False), (False, False), (True, True)])
def test_binaries_equal_kenlm_byte_for_byte(tmp_path, order, unknown, pruned):
    arpa = write(tmp_path, random_arpa(order, order, unknown, pruned)[1])
    NGramModel.open(arpa).write_binary(tmp_path / "ours.bin")
    theirs = build_binary(arpa, tmp_path / "theirs.bin")
    assert (tmp_path / "ours.bin").read_bytes() == theirs.read_bytes()
