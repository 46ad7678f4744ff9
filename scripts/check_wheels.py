#!/usr/bin/env python3
"""Check that requirements.lock installs from wheels alone, on every supported Python and platform.

Installs nothing: uv resolves the lock for each pair against the configured package index. Prints a
table and every gap; the exit status is 1 if there are gaps, 2 if uv fails otherwise. A gap is

- a locked package without a wheel for the pair,
- a package that the pair needs and the lock lacks,
- a requirement of users that its marker leaves out on the pair; those of developers are only listed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {  # as uv names them; its Linux has glibc 2.28
    "Linux x86-64": "x86_64-unknown-linux-gnu",
    "Linux aarch64": "aarch64-unknown-linux-gnu",
    "macOS arm64": "aarch64-apple-darwin",
    "Windows x86-64": "x86_64-pc-windows-msvc",
}
OLDEST_MACOS = "14.0"  # torch has no wheels for older ones
RESOLUTIONS_AT_ONCE = 4  # they wait for the network most of the time


class UnresolvableError(Exception):
    """No set of wheels meets the requirements."""


@dataclass(frozen=True)
class Project:
    """What pyproject.toml asks for and requirements.lock pins.

    Attributes:
        folder: Where both files are.
        pins: The lock's requirements, `name==version ; marker`.
        for_users: What users ask for: the dependencies and every extra but `dev`.
        for_developers: What the extra `dev` adds.
        user_packages: Names of all packages that users install on some platform, with every extra.
    """

    folder: Path
    pins: list[str]
    for_users: list[str]
    for_developers: list[str]
    user_packages: frozenset[str]

    @classmethod
    def load(cls, folder: Path) -> Project:
        """Read both files and resolve what users install."""
        lock = (folder / "requirements.lock").read_text(encoding="utf-8")
        pins = [line for line in lock.splitlines() if re.match(r"\w", line)]
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project.get("optional-dependencies", {})
        own_name = canonicalize_name(project["name"])
        for_developers = [each for each in extras.pop("dev", []) if name_of(each) != own_name]
        for_users = [*project["dependencies"], *itertools.chain.from_iterable(extras.values())]
        everywhere = ("--universal", "--python-version", PYTHONS[0], "--constraints", "requirements.lock")
        packages = resolve(folder, for_users, *everywhere)
        return cls(folder, pins, for_users, for_developers, frozenset(map(name_of, packages)))


@dataclass(frozen=True)
class Findings:
    """What is missing for one Python on one platform."""

    platform: str
    python: str
    gaps: list[str]
    notes: list[str]  # what developers do without


def main(arguments: Sequence[str] | None = None) -> int:
    """Check all pairs and print the findings; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("project", nargs="?", type=Path, default=root, help="folder of the project")
    options = parser.parse_args(arguments)
    try:
        project = Project.load(options.project)
        with ThreadPoolExecutor(RESOLUTIONS_AT_ONCE) as pool:
            pairs = itertools.product(PLATFORMS, PYTHONS)
            findings = list(pool.map(lambda pair: check(project, *pair), pairs))
    except (OSError, RuntimeError, UnresolvableError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, UnresolvableError) else 2
    print_report(findings)
    return int(any(each.gaps for each in findings))


def check(project: Project, platform: str, python: str) -> Findings:
    """Resolve the lock for one Python on one platform."""
    wheels = ("--only-binary", ":all:", "--python-platform", PLATFORMS[platform], "--python-version", python)
    missing: list[str] = []
    conflict: list[str] = []
    try:
        packages = resolve(project.folder, project.pins, *wheels)
    except UnresolvableError as error:
        missing = without_wheel(project.folder, project.pins, wheels)
        if not missing:
            conflict = [f"the pins contradict each other: {error}"]
        rest = [pin for pin in project.pins if pin not in missing]
        packages = resolve(project.folder, rest, "--no-deps", *wheels)

    def audience(requirement: str) -> str:
        return "users" if name_of(requirement) in project.user_packages else "developers only"

    locked = {name_of(pin) for pin in project.pins}
    unlocked = [pin for pin in packages if name_of(pin) not in locked]
    available = {name_of(pin) for pin in [*packages, *missing]}
    left_out = [each for each in project.for_users if name_of(each) not in available]
    gaps = [
        *conflict,
        *(f"{pin.split(' ;')[0]} has no wheel ({audience(pin)})" for pin in missing),
        *(f"{pin} is needed, not locked ({audience(pin)})" for pin in unlocked),
        *(f"a marker leaves out {requirement} (users)" for requirement in left_out),
    ]
    notes = [each for each in project.for_developers if name_of(each) not in available]
    return Findings(platform, python, gaps, notes)


def without_wheel(folder: Path, pins: list[str], wheels: Sequence[str]) -> list[str]:
    """The pins without a matching wheel. By halving: uv stops at the first one."""
    try:
        resolve(folder, pins, "--no-deps", *wheels)
    except UnresolvableError:
        if len(pins) == 1:
            return pins
        middle = len(pins) // 2
        return without_wheel(folder, pins[:middle], wheels) + without_wheel(folder, pins[middle:], wheels)
    return []


def resolve(folder: Path, requirements: Collection[str], *options: str) -> list[str]:
    """Pins that meet the requirements, as uv finds them.

    Raises:
        UnresolvableError: No set of wheels meets the requirements.
        RuntimeError: uv failed for another reason: no network, a requirement that is not well-formed.
    """
    # Without --python, uv spends seconds on a search for an interpreter of --python-version.
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    result = subprocess.run(
        [*command, "--python", sys.executable, *options, "-"],
        cwd=folder,
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS},
        input="\n".join(requirements),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 1:
        raise UnresolvableError(result.stderr.strip())
    if result.returncode:
        raise RuntimeError(result.stderr.strip())
    return [line for line in result.stdout.splitlines() if re.match(r"\w", line)]


def name_of(requirement: str) -> str:
    """The normalised name of the package."""
    return canonicalize_name(Requirement(requirement).name)


def print_report(findings: Sequence[Findings]) -> None:
    """Print a table of all pairs, then what is missing where."""
    width = max(map(len, PLATFORMS)) + 2
    print(" " * width + "".join(f"{python:8}" for python in PYTHONS).rstrip())
    for platform in PLATFORMS:
        counts = [len(each.gaps) for each in findings if each.platform == platform]
        cells = [f"{count} gap{'s' if count > 1 else ''}" if count else "ok" for count in counts]
        print(f"{platform:{width}}" + "".join(f"{cell:8}" for cell in cells).rstrip())
    gaps = places_of((gap, each) for each in findings for gap in each.gaps)
    print("", *(["Gaps:", *gaps] if gaps else ["No gaps."]), sep="\n")
    notes = places_of((note, each) for each in findings for note in each.notes)
    if notes:
        print("", "Markers leave out, for developers only:", *notes, sep="\n")


def places_of(findings: Iterable[tuple[str, Findings]]) -> list[str]:
    """Lines for a report: every text once, with the pairs that it is about."""
    places: dict[str, list[str]] = {}
    for text, where in findings:
        places.setdefault(text, []).append(f"{where.platform} {where.python}")
    return [f"{text}\n    {', '.join(pairs)}" for text, pairs in places.items()]


if __name__ == "__main__":
    sys.exit(main())
