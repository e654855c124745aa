"""`ecg-hub pretrain` from words to a model that `ecg-eval` scores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ecg_hub.errors import InputError
from eval_harness.cli.hub.main import build_parser, main
from eval_harness.pretrain.config import PretrainConfig, parse_settings
from eval_harness.pretrain.log import read_log
from eval_harness.results.schema import read_result


def words(output: Path, data_root: Path, *more: str) -> list[str]:
    small = ["--set", "hidden_size=16", "--set", "num_hidden_layers=1", "--set", "num_negatives=16"]
    found = ["pretrain", "--model", "ecg-cpc-tiny", *small, "--data", "ptb-xl", "--data-root", str(data_root)]
    return [*found, "--batch-size", "8", "--seconds", "2", "--device", "cpu", "--output", str(output), *more]


@pytest.fixture
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pictures take longer than the run they show; `test_from_words_to_a_score` draws them."""
    monkeypatch.setattr("eval_harness.pretrain.run.write_curves", lambda *_: [])


@pytest.mark.heavy
def test_from_words_to_a_score(
    data_root: Path, data_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ["--cache-dir", str(data_cache)]
    asked = words(tmp_path / "run", data_root, "--steps", "3", "--log-every", "1", *cache)
    probe = ["--probe-task", "ptbxl_super", "--probe-every", "2", "--probe-limit", "30", "--probe-epochs", "1"]
    assert main([*asked, *probe]) == 0
    shown = capsys.readouterr().out
    assert "3 steps: loss" in shown
    assert "probe ptbxl_super linear at step 3: macro_auroc" in shown
    log = read_log(tmp_path / "run" / "log.jsonl")
    assert [row["step"] for row in log if "loss" in row] == [1, 2, 3]
    from eval_harness.cli.eval.main import main as score

    more = ["--tasks", "ptbxl_super", "--mode", "linear", "--epochs", "1", "--resamples", "20", "--device", "cpu"]
    model, results = str(tmp_path / "run" / "model"), tmp_path / "results"
    assert score(["--model", model, *more, "--data-root", str(data_root), "--output", str(results), *cache]) == 0
    result = read_result(results / "model" / "linear" / "ptbxl_super.json")
    assert result.data is not None
    assert result.data.contamination == "seen-train", "validation and test folds were left out, by the same splits"
    assert result.model.pretraining_train_only == {"ptb-xl": result.data.fingerprint}


@pytest.mark.heavy
@pytest.mark.usefixtures("_no_curves")
def test_all_but_training_records_are_left_out(data_root: Path, data_cache: Path, tmp_path: Path) -> None:
    cache, counts = ["--cache-dir", str(data_cache)], []
    for number, more in enumerate(([], ["--all-records"])):
        folder = tmp_path / str(number)
        assert main([*words(folder, data_root, "--steps", "1", *cache), *more]) == 0
        written = json.loads((folder / "pretrain.json").read_text())
        counts.append(written["records"])
        assert written["corpora"] == ["ptb-xl"]
        assert list(written["train_only"]) == ([] if more else ["ptb-xl"])
        assert written["simulated"] == ["ptb-xl"]
        assert "simulated records in the form of ptb-xl" in (folder / "model" / "README.md").read_text()
    assert 0 < counts[0] < counts[1] <= 120


@pytest.mark.heavy
def test_a_run_begun_under_the_old_name_of_an_option_continues(
    data_root: Path, data_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    asked = words(folder, data_root, "--checkpoint-every", "1", "--cache-dir", str(data_cache))
    assert main([*asked, "--steps", "1", "--max-loss", "0.05"]) == 0
    assert capsys.readouterr().err.count("--max-loss is now called --max-unreadable") == 1
    first = json.loads((folder / "pretrain.json").read_text())
    assert main([*asked, "--steps", "2", "--max-unreadable", "0.05"]) == 0
    assert json.loads((folder / "pretrain.json").read_text())["fingerprint"] == first["fingerprint"]
    assert [row["step"] for row in read_log(folder / "log.jsonl") if "loss" in row] == [1, 2]


@pytest.mark.heavy
@pytest.mark.usefixtures("_no_curves")
def test_epochs_are_counted_in_whole_batches(data_root: Path, data_cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main(words(folder, data_root, "--epochs", "0.5", "--cache-dir", str(data_cache))) == 0
    records = json.loads((folder / "pretrain.json").read_text())["records"]
    assert read_log(folder / "log.jsonl")[-1]["step"] == int(0.5 * (records // 8))


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--steps", "0"], "steps is 0"),
        (["--steps", "1", "--lanes", "3"], "batch of 8 cannot be drawn from 3 lanes"),
        (["--steps", "1", "--batch-size", "4000"], "fewer than one batch of 4000"),
        (["--steps", "1", "--model", "merl"], "'merl' cannot be pre-trained here"),
        (["--steps", "1", "--data", "ptb-xxl"], "Did you mean 'ptb-xl'"),
        (["--steps", "1", "--track", "tensorboard"], "pip install tensorboard"),
        (["--steps", "1", "--probe-task", "ptbxl"], "ptbxl_super"),
        (["--steps", "1", "--set", "hidden_size"], "--set takes KEY=VALUE"),
    ],
)
def test_wrong_words_are_one_sentence(
    more: list[str],
    text: str,
    data_root: Path,
    data_cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*words(tmp_path / "run", data_root, "--cache-dir", str(data_cache)), *more]) in (1, 2)
    shown = capsys.readouterr().err
    assert text in shown
    assert "Traceback" not in shown


def test_every_number_is_an_option() -> None:
    args = build_parser().parse_args(["pretrain", "--data", "x", "--output", "y"])
    assert not any(hasattr(args, item.name) for item in dataclasses.fields(PretrainConfig))
    given: dict[str, Any] = {"grad_clip": "1.5", "steps": "7", "mixed_precision": "bf16", "batch_norm": "frozen"}
    given |= {"learning_rate": "0.1", "lanes": "4", "epochs": "2"}
    flat = [word for name, value in given.items() for word in ("--" + name.replace("_", "-"), value)]
    args = build_parser().parse_args(["pretrain", "--data", "x", "--output", "y", *flat])
    assert (args.grad_clip, args.steps, args.epochs, args.lanes) == (1.5, 7, 2.0, 4)
    for item in dataclasses.fields(PretrainConfig):
        assert item.metadata["help"], item.name


def test_settings_are_read_as_yaml() -> None:
    found = parse_settings(["hidden_size=128", "prediction-steps=[1, 14]", "normalize_contrast=true"])
    assert found == {"hidden_size": 128, "prediction_steps": [1, 14], "normalize_contrast": True}
    with pytest.raises(InputError, match="cannot be read"):
        parse_settings(["x=[1"])


@pytest.mark.heavy
def test_real_records_are_learnt_from(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "ptb-xl").symlink_to(shared / "data" / "ptbxl" / "mini")
    small = ["--set", "hidden_size=64", "--set", "num_hidden_layers=2", "--batch-size", "16", "--steps", "60"]
    data = ["--data", "ptb-xl", "--data-root", str(tmp_path / "root"), "--cache-dir", str(tmp_path / "cache")]
    run = ["--device", "cpu", "--log-every", "1", "--output", str(tmp_path / "run")]
    assert main(["pretrain", *small, *data, *run]) == 0
    found = [row["accuracy"]["14"] for row in read_log(tmp_path / "run" / "log.jsonl")]
    chance = 1 / 129
    assert found[0] < 3 * chance
    assert sum(found[-5:]) / 5 > 5 * chance
