"""`eval_harness.evaluate`: the run of the command line, with models and tasks that may be objects."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

import eval_harness
from ecg_hub import AutoModel
from ecg_hub.errors import DataError, InputError, ResultError, UnknownNameError
from eval_harness.api.evaluation import KEYWORDS, Settings, named_models
from eval_harness.api.results import Results
from eval_harness.cli.eval.main import main
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import Protocol
from eval_harness.results.runfile import read_run
from eval_harness.runner import job as job_module

TINY = "random:ecg-cpc-tiny"
TIMES = re.compile(r'"timings_s": \{[^}]*\}|"(created|seconds)": [^,\n]*')


class Net(torch.nn.Module):
    """Pooled features of 2.5 s; with a batch norm, which eval mode must not change."""

    sampling_rate, input_seconds = 100, 2.5

    def __init__(self, stride: int = 25) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = torch.nn.Conv1d(12, 16, 25, stride)
            self.norm = torch.nn.BatchNorm1d(16)

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.norm(self.layer(signals)).mean(-1)
        return features


class Encoder:
    sampling_rate, input_seconds = 100, 2.5

    def __init__(self, width: int = 12) -> None:
        self.width = width

    def encode(self, signals: torch.Tensor) -> torch.Tensor:
        return signals.unflatten(-1, (25, 10)).mean(-1).transpose(1, 2)[..., : self.width]


@pytest.fixture
def small(data_root: Path, data_cache: Path, tmp_path: Path) -> dict[str, Any]:
    """Keywords of a tiny run."""
    paths = {"data_root": data_root, "cache_dir": data_cache, "output": tmp_path / "results"}
    return {**paths, "epochs": 1, "batch_size": 16, "resamples": 20, "limit": 30, "device": "cpu", "quiet": True}


def content(path: Path) -> str:
    """The text of a file without its times."""
    return TIMES.sub("", path.read_text())


def test_the_call_and_the_command_line_write_the_same_results(
    small: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = eval_harness.evaluate(TINY, "ptbxl_super", modes="linear", protocol="fast", **small)
    assert [result.status for result in results] == ["done"], results[0].reason
    words = ["--model", TINY, "--tasks", "ptbxl_super", "--mode", "linear", "--protocol", "fast"]
    for name in ("data_root", "cache_dir", "epochs", "batch_size", "resamples", "limit", "device"):
        words += [f"--{name.replace('_', '-')}", str(small[name])]
    other = tmp_path / "other"
    assert main([*words, "--output", str(other)]) == 0
    capsys.readouterr()
    ours, theirs = (
        {file.relative_to(root): file for file in root.rglob("*.json")} for root in (small["output"], other)
    )
    assert ours.keys() == theirs.keys()
    assert sorted(path.name for path in ours) == ["ptbxl_super.json", "ptbxl_super.json", "run.json"]
    for path, file in ours.items():
        if path.name == "run.json":
            assert read_run(file).fingerprint == read_run(theirs[path]).fingerprint
            assert read_run(file).command[0] == "eval_harness.evaluate"
        else:
            assert content(file) == content(theirs[path]), path
    # Each continues what the other began.
    monkeypatch.setattr(job_module.Trainer, "run", lambda self: pytest.fail("trained again"))
    again = eval_harness.evaluate(TINY, "ptbxl_super", modes=["linear"], protocol="fast", **{**small, "output": other})
    one, other_one = (given.to_frame().drop(columns="created") for given in (again, results))
    assert one.equals(other_one)


def test_objects_are_scored_in_memory_and_stay_as_they_were(small: dict[str, Any]) -> None:
    ours, net = AutoModel.from_pretrained(TINY), Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    results = eval_harness.evaluate([TINY, ours, net, Encoder], "ptbxl_super", modes="linear", **small)
    assert [result.status for result in results] == ["done"] * 4, [result.reason for result in results]
    ids = [result.model.id for result in results]
    assert ids == [TINY, "python:ECGCPCModel", "python:Net", "python:Encoder"]
    assert results[1].metrics == results[0].metrics, "a model in memory is that of its name"
    assert results[1].model.weights_sha256 == results[0].model.weights_sha256
    assert [result.data and result.data.contamination for result in results[1:3]] == ["clean", "unknown"]
    assert net.training
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert len({result.model.weights_sha256 for result in results}) == 3
    table = results.compare(resamples=20).to_frame()
    assert len(table) == 4
    assert table.loc[table["model"] == "python:ECGCPCModel linear", "n"].item() == results[0].data.records.test  # type: ignore[union-attr]


@pytest.mark.heavy
def test_a_changed_object_does_not_continue_the_results_of_another(small: dict[str, Any]) -> None:
    options = {**small, "limit": 12}
    results = eval_harness.evaluate({"mine": Encoder(12)}, "ptbxl_super", modes="linear", **options)
    assert results[0].model.id == "python:mine"
    assert results.folders == (small["output"] / "python__mine" / "linear",)
    # The same code with another width: its attribute decides, which no weights and no file show.
    with pytest.raises(ResultError, match="holds results of another run") as caught:
        eval_harness.evaluate({"mine": Encoder(6)}, "ptbxl_super", modes="linear", **options)
    assert "Choose another `output`, or `overwrite` to discard" in str(caught.value)


@pytest.mark.heavy
def test_a_module_is_fine_tuned_on_a_copy(
    small: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Net()
    before = net.layer.weight.clone()
    fresh = {**small, "limit": 12, "cache_dir": tmp_path / "cache"}
    (result,) = eval_harness.evaluate(net, "ptbxl_super", modes="finetune", **fresh)
    assert result.status == "done", result.reason
    assert capsys.readouterr().err == "", "quiet, also where data are prepared"
    assert net.layer.weight.equal(before)
    with pytest.raises(InputError, match=r"Mode 'scratch' draws the weights .* 'python:Net' is an object"):
        eval_harness.evaluate(net, "ptbxl_super", modes="scratch", **small)


@pytest.mark.heavy
def test_a_task_made_in_python_is_kept_beside_the_results(small: dict[str, Any]) -> None:
    builtin = eval_harness.get_task("ptbxl_super")
    changes = {"name": "infarction", "run": "infarction", "labels": ("MI", "NORM"), "published": False}
    task = builtin.model_copy(update=changes)
    options = {**small, "limit": 12}
    results = eval_harness.evaluate(TINY, [builtin, task], modes="linear", **options)
    assert [(result.task, result.status) for result in results] == [("ptbxl_super", "done"), ("infarction", "done")]
    read = eval_harness.read_results(small["output"])
    assert read.include == (small["output"] / "tasks",)
    assert {result.task for result in read} == {"ptbxl_super", "infarction"}
    other = eval_harness.evaluate("trivial", task, **options)
    assert [comparison.task for comparison in read.compare(other, resamples=20)] == ["infarction"]
    with pytest.raises(InputError, match="raise the version of yours"):
        eval_harness.evaluate(TINY, task.model_copy(update={"labels": ("MI",)}), **options)
    with pytest.raises(InputError, match="task 'ptbxl_super' is built in"):
        eval_harness.evaluate(TINY, builtin.model_copy(update={"labels": ("MI",)}), **options)
    assert [file.name for file in (small["output"] / "tasks").iterdir()] == ["infarction.yaml"]


@pytest.mark.heavy
def test_a_failure_is_a_row_or_is_raised(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "encode", broken)
    results = eval_harness.evaluate([Encoder(), "trivial"], "ptbxl_super", modes="linear", **{**small, "limit": 12})
    assert [result.status for result in results] == ["failed", "done"]
    assert "ZeroDivisionError: a fault of the model" in str(results.failed[0].reason)
    assert (len(results.failed), len(results.done)) == (1, 1)
    with pytest.raises(ZeroDivisionError, match="a fault of the model"):
        eval_harness.evaluate(Encoder(), "ptbxl_super", modes="linear", raise_errors=True, **{**small, "limit": 12})


def broken(self: Encoder, signals: torch.Tensor) -> torch.Tensor:
    if len(signals) != 2:  # what asks for the width
        raise ZeroDivisionError("a fault of the model")
    return torch.zeros(2, 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "ecg-cpcc"}, "Unknown model 'ecg-cpcc'. Did you mean 'ecg-cpc'"),
        ({"tasks": "ptbxl_supr"}, "Unknown task or suite 'ptbxl_supr'. Did you mean 'ptbxl_super'"),
        ({"modes": "liner"}, "Unknown mode 'liner'. Did you mean 'linear'"),
        ({"protocol": "fastt"}, "Unknown protocol 'fastt'. Did you mean 'fast'"),
        ({"epoch": 3}, "Unknown keyword 'epoch'. Did you mean 'epochs'"),
        ({"mode": "linear"}, "Unknown keyword 'mode'. Did you mean 'modes'"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    call = {"model": TINY, "tasks": "ptbxl_super", "data_root": "mock", "output": tmp_path / "results", **changes}
    with pytest.raises(UnknownNameError, match=words):
        eval_harness.evaluate(**call)
    assert not (tmp_path / "results").exists()


def test_errors_name_keywords_and_leave_commands_whole(tmp_path: Path) -> None:
    call = {"modes": "linear", "data_root": tmp_path, "output": tmp_path / "results"}
    with pytest.raises(DataError) as caught:
        eval_harness.evaluate("st-mem", "ptbxl_super", **call)
    text = str(caught.value)
    assert "missing; `download` fetches" in text
    assert "`data_root` mock" in text
    assert "ecg-hub convert st-mem --checkpoint FILE" in text
    assert re.search(r"ecg-hub data prepare ptb-xl --data-dir \S+ --download", text)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (torch.nn.Linear(1, 1), "'python:Linear' lacks sampling_rate and input_seconds: .* model.sampling_rate = 100"),
        (3, "'python:int': a int is no model. A model is a name, folder or hub id"),
        ([Net(), Net(5)], "Two models are called 'python:Net'; give a dict"),
        ({"a,b": Net()}, "'a,b' cannot name a model"),
        ({"cpc": TINY}, f"'{TINY}' has its name already"),
        ([], "No model was given"),
    ],
)
def test_what_is_no_model_is_refused_before_anything_runs(model: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        eval_harness.evaluate(model, "ptbxl_super", data_root="mock", output=tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_half_an_epoch_is_refused() -> None:
    with pytest.raises(InputError, match=r"epochs is 2\.5: it must be of type int"):
        eval_harness.evaluate(TINY, "ptbxl_super", data_root="mock", epochs=2.5)  # type: ignore[typeddict-item]


def test_names_and_objects_may_be_mixed() -> None:
    net = Net()
    assert named_models(["ecg-cpc", Path("folder")]) == {"ecg-cpc": None, "folder": None}
    assert named_models(("merl", net)) == {"merl": None, "python:Net": net}
    assert named_models({"first": net, "second": net}) == {"python:first": net, "python:second": net}


def test_every_option_of_a_run_is_a_keyword() -> None:
    spelled = {"models": "model", "seeds": "seed", "train_subset": "train_fraction", "post_training": "post_train"}
    options = {item.name for owner in (RunOptions, Protocol) for item in fields(owner)} - {"name"}
    assert {spelled.get(name, name) for name in options} | {"quiet", "raise_errors"} == set(KEYWORDS)
    assert not set(Settings.__annotations__) & set(eval_harness.evaluate.__annotations__)


def test_empty_results_say_so(tmp_path: Path) -> None:
    assert repr(Results([], [], tmp_path)) == f"no results in {str(tmp_path)!r}"
