"""The tidy table of results: rows, columns and types, whatever the results are given as."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ecg_hub.errors import InputError
from eval_harness.results.schema import LabelResult
from eval_harness.results.table import OF_LABELS, TYPES, results_frame
from tests.support.results import failed, result


def test_a_row_for_every_metric_says_what_it_was_made_with() -> None:
    frame = results_frame(result())

    assert list(frame.columns) == [name for name in TYPES if name not in OF_LABELS]
    assert list(frame["metric"]) == ["macro_auroc", "macro_auroc_paper", "macro_auprc"]
    first = frame.iloc[0]
    assert (first["point"], first["low"], first["high"], first["n"], first["classes"]) == (0.61, 0.5, 0.71, 24, 4)
    assert (first["protocol"], first["seed"], first["dataset"], first["contamination"]) == (
        "paper",
        0,
        "ptb-xl",
        "clean",
    )
    assert (first["weights_sha256"], first["data_fingerprint"]) == ("a" * 64, "f" * 16)
    assert "epochs=3" in first["deviations"]
    assert not first["simulated"]


def test_a_task_that_failed_has_one_row_with_its_reason_and_no_number() -> None:
    frame = results_frame([result(), failed("no data", task="ptb")])

    row = frame.iloc[-1]
    assert len(frame) == 4
    assert (row["task"], row["status"], row["reason"]) == ("ptb", "failed", "no data")
    assert pd.isna(row["metric"])
    assert pd.isna(row["point"])
    assert pd.isna(row["n"])


def test_labels_are_rows_of_their_own_with_their_records() -> None:
    frame = results_frame(result(), per_label=True)

    assert list(frame.columns) == list(TYPES)
    assert list(frame["metric"]) == ["auroc", "auprc"]
    assert set(frame["label"]) == {"NORM"}
    assert (frame["n"].iloc[0], frame["positives"].iloc[0]) == (24, 9)


def test_errors_in_clinical_units_name_the_unit_and_those_of_z_scores_none() -> None:
    age = {"label": "age", "records": 24, "mae": {"point": 0.4}, "mae_clinical": {"point": 7.1}, "unit": "years"}
    frame = results_frame(result(per_label=[age]), per_label=True).set_index("metric")

    assert pd.isna(frame.loc["mae", "unit"])
    assert frame.loc["mae_clinical", "unit"] == "years"
    assert not frame["higher_is_better"].any()


def test_every_metric_of_a_label_has_a_direction() -> None:
    names = [name for name, field in LabelResult.model_fields.items() if "Estimate" in str(field.annotation)]
    every = {"label": "x", "records": 4, **{name: {"point": 0.5} for name in names}}

    frame = results_frame(result(per_label=[every]), per_label=True)

    assert list(frame["metric"]) == names
    assert frame["higher_is_better"].notna().all()


def test_simulated_results_are_marked() -> None:
    simulated = result(protocol={"name": "paper", "deviations": {"synthetic": True}})

    assert list(results_frame([result(), simulated])["simulated"]) == [False] * 3 + [True] * 3


def test_types_do_not_depend_on_what_the_results_hold() -> None:
    wanted = {name: kind for name, kind in TYPES.items() if name not in OF_LABELS}
    for results in ([], [failed()], [result(seed=3)]):
        assert {name: str(kind) for name, kind in results_frame(results).dtypes.items()} == wanted


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run was made there"):
        results_frame(tmp_path)
