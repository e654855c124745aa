"""`ecg-hub bench`: its arguments and the forms of its output."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pytest

from ecg_hub.catalog import models
from ecg_hub.errors import InputError, UnknownNameError
from eval_harness.cli.hub import bench as hub_bench
from eval_harness.cli.hub.bench import markdown

QUICK = ["--seconds", "0.001", "--threads", "1", "--batch-size", "1,2"]


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    hub_bench.register(parser.add_subparsers())
    args = parser.parse_args(["bench", *words])
    return int(args.run(args))


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("random:s4-tiny,random:net1d-tiny", *QUICK) == 0
    out, err = capsys.readouterr()
    header, *lines, last = out.splitlines()
    assert header.split("  ")[0] == "model"
    assert [line.split()[0] for line in lines] == ["random:s4-tiny", "random:net1d-tiny"]
    for column in ("parameters", "MACs per record", "records/s, batch 1", "records/s, batch 2", "peak MB, batch 2"):
        assert column in header
    assert last.startswith("preset benchmark, cpu, 1 thread, float32, torch ")
    assert err.splitlines() == ["1/2 random:s4-tiny", "2/2 random:net1d-tiny"]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("random:s4-tiny", "--format", "json", "--batch-size", "3", *QUICK[:4]) == 0
    out, err = capsys.readouterr()
    [cost] = json.loads(out)
    assert cost["model"] == "random:s4-tiny"
    assert [speed["batch_size"] for speed in cost["speeds"]] == [3]
    assert cost["macs"] > 1e6
    assert err == ""


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("random:s4-tiny", "--format", "markdown", *QUICK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert lines[2].startswith("| random:s4-tiny | ")
    assert markdown([{"model": "a", "n": 1}]) == "| model | n |\n| --- | ---: |\n| a | 1 |"


def test_all_is_every_model() -> None:
    assert hub_bench._names(["all", "random:s4-tiny", "ecg-cpc"]) == (*models(), "random:s4-tiny")


def test_names_are_checked_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError, match=r"'net1e'.*net1d"):
        run("random:s4-tiny,net1e", *QUICK)
    assert capsys.readouterr() == ("", "")


def test_wrong_batch_size() -> None:
    with pytest.raises(InputError, match="whole numbers, not 'many'"):
        run("random:s4-tiny", "--batch-size", "many")


def test_help_and_wrong_names_need_no_torch() -> None:
    code = """
import argparse, sys
from ecg_hub.errors import UnknownNameError
from eval_harness.cli.hub import bench as hub_bench
parser = argparse.ArgumentParser()
hub_bench.register(parser.add_subparsers())
parser.format_help()
args = parser.parse_args(["bench", "ecg-jeppa"])
try:
    args.run(args)
except UnknownNameError:
    sys.exit("torch" in sys.modules or "transformers" in sys.modules)
sys.exit(2)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
