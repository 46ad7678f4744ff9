"""`make docs`: the site builds without a warning, and every page in it has its links."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from tests.conftest import ROOT, script_environment

pytestmark = pytest.mark.exhaustive


def test_the_site_builds_and_its_links_lead_somewhere(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        tmp_path / "site",
    ]
    environment = script_environment() | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "compiled")  # see test_notebook.py
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= 10
    for page in pages:
        for link in re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8")):
            address = urlparse(link)
            if address.scheme or address.netloc or not address.path or page.name == "404.html":
                continue
            target = Path(os.path.normpath(page.parent / unquote(address.path)))
            assert target.exists(), f"{page.name}: {link}"
