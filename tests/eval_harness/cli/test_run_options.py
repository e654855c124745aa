"""Options of `ecg-eval run`: command line, YAML file, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from ecg_hub.errors import InputError, UnknownNameError
from ecg_hub.home import home
from eval_harness.cli.eval.main import build_parser, main
from eval_harness.cli.eval.run import gather, options_from
from eval_harness.config.fields import options_of
from eval_harness.config.options import RunOptions, TrainSubset
from eval_harness.config.protocol import PostTraining, protocol


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


def test_every_option_of_the_command_line_is_a_name_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "model: random:ecg-cpc\ntasks: [ptbxl_super]\nmode: [linear, post_train]\npreset: native\ndata_root: mock\n"
        "include: [a.yaml, b]\nseparate: true\ntrain-fraction: 1/8\nlimit: null\noutput: out\nseed: 3\ndevice: cpu\n"
        "dtype: bfloat16\nmicro_batch: 4\nshard: 1/4\nnum-workers: 2\nnum_proc: 2\ncache_dir: cache\ncache_size: 1\n"
        "feature_dtype: float16\nmax_unreadable: 0.1\nsave_model: true\noverwrite: false\ndry_run: true\n"
        "protocol: fast\npost_train: {stage1: {epochs: 3}}\nconfidence: 0.9\n"
    )
    options = parse("--config", str(file))
    assert (options.models, options.tasks) == (("random:ecg-cpc",), ("ptbxl_super",))
    assert (options.modes, options.preset) == (("linear", "post_train"), "native")
    assert (options.data_root, options.include) == ("mock", (Path("a.yaml"), Path("b")))
    assert (options.separate, options.limit, options.seeds, options.device) == (True, None, (3,), "cpu")
    assert options.train_subset == TrainSubset(1 / 8)
    assert (options.output, options.cache_dir, options.cache_size) == (Path("out"), Path("cache"), 1.0)
    assert (options.dtype, options.feature_dtype, options.micro_batch) == ("bfloat16", "float16", 4)
    assert (options.shard, options.num_workers, options.num_proc) == ((1, 4), 2, 2)
    assert (options.max_unreadable, options.save_model, options.overwrite) == (0.1, True, False)
    assert options.protocol == protocol("fast", confidence=0.9)
    assert options.post_training == PostTraining(stage1_epochs=3)


def test_a_switch_is_a_field_and_its_help_is_its_text() -> None:
    fields = {item.name: item for item in options_of(RunOptions)}
    missing = {item.name for item in dataclasses.fields(RunOptions)} - set(fields)
    assert missing == {"protocol"}, "whose numbers are options of their own"
    shown = " ".join(build_parser().parse_args(["run", *BASE]).__dict__)
    assert "limit" not in shown, "an option that is not given is absent, so that a file may give it"
    assert all(item.metadata["group"] for item in fields.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3\n", "Did you mean 'epochs'"),
        ("- model\n", "a mapping of fields such as `model: ecg-cpc` is expected; the file is a list"),
        ("model: [\n", "not valid YAML"),
        ("epochs: 3\nepochs: 4\n", "field 'epochs' is given twice"),
        ("epochs: many\n", "epochs is 'many': it must be of type int \\(passes over the training records\\)"),
        ("epochs: null\n", "epochs is None: it must be of type int"),
        ("limit: many\n", "limit is 'many': it must be of type int"),
        ("separate: maybe\n", "separate is 'maybe': it must be of type bool"),
        ("cache-size: big\n", "cache_size is 'big': it must be of type float .disk for encoded windows .default: 20"),
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


def test_without_a_data_root_it_is_where_prepare_puts_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECG_DATA_ROOT", raising=False)
    words = ("--model", "random:ecg-cpc", "--tasks", "ptbxl_super")
    assert parse(*words).data_root == parse(*words, "--data-root", "").data_root == str(home() / "data")


def test_downloading_what_is_simulated_is_refused() -> None:
    with pytest.raises(InputError, match="leave one of them out"):
        parse(*BASE, "--download")


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
        (["--model", "random:ecg-cpd", *BASE[2:]], 2, "Did you mean .random:ecg-cpc"),
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
