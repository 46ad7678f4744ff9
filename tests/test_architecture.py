"""Layers: a folder imports only from the layers below it, and no modules import each other in a circle."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [  # top to bottom; folders of one layer do not import each other
    {"commands"},
    {"serving"},
    {"tools", "transcription"},
    {"export"},
    {"training", "inference"},
    {"checkpoint", "corpora", "evaluation"},
    {"data", "model", "beam_search"},
    {"audio", "decoding"},
    {""},  # the modules directly in deepspeech/
]
HEIGHT = {folder: -depth for depth, layer in enumerate(LAYERS) for folder in layer}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted((ROOT / "deepspeech").rglob("*.py"))}
ENTRANCES = {"deepspeech", "deepspeech.__main__"}  # may import from every layer


def folder(module: str) -> str:
    return module.split(".")[1] if (ROOT / "deepspeech" / module.split(".")[1]).is_dir() else ""


def imports(module: str) -> set[str]:
    """The package's modules that one imports anywhere, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {
                name if (name := f"{node.module}.{a.name}") in MODULES else node.module for a in node.names
            }
    return {name for name in found if name.startswith("deepspeech.")}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - ENTRANCES))
def test_imports_point_downward(module):
    own = folder(module)
    assert own in HEIGHT, f"{own}: give the folder a layer"
    wrong = [name for name in imports(module) if folder(name) != own and HEIGHT[folder(name)] >= HEIGHT[own]]
    assert not wrong, f"{module} imports from its own layer or above: {', '.join(sorted(wrong))}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: imports(module) for module in MODULES.keys() - ENTRANCES}
    assert list(graphlib.TopologicalSorter(graph).static_order())
