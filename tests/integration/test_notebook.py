"""docs/how_it_works.py runs as a notebook from a clean state, and each chapter draws and asserts."""

from __future__ import annotations

import re

import jupytext
import nbclient
import pytest

from tests.conftest import ROOT, THREADS

NOTEBOOK = ROOT / "docs" / "how_it_works.py"


def test_every_chapter_draws_and_asserts():
    cells = jupytext.read(NOTEBOOK).cells
    chapters, current = {}, None
    for cell in cells:
        if cell.cell_type == "markdown" and (title := re.search(r"^## (\d+\. .+)", cell.source)):
            current = chapters.setdefault(title[1], [])
        if cell.cell_type == "code" and current is not None:
            current.append(cell.source)
    assert len(chapters) >= 15
    for title, sources in chapters.items():
        assert any("show(" in source for source in sources), title
        assert any("assert " in source for source in sources), title


@pytest.mark.exhaustive
def test_the_notebook_runs_from_a_clean_state(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", str(THREADS))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DEEPSPEECH_FIGURES", str(tmp_path))
    # Test processes that let librosa compile at the same time leave a cache that crashes whoever calls it
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "compiled"))
    notebook = jupytext.read(NOTEBOOK)
    nbclient.NotebookClient(notebook, timeout=400, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = sum("image/png" in output.get("data", {}) for output in outputs)
    assert shown == len(list(tmp_path.glob("*.png"))) >= 20
