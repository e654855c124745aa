from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ecg_hub.errors import ResultError
from eval_harness.results import schema as results
from eval_harness.results.schema import (
    SCHEMA_VERSION,
    Estimate,
    LabelCoverage,
    read_result,
    result_json_schema,
    utc_now,
    write_result,
)
from tests.conftest import ROOT
from tests.support.results import failed, result


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "ptbxl_super.json"
    write_result(path, result())
    assert read_result(path) == result()


def test_a_file_of_schema_1_0_still_reads(golden: Path) -> None:
    assert read_result(golden / "results" / "result_1.0.json") == result()


def test_keys_are_those_of_the_design() -> None:
    content = result().model_dump(mode="json")
    assert list(content) == [
        "schema_version", "task", "task_version", "run", "status", "reason", "model", "mode", "protocol", "seed",
        "statistics_version", "data", "metrics", "per_label", "subgroups", "predictions", "timings_s", "environment",
        "created",
    ]  # fmt: skip
    assert content["schema_version"] == SCHEMA_VERSION


class TestNumbers:
    def test_nan_becomes_null(self, tmp_path: Path) -> None:
        path = tmp_path / "x.json"
        nan = float("nan")
        write_result(path, result(metrics={"macro_auroc": Estimate(point=0.5, low=nan, high=nan, classes=1)}))
        text = path.read_text()
        assert "NaN" not in text
        assert json.loads(text)["metrics"]["macro_auroc"] == {"point": 0.5, "low": None, "high": None, "classes": 1}

    def test_infinity_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="finite"):
            Estimate(point=math.inf)
        with pytest.raises(ValidationError, match="finite"):
            result(timings_s={"train": math.nan})

    def test_nan_in_a_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x.json"
        path.write_text(json.dumps({**result().model_dump(), "seed": float("nan")}))
        with pytest.raises(ResultError, match="NaN is not JSON"):
            read_result(path)


class TestStatus:
    def test_failed_needs_a_reason_and_no_metrics(self) -> None:
        assert failed().data is None
        with pytest.raises(ValidationError, match="needs a reason"):
            failed(reason=None)  # type: ignore[arg-type]
        with pytest.raises(ValidationError, match="must have no metrics"):
            failed(metrics={"macro_auroc": {"point": 0.5}})

    @pytest.mark.parametrize("field", ["data", "metrics", "per_label", "predictions"])
    def test_done_needs_everything(self, field: str) -> None:
        empty: dict[str, Any] = {"data": None, "metrics": {}, "per_label": [], "predictions": None}
        with pytest.raises(ValidationError, match=f"'done' needs {field}"):
            result(**{field: empty[field]})

    def test_others_do_not_exist(self) -> None:
        with pytest.raises(ValidationError, match="'done', 'failed' or 'skipped'"):
            result(status="ok")


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"created": "2026-11-21 20:00"},
        {"task_version": 0},
        {"predictions": {"file": "x", "sha256": "short"}},
        {"model": {"id": "x", "preset": "benchmark", "weights": 1}},
    ],
)
def test_what_the_schema_does_not_know_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        result(**changes)


def test_labels_must_add_up() -> None:
    with pytest.raises(ValidationError, match="4 scored and 0 missing do not make 5 labels"):
        LabelCoverage(published=5, scored=4, missing=[])


def test_now_is_utc_in_whole_seconds() -> None:
    assert result(created=utc_now()).created.endswith("Z")


class TestReading:
    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(ResultError, match=r"absent.json' cannot be read \(No such file"):
            read_result(tmp_path / "absent.json")

    @pytest.mark.parametrize("content", ["", "{", "[1, 2", "\ufeff{}"])
    def test_broken(self, content: str, tmp_path: Path) -> None:
        path = tmp_path / "x.json"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ResultError, match=r"not valid JSON .* Remove it"):
            read_result(path)

    def test_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "x.json"
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ResultError, match="not valid JSON"):
            read_result(path)

    def test_not_an_object(self, tmp_path: Path) -> None:
        path = tmp_path / "x.json"
        path.write_text("[]")
        with pytest.raises(ResultError, match="holds a list; one JSON object is expected"):
            read_result(path)

    def test_all_problems_are_named(self, tmp_path: Path) -> None:
        content = result().model_dump(mode="json")
        del content["task"]
        content["seed"] = "x"
        path = tmp_path / "x.json"
        path.write_text(json.dumps(content))
        with pytest.raises(ResultError, match=r"task: field required; seed: input should be a valid integer"):
            read_result(path)

    @pytest.mark.parametrize("version", ["2.0", None, 1])
    def test_unknown_versions_are_refused_with_the_remedy(self, version: object, tmp_path: Path) -> None:
        path = tmp_path / "x.json"
        path.write_text(json.dumps({**result().model_dump(mode="json"), "schema_version": version}))
        with pytest.raises(ResultError, match=r"this ecg-hub reads 1.0. .* pip install --upgrade ecg-hub"):
            read_result(path)

    def test_older_versions_are_brought_up_step_by_step(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(results.UPGRADES, "0.8", lambda old: {**old, "schema_version": "0.9"})
        monkeypatch.setitem(
            results.UPGRADES,
            "0.9",
            lambda old: {**{k: v for k, v in old.items() if k != "name"}, "task": old["name"], "schema_version": "1.0"},
        )
        content = result().model_dump(mode="json")
        content["name"] = content.pop("task")
        path = tmp_path / "x.json"
        path.write_text(json.dumps({**content, "schema_version": "0.8"}))
        assert read_result(path) == result()


def test_the_schema_in_the_documentation_is_current() -> None:
    path = ROOT / "docs" / "result.schema.json"
    command = (
        "from eval_harness.results.schema import result_json_schema; print(json.dumps(result_json_schema(), indent=1))"
    )
    remedy = f"python -c 'import json; {command}' > docs/result.schema.json"
    assert json.loads(path.read_text(encoding="utf-8")) == result_json_schema(), remedy
