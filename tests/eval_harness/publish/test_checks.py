"""A result that was changed, cut down or borrowed is refused, and the message says in what."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ecg_hub import catalog
from eval_harness.config.protocol import MODES
from eval_harness.publish import checks
from eval_harness.publish.checks import Finding, check_run, content_problems, refusal
from eval_harness.publish.layout import describe
from eval_harness.publish.push import PublishError, entry_bytes, prepare
from eval_harness.results.folders import read_found
from eval_harness.results.runfile import RunFile, fingerprint, write_run
from eval_harness.tasks.registry import tasks
from tests.support.board import made_up, write_scored
from tests.support.results import SUPER, failed, predictions, result


def change(folder: Path, edit: Callable[[dict[str, Any]], None], task: str = "ptbxl_super") -> None:
    path = folder / f"{task}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def change_run(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """As a forger who also fixes the fingerprint would."""
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    edit(content)
    run = RunFile.model_validate(content)
    write_run(folder, run.model_copy(update={"fingerprint": fingerprint(run.settings)}))


def problems(folder: Path) -> str:
    return "\n".join(str(finding) for finding in check_run(read_found(folder), tasks())[1])


def test_an_honest_run_passes(tmp_path: Path) -> None:
    passed, wrong, absent = check_run(read_found(write_scored(tmp_path)), tasks())
    assert [result.task for result in passed] == ["ptbxl_super"]
    assert (wrong, absent) == ([], [])


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("metrics.macro_auroc.point", 0.99, "metrics.macro_auroc.point: 0.99 in the result"),
        ("metrics.macro_auroc.low", 0.4, "metrics.macro_auroc.low"),
        ("per_label.0.positives", 1, "per_label.CD.positives"),
        ("metrics.macro_auroc.point", None, "has no macro_auroc"),
        ("metrics.macro_auroc.point", 1.5, "is no value of this metric"),
        ("task_version", 2, "version 2 of the task"),
        ("run", "ptbxl_all", "read from run 'ptbxl_all'"),
        ("mode", "finetune", "its mode is 'finetune'"),
        ("seed", 4, "its seed is 4"),
        ("model.weights_sha256", "c" * 64, "its model is"),
        ("model.id", "ecg-fm", "its model is"),
        ("data.name", "ptb", "its data are 'ptb'"),
        ("data.fingerprint", "other", "its data fingerprint is 'other'"),
        ("data.contamination", "seen", "by the declared pre-training corpora it is clean"),
        ("data.records.test", 5, "test records: 5 in the result"),
        ("protocol.deviations", {}, "resamples was 50, and the result says 1000"),
        ("protocol.name", "fast", "its protocol is 'fast'"),
        ("protocol.name", "mine", "its protocol is 'mine'"),
        ("predictions.file", "elsewhere.parquet", "its predictions are in"),
        ("predictions.sha256", "d" * 64, "was changed after it was scored"),
    ],
)
def test_a_changed_value_is_refused(tmp_path: Path, path: str, value: Any, expected: str) -> None:
    folder = write_scored(tmp_path)

    def edit(content: dict[str, Any]) -> None:
        *places, last = path.split(".")
        for place in places:
            content = content[int(place) if place.isdigit() else place]
        content[last] = value

    change(folder, edit)
    assert expected in problems(folder)


def test_hidden_epochs_are_found(tmp_path: Path) -> None:
    folder = write_scored(tmp_path)
    change_run(folder, lambda run: run["settings"]["protocol_values"].update(epochs=5))
    assert "epochs was 5, and the result says 100" in problems(folder)


def test_a_removed_result_is_found(tmp_path: Path) -> None:
    folder = write_scored(tmp_path)
    change_run(folder, lambda run: run["tasks"].update(ptbxl_sub=1))
    assert "ptbxl_sub: was asked for and has no result" in problems(folder)


def test_a_missing_label_must_be_said(tmp_path: Path) -> None:
    folder = write_scored(tmp_path, labels=SUPER[:4])
    assert problems(folder) == ""
    change(folder, lambda content: content["protocol"]["deviations"].pop("labels"))
    assert "4 of 5 labels are scored" in problems(folder)


def test_predictions_of_another_run_are_refused(tmp_path: Path) -> None:
    folder = write_scored(tmp_path, given=predictions())
    from eval_harness.results.predictions import write_predictions

    sha256 = write_predictions(folder / "predictions" / "ptbxl_super.parquet", predictions(run="ptbxl_sub"))
    change(folder, lambda content: content["predictions"].update(sha256=sha256))
    assert "these are predictions of 'ptbxl_sub'" in problems(folder)


def test_other_predictions_give_another_score(tmp_path: Path) -> None:
    folder = write_scored(tmp_path)
    from eval_harness.results.predictions import write_predictions

    sha256 = write_predictions(folder / "predictions" / "ptbxl_super.parquet", predictions(seed=33))
    change(folder, lambda content: content["predictions"].update(sha256=sha256))
    assert "metrics.macro_auroc.point" in problems(folder)


def test_simulated_data_cannot_pass_as_real(tmp_path: Path) -> None:
    folder = write_scored(tmp_path, mock=True)
    with pytest.raises(PublishError, match="--allow-synthetic"):
        prepare([read_found(folder)], tasks())
    assert prepare([read_found(folder)], tasks(), synthetic=True).results
    change(folder, lambda content: content["protocol"]["deviations"].pop("synthetic"))
    assert "ptbxl_super: the run was made with simulated data, and the result does not say so" in problems(folder)


def test_tasks_of_ones_own_are_not_taken(tmp_path: Path) -> None:
    folder = write_scored(tmp_path)
    change(folder, lambda content: content.update(task="my_task"))
    assert "'my_task' is no task of the benchmark" in problems(folder)


def declare(folder: Path, corpora: list[str], contamination: str) -> Path:
    """As the runner leaves it where the model's own configuration declares corpora."""

    def result(content: dict[str, Any]) -> None:
        content["model"]["pretraining_corpora"] = corpora
        content["data"]["contamination"] = contamination

    change(folder, result)
    change_run(folder, lambda content: content["settings"]["model"].update(pretraining_corpora=corpora))
    return folder


def test_what_a_model_says_it_has_seen_decides(tmp_path: Path) -> None:
    ours = declare(write_scored(tmp_path / "ours", "ward/ours", revision="c" * 40), ["ptb-xl"], "seen")
    assert problems(ours) == ""
    (result,) = check_run(read_found(ours), tasks())[0]
    assert describe(result).pretraining_corpora == ["ptb-xl"]
    declare(ours, ["ptb-xl"], "clean")
    assert "it says its test set is clean; by the declared pre-training corpora it is seen" in problems(ours)
    elsewhere = declare(write_scored(tmp_path / "other", "ward/ours", revision="c" * 40), ["sph"], "clean")
    assert problems(elsewhere) == ""


def test_training_folds_alone_are_believed_for_the_records_that_were_scored(tmp_path: Path) -> None:
    ours = declare(write_scored(tmp_path / "ours", "ward/ours", revision="c" * 40), ["ptb-xl"], "seen-train")
    (result,) = read_found(ours).results.values()
    assert result.data is not None

    def told(train_only: dict[str, str]) -> str:
        change(ours, lambda content: content["model"].update(pretraining_train_only=train_only))
        change_run(ours, lambda content: content["settings"]["model"].update(pretraining_train_only=train_only))
        return problems(ours)

    assert told({"ptb-xl": result.data.fingerprint}) == ""
    for other in ({}, {"ptb-xl": "of other splits"}, {"sph": result.data.fingerprint}):
        assert "it says its test set is seen-train; by the declared pre-training corpora it is seen" in told(other)


def test_weights_of_ones_own_do_not_go_under_a_published_name(tmp_path: Path) -> None:
    folder = declare(write_scored(tmp_path, "ecg-cpc", revision="c" * 40), ["ptb-xl"], "seen")
    assert "it was pre-trained on ptb-xl, so it is not the ECG-CPC that 'ecg-cpc' stands for" in problems(folder)


def with_model(folder: Path, **values: Any) -> Path:
    change(folder, lambda content: content["model"].update(values))
    change_run(folder, lambda content: content["settings"]["model"].update(values))
    return folder


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"origin": "unverified"}, "unverified weights, and 'ecg-cpc' stands for the published ECG-CPC"),
        ({"origin": "random"}, "random weights, and 'ecg-cpc' stands for the published ECG-CPC"),
        ({"origin": None}, "it does not say where its weights come from"),
        ({"parameters": 6976}, "its model has 6976 parameters, the ECG-CPC of 'ecg-cpc' 2932736"),
    ],
)
def test_only_the_catalogues_weights_go_under_its_short_name(
    values: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    folder = write_scored(tmp_path, "ecg-cpc", revision="c" * 40)
    assert problems(folder) == ""
    assert expected in problems(with_model(folder, **values))


def test_a_model_trained_from_scratch_is_named_by_its_architecture(tmp_path: Path) -> None:
    folder = write_scored(tmp_path, "s4", mode="scratch")
    assert problems(with_model(folder, origin="random")) == ""
    assert describe(read_found(folder).results["ptbxl_super"]).kind == "supervised"
    assert "its model has 6976 parameters, the S4" in problems(with_model(folder, parameters=6976))


@pytest.mark.parametrize(
    ("model", "origin", "contamination", "kind", "title"),
    [
        ("unverified:ecg-cpc", "unverified", "unknown", "other", "ecg-cpc, unverified weights"),
        ("unverified:ecg-cpc", "random", "clean", "random", "unverified:ecg-cpc, random weights"),
        ("models/ecg-cpc", "unverified", "unknown", "other", "ecg-cpc, unverified weights"),
        ("models/mine", "random", "clean", "random", "mine, random weights"),
        ("models/mine", "unverified", "unknown", "other", "mine, unverified weights"),
        ("ward/mine", "own", "unknown", "other", "mine"),
    ],
)
def test_other_weights_go_under_a_name_of_their_own(
    model: str, origin: str, contamination: str, kind: str, title: str, tmp_path: Path
) -> None:
    folder = with_model(write_scored(tmp_path, model), origin=origin)
    change(folder, lambda content: content["data"].update(contamination=contamination))
    assert problems(folder) == ""
    result = read_found(folder).results["ptbxl_super"]
    meta = describe(result)
    assert (meta.kind, meta.title) == (kind, title)
    assert json.loads(entry_bytes(result))["model"]["id"] == meta.id
    assert meta.id not in catalog.models()
    change(folder, lambda content: content["data"].update(contamination="seen"))
    assert f"by the declared pre-training corpora it is {contamination}" in problems(folder)


def content(task: str = "ptbxl_super", **changes: Any) -> list[str]:
    """What is wrong with a made-up result that says what the keywords say."""
    return list(content_problems(made_up("ecg-cpc", task, **changes), tasks()))


@pytest.mark.parametrize(
    ("metric", "estimate"),
    [
        ("macro_auroc", {"point": 0.0, "low": 0.0, "high": 0.0}),
        ("macro_auroc", {"point": 1.0, "low": None, "high": None}),
        ("macro_auroc", {"point": 0.5, "low": -0.01, "high": 1.01}),
        ("macro_auroc", {"point": 0.5, "low": None, "high": 0.6}),
        ("macro_auroc", {"point": 0.5, "low": 0.4, "high": None}),
        ("mae", {"point": 1.5, "low": 1.4, "high": 1.6}),
    ],
)
def test_values_that_a_metric_can_have(metric: str, estimate: dict[str, Any]) -> None:
    task = "mimic_age" if metric == "mae" else "ptbxl_super"
    assert content(task, metrics={metric: {**estimate, "classes": 1}}) == []


@pytest.mark.parametrize(
    ("metric", "estimate", "expected"),
    [
        ("mae", {"point": -0.1, "low": None, "high": None}, "metrics.mae: -0.1 is no value of this metric"),
        (
            "macro_auroc",
            {"point": 0.5, "low": 0.6, "high": 0.4},
            "metrics.macro_auroc: its interval ends before it begins (0.6 to 0.4)",
        ),
    ],
)
def test_values_that_it_cannot_have(metric: str, estimate: dict[str, Any], expected: str) -> None:
    task = "mimic_age" if metric == "mae" else "ptbxl_super"
    assert content(task, metrics={metric: {**estimate, "classes": 1}}) == [expected]


def test_data_are_needed_and_their_labels_those_of_the_task() -> None:
    nothing = made_up("ecg-cpc", "ptbxl_super").model_copy(update={"data": None})
    assert list(content_problems(nothing, tasks())) == ["it says nothing of its data"]
    data = made_up("ecg-cpc", "ptbxl_super").model_dump(mode="json")["data"]
    data["labels"] = {"published": 4, "scored": 4}
    assert content(data=data) == ["it says 4 published labels, the task has 5"]


def test_what_is_allowed_is_listed() -> None:
    assert content(protocol={"name": "mine", "deviations": {}})[0] == "its protocol is 'mine'; allowed: paper, fast"
    assert content(mode="tuned") == [f"its mode is 'tuned'; allowed: {', '.join(MODES)}"]


def test_more_records_than_the_copy_holds_are_found() -> None:
    data = made_up("ecg-cpc", "ptbxl_super").model_dump(mode="json")["data"]
    held = data["release"]["records"]["test"]
    data["records"]["test"] = held + 1
    assert f"it used {held + 1} test records, and its copy of the data holds {held}" in content(data=data)


def test_a_part_of_the_release_must_be_said_and_the_whole_not_called_a_part() -> None:
    data = made_up("ecg-cpc", "ptbxl_super").model_dump(mode="json")["data"]
    whole = {"name": "paper", "deviations": {"records": "273/2198"}}
    assert content(data=data, protocol=whole) == [
        "its deviations say records=273/2198, its counts say all of the release"
    ]
    part = {split: number // 8 for split, number in data["records"].items()}
    data |= {"records": part, "release": {"read": sum(part.values()), "records": part}}
    (silent,) = content(data=data)
    assert silent.startswith("against the release its data have records=")
    assert silent.endswith(", and its deviations do not say so")
    assert content(data={**data, "release": None}) == []


def test_of_simulated_data_no_release_is_known() -> None:
    assert content(protocol={"name": "paper", "deviations": {"records": "273/2198", "synthetic": True}}) == []


def test_all_that_is_other_than_the_release_is_said() -> None:
    data = made_up("ecg-cpc", "ptbxl_super").model_dump(mode="json")["data"]
    data["release"] |= {"label_sha256": {"label_super": "0" * 64}, "fold_sha256": "0" * 64}
    assert content(data=data) == [
        "against the release its data have release_labels=label_super other than 1.0.3, release_folds=other than "
        "1.0.3, and its deviations do not say so"
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"origin": "unverified"},
            "unverified weights, and 'ecg-cpc' stands for the published ECG-CPC; get those and score them again. "
            f"{catalog.get('ecg-cpc').how_to_get}",
        ),
        (
            {"origin": None},
            "it does not say where its weights come from, and 'ecg-cpc' stands for the published ECG-CPC; get those "
            f"and score them again. {catalog.get('ecg-cpc').how_to_get}",
        ),
        *(
            (
                {"pretraining_corpora": corpora},
                f"its model says that it was pre-trained on {seen}, so it is not the ECG-CPC that 'ecg-cpc' stands "
                "for: score it under a name of its own, ORG/NAME or its folder",
            )
            for corpora, seen in (([], "nothing"), (["heedb", "sph"], "heedb, sph"))
        ),
    ],
)
def test_who_borrows_a_published_name_is_told_what_to_do(changes: dict[str, Any], expected: str) -> None:
    made = made_up("ecg-cpc", "ptbxl_super")
    told = made.model_copy(update={"model": made.model.model_copy(update=changes)})
    assert expected in list(content_problems(told, tasks()))


def test_a_refusal_names_twenty_problems_and_counts_the_rest() -> None:
    found = [Finding("run", f"task{number}", "wrong") for number in range(22)]
    lines = refusal(found).split("\n")
    assert lines == ["Nothing was published:", *(f"  run task{n}: wrong" for n in range(20)), "  and 2 more"]
    assert refusal(found[:20]).split("\n") == lines[:21]
    assert refusal(found[:2], shown=1) == "Nothing was published:\n  run task0: wrong\n  and 1 more"


def test_every_task_of_a_run_passes_is_refused_or_was_not_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"a": ["x", "y"], "b": [], "c": ["z"], "d": []}
    results = {name: result(seed=number) for number, name in enumerate(wrong)} | {"e": failed("no data\nat all")}
    run: Any = SimpleNamespace(
        name="run 1", run=SimpleNamespace(tasks=dict.fromkeys(["gone", *results], 1)), results=results
    )
    monkeypatch.setattr(checks, "_problems", lambda found, name, result, known: wrong[name])
    passed, problems, absent = check_run(run, {})
    assert passed == [results["b"], results["d"]]
    assert [str(finding) for finding in problems] == [
        "run 1 gone: was asked for and has no result: give the same command again, so that nothing is left out",
        *("run 1 a: x", "run 1 a: y", "run 1 c: z"),
    ]
    assert absent == [Finding("run 1", "e", "failed: no data")]


def test_the_catalogues_corpora_decide_for_a_model_of_the_catalogue() -> None:
    data = made_up("ecg-cpc", "ptbxl_super").model_dump(mode="json")["data"] | {"contamination": "seen"}
    assert content(data=data) == ["it says its test set is seen; by the declared pre-training corpora it is clean"]
    other = made_up("ward/mine", "ptbxl_super", data=data)
    silent = other.model_copy(update={"model": other.model.model_copy(update={"origin": None})})
    assert list(content_problems(silent, tasks())) == [], "nobody knows its corpora"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"protocol": "fast"}, "its protocol is 'paper', that of the run is 'fast'"),
        ({"data": {"limit": 50}}, "its limit is None, that of the run is 50"),
        ({"dtype": "bfloat16"}, "its dtype is 'float32', that of the run is 'bfloat16'"),
    ],
)
def test_what_the_run_says_the_result_says(settings: dict[str, Any], expected: str, tmp_path: Path) -> None:
    folder = write_scored(tmp_path)
    change_run(folder, lambda run: run["settings"].update(settings))
    assert expected in problems(folder)


def test_a_result_says_what_its_run_does_not(tmp_path: Path) -> None:
    folder = write_scored(tmp_path)
    change(folder, lambda content: content["protocol"]["deviations"].update(limit=50, dtype="bfloat16"))
    said = problems(folder)
    assert "ptbxl_super: its limit is 50, that of the run is None" in said
    assert "ptbxl_super: its dtype is 'bfloat16', that of the run is 'float32'" in said


def test_a_result_of_another_task_is_not_that_of_its_name(tmp_path: Path) -> None:
    folder = write_scored(tmp_path)
    change(folder, lambda content: content.update(task="ptbxl_sub"))
    assert "ptbxl_super: its task is 'ptbxl_sub', that of the run is 'ptbxl_super'" in problems(folder)


def test_the_run_names_the_version_of_its_tasks(tmp_path: Path) -> None:
    folder = write_scored(tmp_path)
    change_run(folder, lambda run: run["tasks"].update(ptbxl_super=2))
    assert "its task version is 1, that of the run is 2" in problems(folder)
