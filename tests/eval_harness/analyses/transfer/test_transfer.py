"""A whole transfer from the mock PTB-XL to the mock Georgia."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_hub.errors import InputError, ResultError, UnknownNameError
from eval_harness.analyses.trained import find_one, open_trained
from eval_harness.analyses.transfer import run as transfer
from eval_harness.analyses.transfer.report import write_dumbbells
from eval_harness.analyses.transfer.run import TransferOptions, open_target, run_transfer
from eval_harness.analyses.transfer.schema import MappedLabel
from eval_harness.cli.eval.main import main
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol
from eval_harness.metrics.ranking import auroc
from eval_harness.metrics.thresholds import choose_thresholds
from eval_harness.results.predictions import read_predictions
from eval_harness.results.schema import LabelResult
from eval_harness.runner.run import evaluate
from eval_harness.tasks.harmonise import joined


@pytest.fixture(scope="module")
def two_roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PTB-XL and Georgia, mock."""
    from dataset_scripts.mock import write

    root = tmp_path_factory.mktemp("two")
    write("ptb-xl", root / "ptb-xl", records=150, seed=0)
    write("georgia", root / "georgia", records=150, seed=0)
    return root


@pytest.fixture(scope="module")
def all_once(two_roots: Path, data_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = RunOptions(
        models=("random:ecg-cpc-tiny",), tasks=("ptbxl_all", "ptbxl_super"), modes=("linear",), device="cpu",
        data_root=str(two_roots), cache_dir=data_cache, output=tmp_path_factory.mktemp("all"), save_model=True,
        protocol=protocol(epochs=1, batch_size=16, resamples=40),
    )  # fmt: skip
    results = evaluate(options, quiet=True)
    assert [result.status for result in results] == ["done", "done"]
    return options.output / "random__ecg-cpc-tiny" / "linear"


@pytest.fixture
def wanted(all_once: Path, two_roots: Path, data_cache: Path, tmp_path: Path) -> Any:
    folder = Path(shutil.copytree(all_once, tmp_path / "linear"))

    def make(**changes: Any) -> TransferOptions:
        settings: dict[str, Any] = {
            "folder": folder, "to": "georgia", "tasks": ("ptbxl_all",), "split": "train", "quiet": True,
            "data_root": str(two_roots), "cache_dir": data_cache, "device": "cpu",
        }  # fmt: skip
        return TransferOptions(**{**settings, **changes})

    return make


@pytest.mark.heavy
def test_a_run_on_simulated_records_is_scored_on_those_of_a_folder(wanted: Any) -> None:
    options = wanted()
    trained = open_trained(find_one(options.folder), "ptbxl_all", **options.open_options)
    simulated = dataclasses.replace(trained, options=dataclasses.replace(trained.options, data_root="mock"))
    assert 0 < len(open_target(simulated, options).split) < 150, "of `mock` there would be a thousand"


@pytest.mark.heavy
def test_whole_transfer(wanted: Any) -> None:
    options = wanted()
    (result,) = run_transfer(options)
    assert result.complete
    assert result.synthetic, "mock records are simulated"
    assert (result.source, result.target, result.contamination) == ("ptb-xl", "georgia", "clean")
    task = result.tasks["ptbxl_all"]
    assert task.status == "done", task.reason
    names = [mapped.name for mapped in task.mapped]
    assert "atrial fibrillation" in names
    assert [label.label for label in task.per_label] == names == [label.label for label in task.per_label_at_home]
    trained = open_trained(find_one(options.folder), "ptbxl_all", **options.open_options)
    target = open_target(trained, options)
    covered = {label for mapped in task.mapped for label in mapped.target}
    assert covered | set(task.unmapped_target) == set(target.labels)
    assert not covered & set(task.unmapped_target)
    mine = {label for mapped in task.mapped for label in mapped.source} | set(task.unmapped_source)
    assert mine == set(trained.predictions.labels)
    stored = read_predictions(options.folder / "transfer" / "transfer_ptbxl_all_to_georgia.parquet")
    assert np.isnan(stored.y_true).all()
    validation = trained.predictions.part("validation")
    cuts = choose_thresholds(validation.y_true, validation.y_prob)
    for mapped, found in zip(task.mapped, task.per_label, strict=True):
        true = joined(target.true, target.labels, [mapped.target])
        prob = joined(stored.y_prob, stored.labels, [mapped.source])
        assert found.positives == int(true.sum())
        assert found.auroc is not None
        expected = float(auroc(true, prob)[0])
        assert found.auroc.point == pytest.approx(expected) if np.isfinite(expected) else found.auroc.point is None
        if len(mapped.source) == 1 and found.threshold is not None:
            assert found.threshold == pytest.approx(cuts[stored.labels.index(mapped.source[0])])
    files = write_dumbbells(result, options.folder / "transfer")
    assert files[0].name == "transfer_ptbxl_all_to_georgia.svg"
    assert "atrial fibrillation" in files[0].read_text()


@pytest.mark.heavy
def test_on_its_own_test_records_a_head_predicts_what_is_stored(wanted: Any) -> None:
    """The outputs elsewhere are of the same kind as at home, so that thresholds of home apply."""
    options = wanted(to="ptb-xl", split="test", column="label_super", tasks=("ptbxl_super",))
    trained = open_trained(find_one(options.folder), "ptbxl_super", **options.open_options)
    target = open_target(trained, options)
    stored = trained.predictions.part("test")
    assert target.split.record_ids == list(stored.record_id)
    outputs = trained.predict(target.data, target.split, quiet=True)
    assert np.abs(outputs - stored.y_prob).max() < 1e-5
    assert len(target.data.labels) == 0, "the data have targets of their own, or none"


@pytest.mark.heavy
def test_continues_without_the_model(wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = transfer._scored
    monkeypatch.setattr(transfer, "_scored", lambda *parts: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run_transfer(wanted())
    monkeypatch.setattr(transfer, "_scored", scored)
    monkeypatch.setattr(transfer, "_predicted", lambda *parts: pytest.fail("predicted again"))
    (result,) = run_transfer(wanted())
    assert result.tasks["ptbxl_all"].status == "done"
    assert run_transfer(wanted()) == [result]
    with pytest.raises(ResultError, match="records"):
        run_transfer(wanted(records=20))


@pytest.mark.heavy
def test_a_result_of_other_tables_is_not_continued(wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_transfer(wanted(resamples=5))
    links = transfer.map_labels
    fewer = lambda *parts: dataclasses.replace(links(*parts), links=links(*parts).links[1:])  # noqa: E731
    monkeypatch.setattr(transfer, "map_labels", fewer)
    with pytest.raises(ResultError, match=r"other settings:\n  map: 'tables, links \w{16}' in the folder"):
        run_transfer(wanted(resamples=5))


def test_links_of_far_apart_shares_are_flagged() -> None:
    link = MappedLabel(name="n", code="1", source=["a"], target=["b"], origins=[])
    rare, common = LabelResult(label="n", positives=1, records=1000), LabelResult(label="n", positives=200, records=800)
    flagged = transfer._flagged(link, rare, common)
    assert flagged.flag is not None
    assert flagged.flag.startswith("0.1 % of the records at home, 25 % there (250 times)")
    assert transfer._flagged(flagged, common, common).flag is None


def test_outputs_of_several_labels_are_joined_by_the_largest() -> None:
    values = np.array([[0.1, 0.9, 0.4], [0.6, np.nan, 0.2]], dtype=np.float32)
    found = joined(values, ["a", "b", "c"], [["a", "c"], ["b"]])
    assert found[0].tolist() == pytest.approx([0.4, 0.9])
    assert found[1, 0] == pytest.approx(0.6)
    assert np.isnan(found[1, 1])
    # One label says that it is there, whatever the other one would say; a label that says no leaves it open.
    targets = np.array([[1, np.nan], [np.nan, 0]], dtype=np.float32)
    assert joined(targets, ["a", "b"], [["a", "b"]])[0, 0] == 1
    assert np.isnan(joined(targets, ["a", "b"], [["a", "b"]])[1, 0])


@pytest.mark.heavy
def test_groups_of_statements_need_a_map(wanted: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="groups of statements"):
        run_transfer(wanted(tasks=("ptbxl_super",)))
    path = tmp_path / "map.csv"
    path.write_text("source,target,code,origin\nNORM,sinus rhythm,426783006,as a test\n")
    (result,) = run_transfer(wanted(tasks=("ptbxl_super",), label_map=path))
    assert [mapped.target for mapped in result.tasks["ptbxl_super"].mapped] == [["sinus rhythm"]]
    path.write_text("source,target,code,origin\nNORM,sinus rhythm,123,as a test\n")
    with pytest.raises(InputError, match="unknown SNOMED CT code '123'"):
        run_transfer(wanted(tasks=("ptbxl_super",), label_map=path))


def test_refusals(wanted: Any) -> None:
    with pytest.raises(UnknownNameError, match="georgia"):
        wanted(to="gorgia")
    with pytest.raises(UnknownNameError, match="ptbxl_super"):
        run_transfer(wanted(tasks=("ptbxl_sub",)))
    with pytest.raises(InputError, match="label_diag"):
        run_transfer(wanted(column="label_diag"))
    with pytest.raises(InputError, match="tset"):
        run_transfer(wanted(split="tset"))
    shutil.rmtree(wanted().folder / "model")
    with pytest.raises(ResultError, match="Run again with --save-model"):
        run_transfer(wanted())


@pytest.mark.heavy
def test_the_command(wanted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    options = wanted()
    words = ["transfer", str(options.folder), "--to", "georgia", "--tasks", "ptbxl_all", "--split", "train"]
    words += ["--data-root", options.data_root, "--cache-dir", str(options.cache_dir), "--device", "cpu"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "164889003" in printed
    assert "not mapped, ptb-xl" in printed
    assert "macro mean" in printed
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["analysis"] == "transfer"
    assert main(["transfer", str(options.folder), "--to", "gorgia"]) == 2
