"""A user's own archive through the harness: found by name or path, scored, described, embedded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ecg_hub.errors import ExitCode, InputError
from eval_harness.cli.eval.main import main as evaluate_main
from eval_harness.cli.hub.main import main as hub_main
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import protocol
from eval_harness.results.contamination import state
from eval_harness.runner.run import describe_run, evaluate
from eval_harness.tasks.registry import custom_datasets, datasets, get_task, tasks, validate
from tests.support.own_files import RATE_TASK, TASK, write_archive, write_description

TINY = "random:ecg-cpc-tiny"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 simulated records of 5 s with their description, and two tasks beside them."""
    folder = tmp_path_factory.mktemp("hospital")
    write_archive(folder)
    (folder / "my_diagnoses.yaml").write_text(TASK)
    (folder / "my_rate.yaml").write_text(RATE_TASK)
    return folder


@pytest.fixture
def options(archive: Path, data_cache: Path, tmp_path: Path) -> Callable[..., RunOptions]:
    def make(*names: str, **changes: object) -> RunOptions:
        settings: dict[str, object] = {
            "models": (TINY,),
            "tasks": names or ("my_diagnoses", "my_rate"),
            "modes": ("linear",),
            "include": (archive,),
            "cache_dir": data_cache,
            "output": tmp_path / "results",
            "device": "cpu",
            "protocol": protocol(epochs=1, batch_size=16, resamples=50),
        }
        return RunOptions(**{**settings, **changes})  # type: ignore[arg-type]

    return make


def test_classes_and_targets_are_scored(options: Callable[..., RunOptions]) -> None:
    results = {result.task: result for result in evaluate(options(), quiet=True)}
    classes, rate = results["my_diagnoses"], results["my_rate"]
    assert (classes.status, rate.status) == ("done", "done"), (classes.reason, rate.reason)
    assert classes.data is not None
    assert classes.data.name == "my-hospital"
    assert sum(classes.data.records.model_dump().values()) == 60
    assert classes.data.labels.scored == 3
    assert set(classes.metrics) >= {"macro_auroc", "macro_auprc"}
    assert set(rate.metrics) == {"mae", "macro_mae"}
    assert 0.3 < rate.metrics["mae"].point < 3  # z-scored beats per minute
    beats = rate.per_label[0].mae_clinical
    assert beats is not None
    assert 2 < (beats.point or 0) < 30
    assert "min_count" not in classes.protocol.deviations


@pytest.mark.heavy
def test_a_trained_probe_tells_the_simulated_diagnoses_apart(options: Callable[..., RunOptions]) -> None:
    numbers = protocol(epochs=60, batch_size=16, resamples=20, learning_rate=0.03)
    [result] = evaluate(options("my_diagnoses", protocol=numbers), quiet=True)
    assert result.metrics["macro_auroc"].point > 0.8


@pytest.mark.heavy
def test_targets_without_a_value_are_left_out_of_the_error(
    archive: Path, tmp_path: Path, options: Callable[..., RunOptions]
) -> None:
    lines = (archive / "ecgs.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    for row in cells[1::2]:
        row[3] = ""
    (tmp_path / "half.csv").write_text("\n".join(",".join(row) for row in cells) + "\n")
    write_description(tmp_path / "d.yaml", folder=str(archive), table=str(tmp_path / "half.csv"))
    (tmp_path / "my_rate.yaml").write_text(RATE_TASK)
    [result] = evaluate(options("my_rate", include=(tmp_path,)), quiet=True)
    assert result.status == "done", result.reason
    assert result.data is not None
    assert 0 < result.per_label[0].records < result.data.records.test


def test_the_task_may_name_the_path_of_the_description(archive: Path, tmp_path: Path) -> None:
    text = TASK.replace("dataset: my-hospital", f"dataset: {archive.name}/my_hospital.yaml")
    file = archive.parent / "elsewhere.yaml"
    file.write_text(text)
    assert get_task("my_diagnoses", [file]).dataset == "my-hospital"
    assert custom_datasets([file])["my-hospital"].source.resolve() == (archive / "my_hospital.yaml").resolve()
    (tmp_path / "t.yaml").write_text(TASK.replace("my-hospital", "absent.yaml"))
    with pytest.raises(InputError, match=r"absent\.yaml: cannot be read"):
        tasks([tmp_path / "t.yaml"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dataset: my-hospital", "dataset: my-hopsital", "Did you mean 'my-hospital'.*Include the YAML file"),
        ("label_column: label_all", "label_column: targets", r"has no 'targets'.*Known: label_all"),
        ("label_column: label_all", "label_column: label_super", r"has no 'label_super'.*Known: label_all"),
    ],
)
def test_tasks_that_do_not_fit(old: str, new: str, message: str, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TASK.replace(old, new))
    with pytest.raises(InputError, match=message):
        tasks([tmp_path / "t.yaml", archive / "my_hospital.yaml"])


def test_labels_that_the_description_lists_are_checked(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(RATE_TASK.replace("labels: [rate]", "labels: [rates]"))
    with pytest.raises(InputError, match=r"has no 'rates'\. Did you mean 'rate'\? Known: rate"):
        tasks([tmp_path / "t.yaml", archive / "my_hospital.yaml"])
    columns = {"record": "id", "labels": {"rate": "fast"}}
    description = write_description(tmp_path / "d.yaml", columns=columns)
    (tmp_path / "t.yaml").write_text(TASK)
    with pytest.raises(InputError, match=r"has no 'LBBB', 'infarction', 'normal'.*Known: fast"):
        tasks([tmp_path / "t.yaml", description])


def test_names_are_unique(archive: Path, tmp_path: Path) -> None:
    first = write_description(tmp_path / "a.yaml")
    second = write_description(tmp_path / "b.yaml")
    with pytest.raises(InputError, match=r"b\.yaml: dataset 'my-hospital' is already described in .*a\.yaml"):
        custom_datasets([first, second])
    taken = write_description(tmp_path / "c.yaml", name="ptb-xl")
    with pytest.raises(InputError, match="'ptb-xl' is a published dataset"):
        custom_datasets([taken])
    assert list(datasets([archive]))[-1] == "my-hospital"
    assert "my-hospital" not in datasets()


def test_labels_that_do_not_occur(archive: Path, tmp_path: Path, options: Callable[..., RunOptions]) -> None:
    (tmp_path / "t.yaml").write_text(TASK.replace("[LBBB, infarction, normal]", "[RBBB]"))
    [result] = evaluate(options("my_diagnoses", include=(tmp_path, archive / "my_hospital.yaml")), quiet=True)
    assert result.status == "failed"
    assert result.reason is not None
    assert "--min-count 5" in result.reason
    assert "Found: LBBB, infarction, normal, old" in result.reason


def test_the_data_root_is_searched_for_the_name(
    archive: Path, tmp_path: Path, options: Callable[..., RunOptions]
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "my-hospital").symlink_to(archive)
    description = write_description(tmp_path / "d.yaml")
    text = describe_run(
        options("my_diagnoses", include=(description, archive / "my_diagnoses.yaml"), data_root=str(tmp_path / "root"))
    )
    assert "37 / 11 / 12 records" in text
    missing = describe_run(options("my_diagnoses", include=(description, archive / "my_diagnoses.yaml")))
    assert "no data" in missing
    assert "lacks 'ecgs.csv', 'ecg'" in " ".join(missing.split())


@pytest.mark.heavy
def test_command_lines(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate_main(["validate", str(archive)]) == 0
    out = capsys.readouterr().out
    assert "ok: dataset my-hospital, rate of its files, folds: 5 folds stratified by label, by patient" in out
    assert "ok: my_rate version 1, 1 label, run my_rate on my-hospital" in out
    assert evaluate_main(["describe", "my-hospital", "--include", str(archive)]) == 0
    assert "restricted" in capsys.readouterr().out
    assert evaluate_main(["describe", "my_diagnoses", "--include", str(archive)]) == 0
    assert "my_hospital.yaml" in capsys.readouterr().out
    assert evaluate_main(["ls", "datasets", "--include", str(archive)]) == 0
    assert "my-hospital" in capsys.readouterr().out
    assert len(validate([archive])) == 2


@pytest.mark.heavy
def test_embedding_needs_no_labels(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bare.yaml").write_text(f"name: bare\nfolder: {archive}\nsignals: ecg\n")
    target = tmp_path / "features.parquet"
    assert hub_main(["embed", TINY, str(tmp_path / "bare.yaml"), "-o", str(target)]) == 0
    rows = pq.read_table(target).to_pylist()
    assert [row["record"] for row in rows] == [f"r{k:03d}" for k in range(60)]
    from_files = tmp_path / "files.parquet"
    assert (
        hub_main(["embed", TINY, *(str(archive / "ecg" / f"r{k:03d}") for k in range(3)), "-o", str(from_files)]) == 0
    )
    for row, other in zip(rows, pq.read_table(from_files).to_pylist(), strict=False):
        assert np.allclose(row["features"], other["features"], atol=1e-5)
    capsys.readouterr()
    assert hub_main(["embed", TINY, str(tmp_path / "absent.yaml"), "-o", str(target)]) == 1
    assert "absent.yaml: cannot be read" in capsys.readouterr().err


def test_embedding_says_which_records_failed(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (archive / "ecgs.csv").read_text().splitlines()[:4]
    (tmp_path / "few.csv").write_text("\n".join([*lines, "r999,p0,,60,50,M"]) + "\n")
    description = write_description(tmp_path / "d.yaml", folder=str(archive), table=str(tmp_path / "few.csv"))
    target = tmp_path / "features.parquet"
    assert hub_main(["embed", TINY, str(description), "-o", str(target)]) == ExitCode.PARTLY
    assert "failed: r999: line 5: no signal file named 'r999'" in capsys.readouterr().err
    assert [row["windows"] > 0 for row in pq.read_table(target).to_pylist()] == [True, True, True, False]


@pytest.mark.heavy
def test_predicting_takes_a_description(
    archive: Path, tmp_path: Path, options: Callable[..., RunOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(options("my_diagnoses", save_model=True), quiet=True)
    model = next((tmp_path / "results").rglob("model/my_diagnoses"))
    capsys.readouterr()
    assert hub_main(["predict", str(model), str(archive / "my_hospital.yaml"), "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "record,windows,LBBB,infarction,normal,reason"
    assert [line.split(",")[0] for line in lines[1:]] == [f"r{k:03d}" for k in range(60)]


@pytest.mark.heavy
def test_listing_own_archives_is_light(archive: Path) -> None:
    program = (
        "import sys; from eval_harness.cli.eval.main import main; code = main(sys.argv[1:]); "
        "print([n for n in ('torch', 'transformers', 'datasets', 'pandas', 'pydicom') if n in sys.modules], code)"
    )
    words = [sys.executable, "-c", program, "ls", "datasets", "--include", str(archive)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("[] 0"), done.stdout + done.stderr


def test_an_own_archive_is_in_no_list_of_corpora() -> None:
    assert state(["heedb"], "my-hospital") == "unknown"
    assert state([], "my-hospital") == "clean"
    assert state(None, "my-hospital") == "unknown"
