from __future__ import annotations

import sys

import pytest

from ecg_hub.utils.text import print_pairs, print_table, text_table
from tests.support.terminals import in_terminal

LONG = "x" * 300
NAMES = ("random:ecg-cpc-tiny", "ptbxl_super", "mimic-iv-ecg", "0.614 [0.549, 0.679]")


def scores(count: int = 2) -> list[dict[str, object]]:
    tasks = ("ptbxl_super", "ptb", "sph", "mimic_noncardiac")[:count]
    return [{"task": task, "score": f"0.{k}14 [0.549, 0.679]", "metric": "auroc"} for k, task in enumerate(tasks)]


def test_in_a_file_tables_are_aligned_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"name": "a", "labels": 71, "note": LONG}, {"name": "long name", "labels": 5, "note": None}])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name       labels  note"
    assert lines[1] == f"a              71  {LONG}"
    assert lines[2] == "long name       5  -"


def test_booleans_read_as_words_and_are_no_numbers() -> None:
    text = text_table([{"long heading": True, "b": "[x]"}, {"long heading": False, "b": "y"}])
    assert text.splitlines() == ["long heading  b", "yes           [x]", "no            y"]


def test_numbers_stand_right() -> None:
    assert text_table([{"a": 1, "b": "x"}, {"a": 22, "b": "yy"}]) == " a  b\n 1  x\n22  yy"


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], title="models")
    print_table([])
    assert capsys.readouterr().out == "no models\nnothing\n"


def test_what_all_rows_share_stands_below_once() -> None:
    text = text_table(scores(3))
    assert text.splitlines()[0].split() == ["task", "score"]
    assert text.splitlines()[-1] == "in all rows: metric auroc"
    assert text.count("auroc") == 1
    assert "metric" in text_table(scores(3), keep=["metric"]).splitlines()[0]


def test_a_row_that_a_column_does_not_apply_to_does_not_count() -> None:
    failed = {"task": "code15", "score": "-", "metric": ""}
    assert "in all rows: metric auroc" in text_table([*scores(), failed])


def test_nothing_is_said_of_a_column_without_values() -> None:
    assert "metric" not in text_table([{**row, "metric": None} for row in scores()])


def test_a_single_row_stays_a_row_unless_some_columns_are_to_be_kept() -> None:
    assert text_table(scores(1)).splitlines()[0].split() == ["task", "score", "metric"]
    assert text_table(scores(1), keep=["task", "score"]).splitlines()[2:] == ["", "metric auroc"]


def test_notes_stand_below_once_with_the_rows_they_hold_for() -> None:
    why = [["limit=96", "labels=4/71"], ["limit=96"], None, ["limit=96", "labels=4/71", "epochs=2"]]
    rows = [{**row, "deviations": of} for row, of in zip(scores(4), why, strict=True)]
    lines = text_table(rows, keep=["task", "metric"], notes=["deviations"]).splitlines()
    assert [line.split()[-1] for line in lines[1:5]] == ["1", "auroc", "auroc", "1,2"]
    assert lines[6:] == ["deviations: limit=96", "1  deviations: labels=4/71", "2  deviations: epochs=2"]


def test_no_deviation_anywhere_is_worth_saying_and_no_reason_is_not() -> None:
    rows = [{**row, "deviations": [], "reason": None} for row in scores()]
    assert text_table(rows, notes=["deviations", "reason"]).splitlines()[-1] == "deviations: none"


@pytest.mark.parametrize("width", [80, 60, 40, 32])
def test_names_and_scores_are_never_broken_at_any_width(width: int) -> None:
    rows = [
        {"model": NAMES[0], "task": f"{NAMES[1]}_{k}", "data": NAMES[2], "records": 10**k, "score": NAMES[3], "x": k}
        for k in range(3)
    ]
    text = text_table(rows, width, keep=["model", "data", "score"])
    for name in NAMES:
        assert text.count(name) >= 3
    assert max(map(len, text.splitlines())) <= width


def test_too_many_columns_go_on_below_with_the_names_again() -> None:
    rows = [{"task": "ptb", "mode": mode, **{f"c{k}": f"{mode}-{k}-text" for k in range(6)}} for mode in ("aa", "bb")]
    parts = text_table(rows, 60, keep=["task"]).split("\n\n")
    assert [part.splitlines()[0].split()[:2] for part in parts] == [["task", "mode"]] * 2
    assert [line.split()[:2] for line in parts[1].splitlines()[1:]] == [["ptb", "aa"], ["ptb", "bb"]]


def test_prose_and_heads_are_wrapped_between_words() -> None:
    rows = [{"name": "ptb-xl", "licence of the weights": "as stated by Zenodo record 14881564", "n": k} for k in (1, 2)]
    text = text_table(rows, 40, keep=list(rows[0]), prose=["licence of the weights"])
    assert max(map(len, text.splitlines())) <= 40
    assert set(text.split()) == {"name", "licence", "of", "the", "weights", "n", "ptb-xl", "as", "stated", "by",
                                 "Zenodo", "record", "14881564", "1", "2"}  # fmt: skip


def test_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs({"a": 1, "longer": LONG, "none": None})
    assert capsys.readouterr().out.splitlines() == ["a       1", f"longer  {LONG}", "none    -"]
    print_pairs({})
    assert capsys.readouterr().out == ""


PROGRAM = (
    "from ecg_hub.utils.text import print_pairs, print_table\n"
    "print_table([{'name': 'ptbxl_super', 'note': '[bold]word ' * 30}], title='tasks', prose=['note'])\n"
    "print_pairs({'labels': 'PRC(S) [x] ' * 30})\n"
)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_everything_is_still_there() -> None:
    written = in_terminal(["-c", PROGRAM], 60)
    assert "\x1b[1m" in written.text
    assert "ptbxl_super" in written.plain
    assert written.plain.count("[bold]word") == 30
    assert written.plain.count("PRC(S)") == 30
    assert "…" not in written.plain
    assert max(len(line) for line in written.plain.splitlines()) <= 60


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("name", ["NO_COLOR", "TERM"])
def test_no_escapes_where_the_environment_says_so(name: str) -> None:
    written = in_terminal(["-c", PROGRAM], 60, **{name: "dumb"})
    assert "\x1b" not in written.text
    assert max(len(line) for line in written.text.splitlines()) <= 60
