"""Hooks of `make docs`: pages and files from outside docs/, and the links between them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {  # in the repository: in the site
    "README.md": "index.md",
    "RESULTS.md": "RESULTS.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "benchmarks/README.md": "benchmarks/README.md",
}
LINKED = "examples/*.py", "configs/*.txt"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root, and the files that pages link to."""
    linked = (str(path.relative_to(ROOT)) for pattern in LINKED for path in ROOT.glob(pattern))
    for source, target in {**PAGES, **{name: name for name in linked}}.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links where their targets are in the site."""
    here = page.file.src_uri
    source = {target: name for name, target in PAGES.items()}.get(here, f"docs/{here}")

    def moved(match: re.Match[str]) -> str:
        link, _, anchor = match[1].partition("#")
        if not link or "://" in link:
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        target = PAGES.get(target, target.removeprefix("docs/"))
        target = posixpath.relpath(target, posixpath.dirname(here) or ".")
        return f"]({target}{'#' + anchor if anchor else ''})"

    return re.sub(r"\]\(([^)\s]+)\)", moved, markdown)
