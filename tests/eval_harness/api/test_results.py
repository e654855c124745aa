"""Results and comparisons as tables, and read from folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecg_hub.errors import InputError, UnknownNameError
from eval_harness import Results, compare_models, read_results
from eval_harness.results.table import OF_LABELS, TYPES
from tests.support.board import write_scored
from tests.support.results import failed, predictions, result


@pytest.fixture
def some() -> Results:
    rows = [result(), failed("no data\nsecond line", task="ptbxl_form"), result(mode="frozen")]
    return Results(rows, [Path(f"results/x/{row.mode}") for row in rows], Path("results"))


def test_a_row_per_result_with_its_interval(some: Results) -> None:
    frame = some.to_frame()
    assert list(frame.columns) == [name for name in TYPES if name not in OF_LABELS]
    assert frame["status"].tolist() == ["done", "failed", "done"]
    done = frame.iloc[0]
    assert (done["metric"], done["point"], done["low"], done["high"], done["n"]) == ("macro_auroc", 0.61, 0.5, 0.71, 24)
    assert done["deviations"].startswith("epochs=3, ")
    assert frame[["point", "low", "high"]].dtypes.tolist() == [np.dtype("float64")] * 3
    assert np.isnan(frame["point"][1])
    assert some.to_frame(per_label=True)["label"].dropna().unique().tolist() == ["NORM"]
    assert frame["reason"][1] == "no data\nsecond line"


def test_all_metrics_are_further_rows(some: Results) -> None:
    frame = some.to_frame(metrics="all")
    assert frame["metric"].value_counts().to_dict() == {"macro_auroc": 2, "macro_auroc_paper": 2, "macro_auprc": 2}
    assert len(frame) == 7, "what failed keeps its row"
    with pytest.raises(UnknownNameError, match=r"Unknown choice of metrics 'alll'. Did you mean 'all'"):
        some.to_frame(metrics="alll")  # type: ignore[arg-type]


def test_it_reads_as_a_table_and_as_html(some: Results) -> None:
    text = repr(some)
    assert text.splitlines()[1].split()[:4] == ["ptbxl_super", "linear", "0.610", "[0.500,"]
    assert text.endswith("2 done, 1 failed, in 'results'")
    markup = Results([failed("<script>")], [Path("x")], Path("x"))._repr_html_()
    assert "<td>failed</td>" in markup
    assert "&lt;script&gt;" in markup
    assert some._repr_html_().count("<td>0.610 [0.500, 0.710]</td>") == 2


def test_it_is_a_list_of_results(some: Results) -> None:
    assert len(some) == 3
    assert some[0].task == "ptbxl_super"
    assert isinstance(some[1:], Results)
    assert [row.status for row in some[1:]] == ["failed", "done"]
    assert some.failed.folders == (Path("results/x/linear"),)
    assert len(some + some.done) == 5


def test_folders_are_read_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = predictions()
    for seed, model in enumerate(("first", "second")):
        drawn = np.random.default_rng(seed).random(given.y_prob.shape).astype(np.float32)
        write_scored(tmp_path / model, model, given=replace(given, y_prob=drawn))
    read = read_results(tmp_path)
    assert {row.model.id for row in read} == {"first", "second"}
    assert len(read.runs()) == 2
    compared = read.compare(resamples=50)
    frame = compared.to_frame()
    assert frame["rank"].tolist()[0] == 1
    assert np.isnan(frame["behind"][0])
    assert frame["behind"][1] == pytest.approx(frame["point"][0] - frame["point"][1])
    pairs = compared.pairs()
    assert pairs.shape[0] == 1
    assert pairs["difference"][0] == frame["behind"][1]
    assert "1 pair; ptbxl_super: resampled by patient" in repr(compared)
    assert compared._repr_html_().count("<tr") == 3
    # A folder named twice, as it is and from here, is one run.
    monkeypatch.chdir(tmp_path)
    here = Results(read, [Path(folder.name) for folder in read.folders], Path())
    both = compare_models("first", read, tmp_path / "second", here, resamples=50).to_frame()
    assert sorted(both["model"]) == sorted(frame["model"])
    assert read.predictions(0).part("test").y_prob.shape[1] == 5


def test_what_is_no_folder_of_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no run\.json"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="No folder was given"):
        read_results()
    with pytest.raises(InputError, match="Nothing to compare"):
        compare_models()
