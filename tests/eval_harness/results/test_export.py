"""Results as files: every format holds what the tidy table holds, or what a run prints."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from ecg_hub.errors import InputError
from eval_harness.results.export import ENDINGS, export_table, export_text, format_of
from eval_harness.results.runfile import RUN_FILE
from eval_harness.results.schema import Result
from eval_harness.results.summary import SYNTHETIC
from eval_harness.results.table import results_frame
from tests.support.results import failed, result

RESULTS = [result(), failed('no data: "50 %" & more', task="ptb")]
SIMULATED = [result(protocol={"name": "paper", "deviations": {"synthetic": True}})]


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path) if path.suffix == ".csv" else pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize("per_label", [False, True])
def test_a_table_comes_back_as_it_was(tmp_path: Path, form: str, per_label: bool) -> None:
    third = result(metrics={"macro_auroc": {"point": 1 / 3, "low": None, "high": None, "classes": 4}})
    path = tmp_path / "deeper" / f"scores{ENDINGS[form]}"

    export_table([*RESULTS, third], path, form, per_label)

    wanted = results_frame([*RESULTS, third], per_label)
    found = read(path).astype(wanted.dtypes.to_dict())
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)


def test_the_printed_table_is_written_as_markdown() -> None:
    lines = export_text(RESULTS, "markdown").splitlines()

    assert lines[0].startswith("| task | mode | score | metric |")
    assert "| 0.610 [0.500, 0.710] |" in lines[2]
    assert len(lines) == 4


def test_latex_is_escaped() -> None:
    text = export_text(RESULTS, "latex")

    assert r"0.610 [0.500, 0.710] & macro\_auroc" in text
    assert r"50 \%" in text
    assert r"\& more" in text


@pytest.mark.parametrize("form", ["latex", "markdown"])
def test_simulated_results_are_said_to_be_simulated(form: str) -> None:
    assert SYNTHETIC in export_text(SIMULATED, form)
    assert SYNTHETIC not in export_text(RESULTS, form)


def test_every_row_of_a_simulated_result_says_so() -> None:
    assert pd.read_csv(io.StringIO(export_text(SIMULATED, "csv")))["simulated"].all()


@pytest.mark.parametrize("results", [[], [failed()]])
def test_nothing_finished_is_still_a_table(results: list[Result]) -> None:
    for form in ("csv", "json", "latex", "markdown"):
        assert export_text(results, form)


def test_labels_are_no_printed_table() -> None:
    with pytest.raises(InputError, match="csv, json or parquet, not as latex"):
        export_text(RESULTS, "latex", per_label=True)


def test_a_table_is_not_put_where_results_are_read(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="beside results"):
        export_table(RESULTS, tmp_path / "scores.json", "json")


def test_the_format_follows_from_the_ending() -> None:
    assert [format_of(Path(f"scores{ending}")) for ending in ENDINGS.values()] == list(ENDINGS)
    with pytest.raises(InputError, match=r"'scores\.xlsx': the ending says no format"):
        format_of(Path("scores.xlsx"))
