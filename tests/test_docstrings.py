"""Public names say what they take, give and raise; the library page of the documentation lists them all."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import deepspeech
from tests.conftest import ROOT

MODULES = [path for path in (ROOT / "deepspeech").rglob("*.py") if "commands" not in path.parts]
KINDS = property | classmethod
NAMES = sorted(set(deepspeech.__all__) - {"InputError"})


def members(value: object) -> dict[str, object]:
    """A public function, or the public methods and properties that a class defines itself."""
    if not inspect.isclass(value):
        return {value.__name__: value}
    public = {name: each for name, each in vars(value).items() if not name.startswith("_")}
    return {name: each for name, each in public.items() if callable(each) or isinstance(each, KINDS)}


@pytest.mark.parametrize("name", NAMES)
def test_public_names_have_docstrings(name):
    value = getattr(deepspeech, name)
    assert inspect.getdoc(value)
    for method, each in members(value).items():
        assert inspect.getdoc(each), f"{name}.{method}"


@pytest.mark.parametrize("name", NAMES)
def test_arrays_and_tensors_have_their_shapes_in_the_docstring(name):
    value = getattr(deepspeech, name)
    for method, each in members(value).items():
        each = each.fget if isinstance(each, property) else getattr(each, "__func__", each)
        if method in {"to", "pin_memory"} or not inspect.isfunction(each):
            continue
        types = " ".join(str(annotation) for annotation in inspect.get_annotations(each).values())
        if re.search(r"\b(Tensor|ndarray)\b", types):
            text = inspect.getdoc(each) or ""
            assert re.search(r"\([a-z]+( \w+)*,.*\)|; see `", text), f"{name}.{method}: {types}"


def functions(path: Path) -> list[tuple[str, str, ast.FunctionDef]]:
    """Name, docstring and code of a module's public functions, methods and constructors."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    found = []
    for owner in [tree, *classes]:
        for node in owner.body:
            if isinstance(node, ast.FunctionDef) and (
                node.name == "__init__" or not node.name.startswith("_")
            ):
                of_class = ast.get_docstring(owner) if node.name == "__init__" else None
                found.append((node.name, of_class or ast.get_docstring(node) or "", node))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_that_raise_say_so(path):
    for name, docstring, node in functions(path):
        calls = [each.exc for each in ast.walk(node) if isinstance(each, ast.Raise) and each.exc]
        raised = {
            call.func.id for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        }
        if "InputError" in raised and (path.name, name) != ("cli.py", "error"):
            assert "Raises:" in docstring, f"{path}: {name}"


def test_the_library_page_lists_every_public_name():
    listed = re.findall(r"^::: deepspeech\.(\w+)$", (ROOT / "docs" / "library.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(deepspeech.__all__)
