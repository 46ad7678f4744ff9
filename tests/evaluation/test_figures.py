"""The common style of figures, and how they become files."""

import matplotlib
import pytest

from deepspeech.errors import InputError
from deepspeech.evaluation import figures


def test_figures_have_the_common_style_and_others_keep_theirs():
    before = matplotlib.rcParams["axes.spines.top"]
    with figures.new_figure(2, 1) as figure:
        axes = figure.subplots()
        (line,) = axes.plot([0, 1])
        assert not axes.spines["top"].get_visible()
        assert line.get_color() == "#0072B2"
    assert matplotlib.rcParams["axes.spines.top"] == before


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG\r\n"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_the_suffix_chooses_the_format(suffix, start, tmp_path):
    path = str(tmp_path / f"new{suffix}")
    figures.check_path(path, "--plot")
    with figures.new_figure(2, 1) as figure:
        figure.subplots().plot([0, 1])
        figures.save(figure, path)
    assert (tmp_path / f"new{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["picture", "picture.exe", "picture.png/a"])
def test_other_suffixes_are_refused_before_any_work(name, tmp_path):
    with pytest.raises(InputError, match=rf"--plot .*{name}: .* ends in .png, .svg, .pdf"):
        figures.check_path(str(tmp_path / name), "--plot")
