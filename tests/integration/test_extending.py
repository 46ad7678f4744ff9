"""The examples of docs/extending.md, run one after the other as a reader would."""

import re

from tests.conftest import ROOT


def test_every_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.json").write_bytes((ROOT / "labels.json").read_bytes())
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(examples) == page.count("\n## ")
    names = {"__name__": "extending"}
    for number, example in enumerate(examples):
        assert "assert " in example
        exec(compile(example, f"docs/extending.md, example {number + 1}", "exec"), names)
