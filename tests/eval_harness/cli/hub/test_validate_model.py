"""`ecg-hub validate-model`: a table or JSON, and exit code 1 if a check fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval_harness.cli.hub.main import main

MODULE = """\
from torch import nn

class Encoder(nn.Module):
    sampling_rate, input_seconds = 100, 2

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(12, 32, 20, 10)

    def encode(self, x):
        return self.conv(x{change}).transpose(1, 2)
"""


@pytest.mark.parametrize(("change", "code"), [("", 0), (".nan_to_num()", 1)])
def test_it_prints_a_row_for_each_check(
    change: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "encoder.py"
    file.write_text(MODULE.format(change=change))
    assert main(["validate-model", f"{file}:Encoder"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["check", "result", "seen"]
    (nan,) = [line for line in lines if line.startswith("NaN ")]
    assert nan.split()[1] == ("failed" if code else "ok")
    assert lines[-1] == f"{18 - code} ok, {code} failed, 0 warning, 3 not applicable"


def test_json_has_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate-model", str(tmp_path / "absent"), "--json"]) == 1
    (check,) = json.loads(capsys.readouterr().out)
    assert (check["check"], check["status"]) == ("loads", "failed")
    assert "There is no folder" in check["seen"]


def test_a_file_without_a_name_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate-model", "encoder.py"]) == 1
    assert "write encoder.py:NAME" in " ".join(capsys.readouterr().out.split())
