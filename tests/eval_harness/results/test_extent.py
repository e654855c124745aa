"""A result says of how much of the release it is, and cannot hide it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataset_scripts import catalog
from dataset_scripts.catalog import datasets, get
from dataset_scripts.core.spec import Release
from eval_harness.analyses.files import write_analysis
from eval_harness.analyses.studies import part_of_release
from eval_harness.config.options import RunOptions
from eval_harness.publish.checks import check_run
from eval_harness.publish.push import prepare
from eval_harness.report.content import find_content
from eval_harness.report.page import ReportOptions, write_report
from eval_harness.results.extent import deviations_of, extent_of, partial_words
from eval_harness.results.folders import read_found
from eval_harness.results.schema import Result
from eval_harness.results.verify import verify
from eval_harness.runner.run import evaluate
from eval_harness.tasks.registry import tasks
from tests.support.analyses import robustness
from tests.support.board import made_up, write_scored


def used(made: Result, **records: int) -> Result:
    """The result with other records used."""
    assert made.data is not None
    counts = made.data.records.model_copy(update=records)
    return made.model_copy(update={"data": made.data.model_copy(update={"records": counts})})


def older(made: Result) -> Result:
    """The result as a schema before 1.3 held it."""
    assert made.data is not None
    return made.model_copy(update={"data": made.data.model_copy(update={"release": None})})


class TestResult:
    @pytest.mark.parametrize("task", sorted(tasks()))
    def test_all_of_every_release_is_whole(self, task: str) -> None:
        made = made_up("ecg-cpc", task)
        assert extent_of(made).state == "whole"
        assert deviations_of(made) == {}
        assert partial_words(made) == []

    @pytest.mark.parametrize("task", ["ptbxl_super", "cpsc2018"])
    def test_fewer_records_than_the_copy_holds(self, task: str) -> None:
        """A limit, a subset for label efficiency and too long windows all come down to this."""
        made = used(made_up("ecg-cpc", task), test=273)
        whole = made_up("ecg-cpc", task).data
        assert whole is not None
        assert deviations_of(made) == {"records": f"273/{whole.records.test} test"}
        assert partial_words(made) == [f"partial, so it gets no rank: records=273/{whole.records.test} test"]

    def test_an_older_result_is_judged_by_its_counts(self) -> None:
        assert extent_of(older(made_up("ecg-cpc", "ptbxl_super"))).state == "whole"
        part = older(used(made_up("ecg-cpc", "ptbxl_super"), train=1978, validation=251, test=261))
        expected = "1978/17418 train; 251/2183 validation; 261/2198 test"
        assert deviations_of(part) == {"records": expected}
        nobody_knows = older(made_up("ecg-cpc", "cpsc2018"))
        assert extent_of(nobody_knows).state == "unknown"
        assert deviations_of(nobody_knows) == {"records": "unknown"}
        assert "nobody can tell" in partial_words(nobody_knows)[0]

    def test_the_version_of_an_older_result_decides(self) -> None:
        protocol = {"name": "paper", "deviations": {"version": "1.0.1"}}
        assert extent_of(older(made_up("ecg-cpc", "ptbxl_super", protocol=protocol))).state == "unknown"

    def test_simulated_and_own_data_are_not_compared(self) -> None:
        synthetic = {"name": "paper", "deviations": {"synthetic": True}}
        made = used(made_up("ecg-cpc", "ptbxl_super", protocol=synthetic), test=3)
        assert extent_of(made).state == "not compared"
        own = made_up("ecg-cpc", "ptbxl_super")
        assert own.data is not None
        own = own.model_copy(update={"data": own.data.model_copy(update={"name": "my-archive", "release": None})})
        assert (extent_of(own).state, deviations_of(own)) == ("not compared", {})


class TestRun:
    """A run on a tree that does not say it is simulated."""

    @pytest.fixture
    def real(self, data_root: Path, tmp_path: Path) -> Path:
        root = tmp_path / "root"
        shutil.copytree(data_root, root)
        (root / "ptb-xl" / "mock.json").unlink()
        return root

    def run(self, options: Callable[..., RunOptions], real: Path, **changes: Any) -> Result:
        made = options(models=("trivial",), data_root=str(real), **changes)
        (result,) = evaluate(made, quiet=True)
        assert result.status == "done", result.reason
        return result

    @pytest.mark.heavy
    def test_part_of_the_release(self, options: Callable[..., RunOptions], real: Path) -> None:
        result = self.run(options, real)
        assert result.data is not None
        assert result.data.release is not None
        counts = result.data.records
        said = f"{counts.train}/17418 train; {counts.validation}/2183 validation; {counts.test}/2198 test"
        assert result.protocol.deviations["records"] == said
        assert result.data.release.records == counts
        assert set(result.data.release.label_sha256) == {"label_super"}

    @pytest.mark.heavy
    def test_all_of_it_and_a_limit(
        self, options: Callable[..., RunOptions], real: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        held = self.run(options, real, output=tmp_path / "first").data
        assert held is not None
        assert held.release is not None
        release = Release(
            version="1.0.3", records=held.release.read, split_sizes=held.records.model_dump(),
            label_hashes=held.release.label_sha256, fold_sha256=held.release.fold_sha256,
        )  # fmt: skip
        known = {**datasets(), "ptb-xl": replace(get("ptb-xl"), releases=(release,))}
        monkeypatch.setattr(catalog, "datasets", lambda: known)
        whole = self.run(options, real, output=tmp_path / "whole")
        assert "records" not in whole.protocol.deviations
        assert extent_of(whole).state == "whole"
        limited = self.run(options, real, output=tmp_path / "limited", limit=10)
        sizes = held.records
        said = f"10/{sizes.train} train; 10/{sizes.validation} validation; 10/{sizes.test} test"
        assert limited.protocol.deviations["records"] == said
        assert limited.protocol.deviations["limit"] == 10


class TestChecks:
    def problems(self, folder: Path, edit: Callable[[dict[str, Any]], None] | None = None) -> str:
        path = folder / "ptbxl_super.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        if edit is not None:
            edit(content)
        path.write_text(json.dumps(content), encoding="utf-8")
        return "\n".join(str(finding) for finding in check_run(read_found(folder), tasks())[1])

    def test_a_part_that_says_so_passes_and_is_noted(self, tmp_path: Path) -> None:
        folder = write_scored(tmp_path)
        assert self.problems(folder) == ""
        notes = prepare([read_found(folder)], tasks()).notes
        words = "partial, so it gets no rank: records=10/2183 validation; 40/2198 test"
        assert any(note.endswith(words) for note in notes)
        (check,) = verify(read_found(folder), tasks())
        assert (check.state, check.notes) == ("equal", (words,))

    def test_a_part_that_hides_it_is_refused(self, tmp_path: Path) -> None:
        folder = write_scored(tmp_path)
        found = self.problems(folder, lambda content: content["protocol"]["deviations"].pop("records"))
        assert "its data have records=10/2183 validation; 40/2198 test, and its deviations do not say so" in found

    def test_counts_that_the_predictions_do_not_hold_are_refused(self, tmp_path: Path) -> None:
        def claim(content: dict[str, Any]) -> None:
            content["protocol"]["deviations"].pop("records")
            for records in (content["data"]["records"], content["data"]["release"]["records"]):
                records |= {"validation": 2183, "test": 2198}

        found = self.problems(write_scored(tmp_path), claim)
        assert "validation records: 2183 in the result, 10 in the predictions" in found
        assert "test records: 2198 in the result, 40 in the predictions" in found

    def test_a_part_that_is_none_is_refused(self, tmp_path: Path) -> None:
        def whole(content: dict[str, Any]) -> None:
            content["data"]["records"] |= {"validation": 2183, "test": 2198}
            content["data"]["release"]["records"] = content["data"]["records"]

        assert "its counts say all of the release" in self.problems(write_scored(tmp_path), whole)

    def test_more_records_than_its_copy_holds_are_refused(self, tmp_path: Path) -> None:
        found = self.problems(
            write_scored(tmp_path), lambda content: content["data"]["release"]["records"].update(test=39)
        )
        assert "it used 40 test records, and its copy of the data holds 39" in found

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"label_sha256": {"label_super": "0" * 64}}, "release_labels=label_super other than 1.0.3"),
            ({"fold_sha256": "0" * 64}, "release_folds=other than 1.0.3"),
        ],
    )
    def test_other_labels_or_folds_must_be_said(self, tmp_path: Path, change: dict[str, Any], expected: str) -> None:
        def forge(content: dict[str, Any]) -> None:
            content["data"]["release"] |= {"records": {"train": 17418, "validation": 2183, "test": 2198}, **change}

        found = self.problems(write_scored(tmp_path), forge)
        assert f"its data have {expected}, and its deviations do not say so" in found


class TestReport:
    def written(self, folder: Path, runs: tuple[Path, ...], *more: Path) -> str:
        target = folder / "report.html"
        write_report(find_content(runs, more), target, ReportOptions())
        return target.read_text(encoding="utf-8")

    def test_a_notice_stands_above_the_scores(self, tmp_path: Path) -> None:
        text = self.written(tmp_path, (write_scored(tmp_path / "run"),))
        assert "Part of a dataset." in text
        assert "ptbxl_super 10/2183 validation; 40/2198 test." in text
        assert "records=10/2183 validation; 40/2198 test" in text, "beside the score"

    def test_simulated_data_have_their_own_notice(self, tmp_path: Path) -> None:
        assert "Part of a dataset." not in self.written(tmp_path, (write_scored(tmp_path / "run", mock=True),))

    def test_an_analysis_says_it_too(self, tmp_path: Path) -> None:
        said = "1978/17418 train; 261/2198 test"
        write_analysis(tmp_path / "robustness_ptbxl_super.json", robustness(part_of_release=said))
        assert f"Part of a dataset&#x27;s release: {said}." in self.written(tmp_path, (), tmp_path)

    def test_the_fractions_of_a_study_are_no_part_but_a_smaller_copy_is(self) -> None:
        drawn = used(made_up("ecg-cpc", "ptbxl_super"), train=2177)
        assert part_of_release([drawn]) is None
        assert drawn.data is not None
        assert drawn.data.release is not None
        counts = drawn.data.records.model_copy(update={"test": 261})
        release = drawn.data.release.model_copy(update={"records": counts})
        data = drawn.data.model_copy(update={"records": counts, "release": release})
        smaller = drawn.model_copy(update={"data": data})
        assert part_of_release([smaller, smaller]) == "ptb-xl 2177/17418 train; 261/2198 test"
