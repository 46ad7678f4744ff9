"""The documentation says what is there: links, files, commands and flags."""

import argparse
import ast
import re
import shlex
from pathlib import Path

import pytest

import deepspeech.__main__
from deepspeech.errors import InputError
from tests.conftest import ROOT, load_script

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
STAR_LINES = 3330
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def blocks(page: Path) -> list[str]:
    """The fenced blocks without a language: command lines, and the tree."""
    return [text for language, text in re.findall(FENCED, page.read_text(encoding="utf-8")) if not language]


def commands() -> list[str]:
    """All command lines of the package, its scripts and its benchmarks: in blocks, and in words of code."""
    launcher = r"(?:python|deepspeech|--max-restarts=\d+|--nproc_per_node=\d+) "
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in blocks(page) for line in logical_lines(block)]
        lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", re.sub(FENCED, "", text))]
        for line in lines:
            line = re.split(r" #| > | 2> | \| tee ", line)[0]
            names = "|".join(deepspeech.__main__.COMMANDS)
            if match := re.search(rf"{launcher}(?:(?:{names}) .*|[\w/]+\.py(?: .*)?$)", line):
                found[
                    re.sub(r"^.*?(?=deepspeech |[\w/]+\.py\b)", "", match[0]).replace(" ...", "").strip()
                ] = None
    return [line for line in found if not re.search(r" -h$|--help$|\*", line)]


def logical_lines(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), target


class Parsed(Exception):
    """The command line is read."""


@pytest.mark.parametrize("line", commands())
def test_commands_have_only_flags_that_exist(line, monkeypatch):
    """The command's own parser reads the line; nothing else runs."""
    parse = argparse.ArgumentParser.parse_args

    def stop(*arguments, **options):
        raise Parsed

    def parse_and_stop(parser, *arguments, **options):
        parse(parser, *arguments, **options)
        raise Parsed

    name, *argv = shlex.split(line)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", [name, *argv])
    if name.startswith("benchmarks/"):
        monkeypatch.syspath_prepend(ROOT / "benchmarks")  # some import each other
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        main = load_script(name).main
    else:
        monkeypatch.setattr("deepspeech.cli.Arguments", stop)
        main = deepspeech.__main__._dispatch if name == "deepspeech" else lambda: load_script(name).main(argv)
    with pytest.raises(Parsed):
        main()


def test_the_documentation_has_such_commands():
    lines = commands()
    assert len(lines) >= 60
    names = {" ".join(line.split()[: 1 + line.startswith("deepspeech ")]) for line in lines}
    assert {"train.py", "test.py", "transcribe.py", "data/an4.py", "deepspeech tune-lm"} <= names


def tree() -> dict[str, tuple[bool, str]]:
    """The modules in the tree of architecture.md: whether each has a star, and its description."""
    found, folder = {}, ""
    block = next(block for block in blocks(ARCHITECTURE) if block.startswith("deepspeech/"))
    for line in block.splitlines()[1:]:
        name, _, text = line.strip().partition(" ")
        if name.endswith("/"):
            folder = name
        else:
            star = "★" in text
            found[(folder if line.startswith("    ") else "") + name] = star, text.strip("★ ")
    return found


def test_the_tree_describes_every_module_as_its_docstring_does():
    package = ROOT / "deepspeech"
    expected = {}
    for path in package.rglob("*.py"):
        name = str(path.relative_to(package))
        if not name.endswith("/__init__.py"):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            expected[name] = text.splitlines()[0].rstrip(".")
    assert {name: text for name, (_, text) in tree().items()} == expected


def test_the_core_can_be_read_in_an_afternoon():
    stars = [ROOT / "deepspeech" / name for name, (star, _) in tree().items() if star]
    assert len(stars) >= 20
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in stars) <= STAR_LINES


def test_every_command_is_listed_with_help(capsys):
    for name in deepspeech.__main__.COMMANDS:
        assert f"  {name} " in deepspeech.__main__.USAGE


def test_an_unknown_command_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["deepspeech", "trian"])
    with pytest.raises(InputError, match="trian: no such command; choose from train, "):
        deepspeech.__main__._dispatch()
