from __future__ import annotations

import pytest

from eval_harness.results.schema import Estimate, RecordCounts, Result
from eval_harness.results.summary import print_summary, score_text, seed_rows, summary_rows, summary_text
from tests.support.results import failed, result

PART = "records=106/17418 train; 30/2183 validation; 24/2198 test"


def with_records(made: Result, **records: int) -> Result:
    assert made.data is not None
    return made.model_copy(update={"data": made.data.model_copy(update={"records": RecordCounts(**records)})})


def test_a_row_says_all_there_is_to_know() -> None:
    assert summary_rows([result()]) == [
        {
            "task": "ptbxl_super",
            "model": "random:ecg-cpc",
            "mode": "linear",
            "seed": "0",
            "metric": "macro_auroc",
            "score": "0.610 [0.500, 0.710]",
            "classes": "4",
            "labels": "4/5",
            "test set": "clean",
            "status": "done",
            "deviations": ["epochs=3", PART],
            "reason": None,
        }
    ]


def test_failed_and_skipped_rows_have_their_reason() -> None:
    row = summary_rows([failed("no folder ptb-xl", protocol={"name": "paper"})])[0]
    assert (row["status"], row["reason"]) == ("failed", "no folder ptb-xl")
    assert (row["deviations"], row["score"]) == (None, "-")
    for column in ("metric", "classes", "labels", "test set"):
        assert row[column] == ""


def test_another_protocol_than_the_published_one_is_named_beside_the_score() -> None:
    whole = {"train": 17418, "validation": 2183, "test": 2198}
    for deviations, parts in (({}, ["protocol fast"]), ({"epochs": 3}, ["protocol fast", "epochs=3"])):
        made = result(protocol={"name": "fast", "deviations": deviations})
        (row,) = summary_rows([with_records(made, **whole)])
        assert row["deviations"] == parts


def test_part_of_a_release_is_said_of_results_that_could_not_say_it() -> None:
    """Schema 1.0 to 1.2 had no place for it; their counts show it, or nobody knows."""
    made = result(protocol={"name": "paper"})
    assert summary_rows([made])[0]["deviations"] == [PART]
    assert made.data is not None
    other = made.model_copy(update={"data": made.data.model_copy(update={"name": "cpsc2018"})})
    assert summary_rows([other])[0]["deviations"] == ["records=unknown"]


def test_what_differs_between_rows_is_a_column() -> None:
    other = result(seed=1, model={"id": "ecg-cpc", "preset": "benchmark"})
    rows = summary_rows([result(), other])
    assert [(row["model"], row["seed"]) for row in rows] == [("random:ecg-cpc", "0"), ("ecg-cpc", "1")]
    assert summary_text([result(), other]).splitlines()[0].split() == ["task", "model", "seed", "score"]
    assert summary_text([result(), result(mode="frozen")]).splitlines()[0].split() == ["task", "mode", "score"]


def test_regression_rows_show_the_error() -> None:
    row = summary_rows([result(metrics={"mae": {"point": 0.7, "low": 0.6, "high": 0.8}, "macro_mae": {"point": 1.0}})])[
        0
    ]
    assert (row["metric"], row["score"], row["classes"]) == ("mae", "0.700 [0.600, 0.800]", "")


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (None, "-"),
        (Estimate(point=None), "-"),
        (Estimate(point=0.5), "0.500"),
        (Estimate(point=0.12345, low=0.1, high=0.2), "0.123 [0.100, 0.200]"),
    ],
)
def test_scores_in_words(estimate: Estimate | None, text: str) -> None:
    assert score_text(estimate) == text


def test_printed_with_a_count_of_each_status(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary([result(), failed("x" * 200), failed("no weights", status="skipped")])
    text = capsys.readouterr().out
    assert text.count("x" * 200) == text.count("no weights") == 1
    assert [line.split()[2:] for line in text.splitlines()[2:4]] == [["failed", "1"], ["skipped", "2"]]
    assert text.splitlines()[-1] == "1 done, 1 failed, 1 skipped"


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary([])
    assert "no results" in capsys.readouterr().out


def test_of_what_a_run_lacks_the_table_says_what_and_not_again_how_to_get_it() -> None:
    lacking = failed(
        "no data: The folder 'x/ptb' of 'ptb' does not exist. Get PTB from a page.\nmore", status="skipped"
    )
    text = summary_text([result(), lacking])
    assert "no data: The folder 'x/ptb' of 'ptb' does not exist\n" in text
    assert "Get PTB" not in text


def with_point(point: float, seed: int, **deviations: int) -> Result:
    return result(
        seed=seed,
        protocol={"name": "paper", "deviations": deviations},
        metrics={"macro_auroc": {"point": point, "low": 0.0, "high": 1.0, "classes": 4}},
    )


def test_the_spread_over_seeds_is_of_runs_that_differ_in_the_seed_alone() -> None:
    """Folders of several calls are read together: another number of epochs or a limit is no other seed."""
    long = [with_point(0.8, 0), with_point(0.84, 1, micro_batch=8)]
    (row,) = seed_rows([*long, with_point(0.3, 2, epochs=1), with_point(0.4, 0, limit=20)])
    assert (row["seeds"], row["score"]) == ("0, 1", "0.820 +- 0.028 (0.800 to 0.840)")
    assert "epochs" not in row["deviations"]
    assert "deviations" not in seed_rows(long)[0], "of one group nothing has to be told apart"
    assert seed_rows([with_point(0.8, 0), with_point(0.3, 1, epochs=1)]) == []
    rows = seed_rows([*long, with_point(0.3, 0, epochs=1), with_point(0.5, 1, epochs=1)])
    assert ["epochs=1" in row["deviations"] for row in rows] == [False, True]
