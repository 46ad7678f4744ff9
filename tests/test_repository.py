"""The repository as a whole: package metadata, locked versions, the Makefile, the shape of the code."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

import deepspeech

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "deepspeech").rglob("*.py"))
SCRIPTS = [path for folder in ("data", "benchmarks", "scripts") for path in (ROOT / folder).glob("*.py")]
CODE = [*MODULES, *ROOT.glob("*.py"), *SCRIPTS]


AFTER_TRAINING = "run|runs|step|steps|set|batch|loop|state|time|loss|epoch|corpus|data|manifest|utterance"
STUMBLES = [
    "[Ss]hall",
    "the begin(?! )",
    "the begin of",
    "(is|are) none",
    rf"[Aa] training(?! ({AFTER_TRAINING})\b)",
    "(go|goes|going|gone) on (with|from)",
    "teaches nothing",
    "by the eight",
    "[Mm]end(s|ed)?",
    "(is|are|was|were|be) told",
    "raise_or_tell|tell_error|take_stock",
]


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "deepspeech", folder / "source" / "deepspeech")
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", folder, folder / "source"], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def metadata(wheel: zipfile.ZipFile, key: str) -> list[str]:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return re.findall(rf"^{key}: (.+)$", wheel.read(name).decode(), re.MULTILINE)


def test_the_package_holds_all_modules_and_the_version(wheel):
    expected = {str(module.relative_to(ROOT)) for module in MODULES}
    assert {name for name in wheel.namelist() if name.endswith(".py")} == expected
    assert metadata(wheel, "Version") == [deepspeech.__version__]
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


def test_the_package_holds_its_other_files(wheel):
    assert "from_pretrained" in wheel.read("deepspeech/model/card.md").decode()
    assert wheel.read("deepspeech/labels.json") == (ROOT / "labels.json").read_bytes()


def test_every_requirement_is_locked_to_one_version_within_its_range(wheel):
    locked = [Requirement(line) for line in lines_of(ROOT / "requirements.lock") if re.match(r"\w", line)]
    versions = {each.name.lower(): str(each.specifier) for each in locked}
    assert len(versions) == len(locked)
    assert all(re.fullmatch(r"==[\w.]+", version) for version in versions.values()), versions
    for text in metadata(wheel, "Requires-Dist"):
        requirement = Requirement(text)
        if requirement.name == "deepspeech-torch":  # the extras of this package, named by `dev`
            continue
        version = versions[requirement.name.lower()].removeprefix("==")
        assert version in requirement.specifier, text


def test_no_marker_takes_a_requirement_from_users():
    """What has no wheels for every Python and platform is for developers only."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    users = [*project["dependencies"], *(each for name in extras if name != "dev" for each in extras[name])]
    assert not [text for text in users if Requirement(text).marker]


def test_the_lock_names_no_index_and_no_path():
    for line in lines_of(ROOT / "requirements.lock"):
        assert not re.search(r"://|^-|@|\s/", line), line


def test_the_installed_versions_are_the_locked_ones():
    if not (ROOT / ".venv" / "installed").exists():
        pytest.skip("not the environment that make installs")
    from importlib.metadata import version

    for line in lines_of(ROOT / "requirements.lock"):
        if re.match(r"\w", line):
            requirement = Requirement(line)
            if not requirement.marker or requirement.marker.evaluate(default_environment()):
                assert version(requirement.name) in requirement.specifier, line


def test_pytest_never_collects_the_script_test_py(request):
    collected = {Path(item.path) for item in request.session.items}
    assert ROOT / "test.py" not in collected
    assert all(path.is_relative_to(ROOT / "tests") for path in collected)


@pytest.mark.parametrize("python", ["false", "no-such-python"])
def test_make_refuses_an_old_python_in_one_line(tmp_path, python):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    result = subprocess.run(
        ["make", "test", f"PYTHON={python}"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode
    said = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert said == [f"{python} is no Python 3.11 or newer; name one: make PYTHON=python3.12"]
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path):
    assert len(lines_of(path)) <= (300 if path in MODULES else 350)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{path}:{node.lineno}: {node.name}"


def test_the_package_stays_small():
    toolkit = [path for path in MODULES if not {"serving", "export"} & set(path.parts)]
    assert sum(len(lines_of(path)) for path in toolkit) <= 15200
    folders = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert max(folders.values()) <= 10, folders


def test_the_text_reads_like_english():
    """The word list of the project's style: words that a native engineer would not write."""
    stumbles = re.compile(rf"\b({'|'.join(STUMBLES)})\b")
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]
    tests = (path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    examples = (ROOT / "examples").glob("*.py")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in [*CODE, *pages, *tests, *examples]
        for number, line in enumerate(lines_of(path), 1)
        for match in stumbles.finditer(line)
    ]
    assert not found, "\n".join(found)
