"""Options of `ecg-eval run`: command line, YAML file, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ecg_hub.errors import InputError, UnknownNameError
from eval_harness.cli.eval.main import build_parser, main
from eval_harness.cli.eval.run import gather, options_from
from eval_harness.config.options import RunOptions


def parse(*words: str) -> RunOptions:
    return options_from(gather(build_parser().parse_args(["run", *words])))


BASE = ("--model", "random:ecg-cpc", "--tasks", "ptbxl_super", "--data-root", "mock")


def test_defaults_are_the_protocol() -> None:
    options = parse(*BASE)
    assert options.protocol.deviations() == {}
    assert (options.seeds, options.modes, options.preset, options.dtype) == ((0,), (), "benchmark", "float32")
    assert options.output == Path("results")


def test_repeated_options_and_commas_are_one_list() -> None:
    options = parse(*BASE, "--tasks", "ptbxl_sub,ptbxl_all", "--mode", "linear,frozen", "--seeds", "0,1", "--seed", "2")
    assert options.tasks == ("ptbxl_super", "ptbxl_sub", "ptbxl_all")
    assert options.modes == ("linear", "frozen")
    assert options.seeds == (0, 1, 2)


def test_every_protocol_number_has_an_option_and_becomes_a_deviation() -> None:
    words = [
        "--epochs",
        "3",
        "--batch-size",
        "32",
        "--learning-rate",
        "0.01",
        "--weight-decay",
        "0.1",
        "--layer-rate-factor",
        "0.5",
        "--attention-heads",
        "8",
        "--min-count",
        "3",
        "--resamples",
        "200",
        "--confidence",
        "0.9",
        "--resample-unit",
        "patient",
    ]
    deviations = parse(*BASE, *words).protocol.deviations()
    assert len(deviations) == 10
    assert deviations["learning_rate"] == 0.01
    assert deviations["resample_unit"] == "patient"


def test_a_file_gives_options_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "model: [random:ecg-cpc, random:ecg-cpc-tiny]\ntasks: ptbxl_super,ptbxl_sub\ndata-root: mock\n"
        "epochs: 7\nseeds: [1, 2]\nlimit: 10\nlearning_rate: 0.002\n"
    )
    options = parse("--config", str(file), "--epochs", "2")
    assert options.models == ("random:ecg-cpc", "random:ecg-cpc-tiny")
    assert options.tasks == ("ptbxl_super", "ptbxl_sub")
    assert (options.protocol.epochs, options.protocol.learning_rate) == (2, 0.002)
    assert (options.seeds, options.limit) == ((1, 2), 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3\n", "Did you mean 'epochs'"),
        ("- model\n", "must be a YAML mapping"),
        ("model: [\n", "cannot be read"),
        ("epochs: many\n", "'many'"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        parse(*BASE, "--config", str(file))
    with pytest.raises(InputError, match="cannot be read"):
        parse(*BASE, "--config", str(tmp_path / "absent.yaml"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seeds", "a,b"), "'a,b'"),
        (("--seeds", "1,-2"), "seeds"),
        (("--limit", "0"), "limit is 0"),
        (("--epochs", "0"), "epochs is 0"),
    ],
)
def test_values_that_make_no_sense_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(*BASE, *words)


def test_the_old_name_of_an_option_works_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(*BASE, "--max-loss", "0.05").max_unreadable == 0.05
    assert capsys.readouterr().err == (
        "note: --max-loss is now called --max-unreadable; the old name is gone with the next release.\n"
    )
    file = tmp_path / "run.yaml"
    file.write_text("max-loss: 0.2\n")
    assert parse(*BASE, "--config", str(file)).max_unreadable == 0.2
    assert capsys.readouterr().err.count("max_loss is now called max_unreadable") == 1
    assert parse(*BASE, "--config", str(file), "--max-unreadable", "0.3").max_unreadable == 0.3
    assert "max-loss" not in build_parser().format_help()


def test_no_data_root_names_the_remedies() -> None:
    with pytest.raises(InputError, match="ECG_DATA_ROOT"):
        parse("--model", "random:ecg-cpc", "--tasks", "ptbxl_super")


def test_the_data_root_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path))
    assert parse("--model", "random:ecg-cpc", "--tasks", "ptbxl_super").data_root == str(tmp_path)


def test_unknown_modes_are_suggested() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'linear'"):
        parse(*BASE, "--mode", "linaer")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--tasks", "ptbxl_super"], 1, "No model"),
        ([*BASE, "--mode", "linaer"], 2, "linear"),
        (["--model", "random:ecg-cpd", *BASE[2:]], 2, "Did you mean .ecg-cpc"),
        ([*BASE[:2], "--tasks", "ptbxl_supr", *BASE[4:]], 2, "ptbxl_super"),
    ],
)
def test_errors_are_one_message_and_an_exit_code(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    captured = capsys.readouterr()
    assert re.search(message, captured.err)
    assert "Traceback" not in captured.err
