"""Compiled functions: cached where possible, working everywhere."""

import os
import shutil
import subprocess
import sys

from deepspeech.beam_search import compiled

CALLEE = "from deepspeech.beam_search.compiled import compiled\n\n@compiled\ndef one(x):\n    return x + 1\n"
SCRIPT = """
from callee import one
from deepspeech.beam_search.compiled import compiled

@compiled
def two(x):
    return one(one(x))

print(two(3), sum(two.stats.cache_hits.values()))
"""


def run(folder, **environment):
    path = os.pathsep.join([os.getcwd(), str(folder)])
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": "", **environment}
    result = subprocess.run([sys.executable, folder / "script.py"], env=environment, capture_output=True)
    assert result.stderr.decode() == ""
    return result.stdout.decode().split()


def test_later_runs_load_the_cached_code(tmp_path):
    (tmp_path / "callee.py").write_text(CALLEE)
    (tmp_path / "script.py").write_text(SCRIPT)
    assert run(tmp_path) == ["5", "0"]
    assert run(tmp_path) == ["5", "1"]


def test_no_folder_to_write_to(tmp_path):
    (tmp_path / "callee.py").write_text(CALLEE)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "__pycache__").touch()  # a folder that even root cannot write to
    assert run(tmp_path, XDG_CACHE_HOME="/proc/none") == ["5", "0"]
    (tmp_path / "cache").mkdir()
    assert run(tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")) == ["5", "0"]
    assert list((tmp_path / "cache" / "numba").rglob("*.nbi"))


def test_a_change_in_another_file_is_noticed(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    shutil.copy(compiled.__file__, package)
    callee = CALLEE.replace("deepspeech.beam_search", "package")
    (package / "callee.py").write_text(callee)
    script = SCRIPT.replace("callee", "package.callee").replace("deepspeech.beam_search", "package")
    (package / "caller.py").write_text(script)
    (tmp_path / "script.py").write_text("import package.caller")
    assert run(tmp_path) == ["5", "0"]
    assert run(tmp_path) == ["5", "1"]
    (package / "callee.py").write_text(callee.replace("x + 1", "x + 10"))
    assert run(tmp_path) == ["23", "0"]


def test_numba_loads_with_the_first_beam_search_only(tmp_path):
    (tmp_path / "script.py").write_text("import sys, deepspeech\nprint('numba' in sys.modules)")
    assert run(tmp_path) == ["False"]
