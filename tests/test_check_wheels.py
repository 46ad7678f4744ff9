"""scripts/check_wheels.py on small projects, resolved from a folder of empty wheels: no network."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive
SCRIPT = Path(__file__).parents[1] / "scripts" / "check_wheels.py"
HEAD = "                3.11    3.12    3.13    3.14\n"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def places(*platforms, pythons=PYTHONS):
    return "    " + ", ".join(f"{platform} {python}" for platform in platforms for python in pythons)


@pytest.fixture
def project(tmp_path):
    """Builds a project of its requirements, locked versions and wheels."""

    def build(dependencies, extras, lock, wheels):
        lists = "".join(f"{name} = {requirements}\n" for name, requirements in extras.items())
        (tmp_path / "pyproject.toml").write_text(
            f"[project]\nname = 'small'\nversion = '1'\ndependencies = {dependencies}\n"
            f"[project.optional-dependencies]\n{lists}"
            "[tool.uv]\nno-index = true\nfind-links = ['wheels']\n"
        )
        (tmp_path / "requirements.lock").write_text("# a comment\n" + "\n    # via small\n".join(lock) + "\n")
        (tmp_path / "wheels").mkdir()
        for name, tag, *requirements in wheels:
            metadata = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
            metadata += [f"Requires-Dist: {requirement}" for requirement in requirements]
            with zipfile.ZipFile(tmp_path / "wheels" / f"{name}-1.0-{tag}.whl", "w") as archive:
                archive.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(metadata) + "\n")
                archive.writestr(f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
                archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
        return tmp_path

    return build


def check(folder):
    return subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True)


def test_wheels_for_every_pair_are_no_gap(project):
    platforms = ("manylinux_2_28_x86_64", "manylinux_2_17_aarch64", "macosx_14_0_arm64", "win_amd64")
    folder = project(
        ["Native", "pure"],
        {"dev": ["small[extra]", "tool; python_version < '3.13'"]},
        ["native==1.0", "pure==1.0", "tool==1.0 ; python_full_version < '3.13'"],
        [
            *(("native", f"cp3{minor}-cp3{minor}-{each}") for minor in range(11, 15) for each in platforms),
            ("pure", "py3-none-any"),
            ("tool", "py3-none-any"),
        ],
    )
    result = check(folder)
    assert result.stdout == HEAD + (
        "Linux x86-64    ok      ok      ok      ok\n"
        "Linux aarch64   ok      ok      ok      ok\n"
        "macOS arm64     ok      ok      ok      ok\n"
        "Windows x86-64  ok      ok      ok      ok\n"
        "\nNo gaps.\n"
        "\nMarkers leave out, for developers only:\n"
        "tool; python_version < '3.13'\n"
        "    Linux x86-64 3.13, Linux x86-64 3.14, Linux aarch64 3.13, Linux aarch64 3.14, "
        "macOS arm64 3.13, macOS arm64 3.14, Windows x86-64 3.13, Windows x86-64 3.14\n"
    )
    assert result.returncode == 0, result.stderr


def test_gaps_of_all_kinds_are_printed_with_their_pairs(project):
    folder = project(
        ["native"],
        {"search": ["engine; sys_platform == 'linux'"], "dev": ["oracle"]},
        ["engine==1.0 ; sys_platform == 'linux'", "native==1.0", "oracle==1.0"],
        [
            ("engine", "py3-none-any"),
            ("hidden", "py3-none-any"),
            ("native", "py3-none-any", "hidden; python_version >= '3.14'"),
            ("oracle", "cp312-abi3-manylinux_2_28_x86_64"),
            ("oracle", "cp311-abi3-macosx_14_0_arm64"),
            ("oracle", "cp311-abi3-manylinux_2_17_aarch64"),
            ("oracle", "cp311-abi3-win_amd64"),
        ],
    )
    result = check(folder)
    platforms = ("Linux x86-64", "Linux aarch64", "macOS arm64", "Windows x86-64")
    assert result.stdout.splitlines() == [
        *HEAD.splitlines(),
        "Linux x86-64    1 gap   ok      ok      1 gap",
        "Linux aarch64   ok      ok      ok      1 gap",
        "macOS arm64     1 gap   1 gap   1 gap   2 gaps",
        "Windows x86-64  1 gap   1 gap   1 gap   2 gaps",
        "",
        "Gaps:",
        "oracle==1.0 has no wheel (developers only)",
        places("Linux x86-64", pythons=["3.11"]),
        "hidden==1.0 is needed, not locked (users)",
        places(*platforms, pythons=["3.14"]),
        "a marker leaves out engine; sys_platform == 'linux' (users)",
        places("macOS arm64", "Windows x86-64"),
    ]
    assert result.returncode == 1, result.stderr


def test_other_failures_of_uv_are_no_gaps(project):
    result = check(project(["not well-formed"], {}, [], []))
    assert result.returncode == 2
    assert "not well-formed" in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout
