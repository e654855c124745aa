"""`ecg-hub` on files: embed, predict, convert, and what is refused."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ecg_hub.errors import ExitCode
from ecg_hub.leads import LEADS
from eval_harness.cli.hub.main import main
from tests.support.records import write_record

TINY = "random:ecg-cpc-tiny"


@pytest.fixture
def records(tmp_path: Path) -> list[str]:
    """Two WFDB records of ten seconds at 500 Hz."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        write_record(path, rng.normal(0, 0.3, (12, 5000)), 500, LEADS)
    return [str(path) for path in paths]


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """A saved classifier whose head counts as trained."""
    from ecg_hub import AutoFeatureExtractor, AutoModelForECGClassification

    labels = {0: "NORM", 1: "MI"}
    model = AutoModelForECGClassification.from_pretrained(
        TINY, num_labels=2, id2label=labels, problem_type="multi_label_classification", new_head=True
    )
    model.head_is_new = False
    model.save_pretrained(tmp_path / "classifier")
    AutoFeatureExtractor.from_pretrained(TINY).save_pretrained(tmp_path / "classifier")
    return tmp_path / "classifier"


def test_embed_writes_one_row_per_record_and_names_the_damaged_one(
    records: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "features.parquet"
    assert main(["embed", TINY, *records, "-o", str(target)]) == 0
    table = pq.read_table(target).to_pylist()
    assert [Path(row["record"]).name for row in table] == [Path(r).name for r in records]
    assert all(len(row["features"]) == 32 and row["windows"] == 4 for row in table)
    assert main(["embed", TINY, *records, str(tmp_path / "absent"), "-o", str(target)]) == ExitCode.PARTLY
    captured = capsys.readouterr()
    assert "absent" in captured.err
    assert "1 of 3 records failed" in captured.err
    assert f"{target}: 2 of 3 records, 32 features each" in captured.out
    assert pq.read_table(target).num_rows == 3


def test_a_remedy_is_an_option_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(tmp_path / "two", np.zeros((2, 5000)), 500, LEADS[:2])
    words = ["embed", TINY, str(tmp_path / "two"), "-o", str(tmp_path / "features.parquet")]
    assert main(words) == 1
    assert "Pass --missing-leads zero to feed zeros" in capsys.readouterr().err
    assert main([*words, "--missing-leads", "zero"]) == 0


@pytest.mark.parametrize("kind", ["json", "csv", "table"])
def test_predict_prints_scores(
    kind: str, classifier: Path, records: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(classifier), *records, "--format", kind]) == 0
    text = capsys.readouterr().out
    assert "NORM" in text
    if kind == "json":
        assert len(json.loads(text)["records"]) == 2
    if kind == "csv":
        rows = list(csv.DictReader(text.splitlines()))
        assert all(0 <= float(row["MI"]) <= 1 for row in rows)


def test_predict_writes_a_file_by_its_ending(classifier: Path, records: list[str], tmp_path: Path) -> None:
    target = tmp_path / "scores.csv"
    assert main(["predict", str(classifier), *records, "-o", str(target)]) == 0
    assert target.read_text().startswith("record,windows,NORM,MI")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "scores.txt", "--format", "csv"], "'scores.txt': the file must end in .csv or .json"),
        (["-o", "scores.JSON", "--format", "csv"], "--format csv is not the ending of --output 'scores.JSON'"),
        (["--top-k", "0"], "top_k is 0; allowed: 1 or more"),
        (["--top-k", "-1"], "top_k is -1; allowed: 1 or more"),
        (["--device", "gpu"], "Device 'gpu' cannot be used here"),
        (["--sampling-rate", "nan"], "must be a positive number in Hz, not nan"),
    ],
)
def test_predict_refuses_what_it_cannot_do(
    words: list[str],
    message: str,
    classifier: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # a file that is written all the same must not end up in the repository
    np.savetxt(tmp_path / "record.csv", np.zeros((5000, 12)), delimiter=",", header=",".join(LEADS), comments="")
    assert main(["predict", str(classifier), str(tmp_path / "record.csv"), "--unit", "mV", *words]) == 1
    assert message in capsys.readouterr().err


def test_an_encoder_cannot_predict(records: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", TINY, *records]) == 1
    assert "head" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["info", "ecg-cpd"], 2, "Did you mean 'ecg-cpc'"),
        (["convert", "ecg-cpd", "--checkpoint", "x"], 2, "Did you mean 'ecg-cpc'"),
        (["convert", "ecg-cpc", "--checkpoint", "no-such-file.ckpt"], 1, "no-such-file.ckpt"),
        (["embed", "ecg-cpc", "record", "-o", "x.parquet"], 1, "ecg-hub convert ecg-cpc"),
        (["embed", TINY, "record", "-o", "x.csv"], 1, ".parquet"),
        (["embed", TINY, "record", "-o", "x.parquet", "--num-proc", "4"], 1, "--num-proc 4 goes with --engine ray"),
        (["embed", "ecg-cpc", "record", "-o", "x.parquet", "--seed", "4"], 1, "--seed 4 goes with a model random:NAME"),
    ],
)
def test_errors_are_one_message(
    words: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)  # a file that is written all the same must not end up in the repository
    assert main(words) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_ls_and_info_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--json"]) == 0
    assert "ecg-cpc" in {row["model"] for row in json.loads(capsys.readouterr().out)}
    assert main(["info", "ecg-cpc", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dim"] == 512


# Each process takes six seconds to import.
@pytest.mark.parametrize(
    ("verb", "model"),
    [
        pytest.param("predict", None, marks=pytest.mark.heavy),
        pytest.param("embed", None, marks=pytest.mark.heavy),
        pytest.param("embed", TINY, marks=pytest.mark.heavy),
    ],
)
def test_a_process_of_its_own_knows_the_models(
    verb: str, model: str | None, classifier: Path, records: list[str], tmp_path: Path
) -> None:
    words = [verb, model or str(classifier), *records]
    words += ["-o", str(tmp_path / "features.parquet")] if verb == "embed" else ["--format", "json"]
    program = "import sys; from eval_harness.cli.hub.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "NORM" in done.stdout or "2 records" in done.stdout
