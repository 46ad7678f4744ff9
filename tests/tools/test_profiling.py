"""train.py --profile: a trace that loads, and a summary whose shares add up."""

import json
import re
from collections import Counter

import pytest

from deepspeech.tools.profiling import STAGES
from tests.conftest import load_script


@pytest.mark.parametrize("flags", [[], ["--features-on-device", "--spec-augment"]])
def test_profile_writes_a_trace_and_a_summary_of_one_screen(corpus, tmp_path, capsys, flags):
    network = "--hidden-size 8 --hidden-layers 2 --batch-size 6 --num-workers 0 --precision fp32".split()
    flags = [*flags, *network, "--save-folder", str(tmp_path), "--profile", "3"]
    assert load_script("train.py").main([*corpus.flags(), *flags]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 30
    assert re.search(r"^3 steps in [0-9.]+ s", shown, re.MULTILINE)
    shares = dict(re.findall(r"^(\w[\w ]*?) +[0-9.]+ ms a step +([0-9.]+)%", shown, re.MULTILINE))
    assert list(shares) == [*STAGES, "other"]
    assert sum(map(float, shares.values())) == pytest.approx(100, abs=1)
    assert all(float(shares[stage]) > 0 for stage in ("conv", "recurrent", "backward"))
    events = json.loads((tmp_path / "profile.json").read_text())["traceEvents"]
    names = Counter(event.get("name") for event in events)
    assert names["recurrent"] == 3 * 2  # steps x layers
    for stage in ("data wait", "conv", "ctc", "backward", "optimiser"):
        assert names[stage] == 3, stage
    assert (names["features"] > 0) == ("--features-on-device" in flags)
    assert {path.name for path in tmp_path.iterdir()} == {"profile.json"}
