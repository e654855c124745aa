"""Heads on encoders that are not ours: what is kept, and that it is opened again only on the encoder of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ecg_hub import ECGFeatureExtractor
from ecg_hub.errors import InputError, ResultError
from ecg_hub.leads import LEADS
from eval_harness.analyses.robustness.run import RobustnessOptions, run_robustness
from eval_harness.analyses.trained import find_one, open_trained
from eval_harness.analyses.transfer.run import TransferOptions, run_transfer
from eval_harness.cli.eval.main import main
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import PostTraining, protocol
from eval_harness.models.custom_heads import read_head
from eval_harness.runner.run import evaluate

Options = Callable[..., RunOptions]

OBJECT = """
class Encoder:
    sampling_rate, input_seconds = 100, 2.5

    def encode(self, signals):
        return signals.unflatten(-1, (25, 10)).mean(-1).transpose(1, 2).repeat(1, 1, 4)
"""
MODULE = """
import torch

class Net(torch.nn.Module):
    sampling_rate, input_seconds = 100, 2.5

    def __init__(self):
        super().__init__()
        torch.manual_seed(SEED)
        self.layer = torch.nn.Conv1d(12, 16, 25, 25)
        self.norm = torch.nn.BatchNorm1d(16)

    def encode(self, signals):
        return self.norm(self.layer(signals)).transpose(1, 2)
""".replace("SEED", "0")


@pytest.fixture
def saved(options: Options, tmp_path: Path, data_root: Path, data_cache: Path) -> Callable[..., tuple[Path, Any]]:
    """Run an encoder with `--save-model`; gives its result folder and options of an analysis of it."""

    def make(model: str, mode: str, **changes: Any) -> tuple[Path, Any]:
        asked = options(models=(model,), modes=(mode,), save_model=True, output=tmp_path / "results", **changes)
        (result,) = evaluate(asked, quiet=True)
        assert result.status == "done", result.reason
        (folder,) = [path.parent for path in (tmp_path / "results").rglob("run.json")]
        about = {
            "folder": folder, "data_root": str(data_root), "quiet": True, "cache_dir": data_cache, "device": "cpu",
        }  # fmt: skip
        return folder, lambda **more: RobustnessOptions(**{**about, "wanted": ("gain", "lead_i_only"), **more})

    return make


def object_file(tmp_path: Path, text: str, name: str = "mine") -> str:
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    return f"python:{path}"


def foreign(folder: Path, seed: int = 0) -> str:
    """A PreTrainedModel of another library with an ECG feature extractor beside it."""
    from transformers import ASTConfig, ASTModel

    torch.manual_seed(seed)
    config = ASTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32, patch_size=4,
        frequency_stride=4, time_stride=10, num_mel_bins=250, max_length=12,
    )  # fmt: skip
    ASTModel(config).save_pretrained(folder)
    preset = {"sampling_rate": 100, "input_seconds": 2.5, "lead_names": list(LEADS), "steps": []}
    ECGFeatureExtractor(12, 100, presets={"benchmark": preset}).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("kind", "mode", "files"),
    [
        ("object", "linear", {"head.json", "head.safetensors"}),
        pytest.param("object", "frozen", {"head.json", "head.safetensors"}, marks=pytest.mark.heavy),
        pytest.param(
            "module", "finetune", {"head.json", "head.safetensors", "encoder.safetensors"}, marks=pytest.mark.heavy
        ),
        ("module", "post_train", {"head.json", "head.safetensors", "encoder.safetensors"}),
        pytest.param("foreign", "linear", {"head.json", "head.safetensors"}, marks=pytest.mark.heavy),
        ("foreign", "finetune", {"head.json", "head.safetensors", "encoder.safetensors"}),
    ],
)
@pytest.mark.heavy
def test_a_kept_head_gives_the_scores_of_its_run(
    kind: str, mode: str, files: set[str], saved: Callable[..., tuple[Path, Any]], tmp_path: Path
) -> None:
    texts = {"object": (OBJECT, "Encoder"), "module": (MODULE, "Net")}
    if kind == "foreign":
        model = foreign(tmp_path / "foreign")
    else:
        model = f"{object_file(tmp_path, texts[kind][0])}:{texts[kind][1]}"
    stages = PostTraining(depth_rate=0, stage1_epochs=1, stage2_epochs=1, batch_size=16)
    changes: dict[str, Any] = {}
    if mode == "post_train":
        changes = {"post_training": stages, "protocol": protocol(resamples=50)}
    folder, analysis = saved(model, mode, **changes)
    kept = folder / "model" / "ptbxl_super"
    assert {path.name for path in kept.iterdir()} == {*files, "preprocessor_config.json"}
    described = read_head(kept)
    assert described.model == model
    assert described.pooling == ("attention" if mode == "frozen" else "mean")
    assert described.thresholds is not None
    assert len(described.thresholds) == len(described.labels)
    (result,) = run_robustness(analysis(model=model))
    assert result.largest_difference is not None
    assert result.largest_difference < 1e-5
    assert {condition.status for condition in result.conditions} == {"done"}


@pytest.mark.heavy
def test_code_is_run_only_where_it_is_named_and_may_have_moved(
    saved: Callable[..., tuple[Path, Any]], tmp_path: Path
) -> None:
    model = f"{object_file(tmp_path, MODULE)}:Net"
    folder, analysis = saved(model, "finetune")
    with pytest.raises(InputError, match=f"code is run only where it is named: add --model {model}"):
        run_robustness(analysis())
    moved = object_file(tmp_path, MODULE, "elsewhere")
    (tmp_path / "mine.py").unlink()
    (result,) = run_robustness(analysis(model=f"{moved}:Net"))
    assert result.complete
    found = find_one(folder)
    trained = open_trained(found, "ptbxl_super", **analysis(model=f"{moved}:Net").open_options)
    weights = load_file(folder / "model" / "ptbxl_super" / "encoder.safetensors")
    assert torch.equal(trained.classifier.base_model.module.layer.weight.cpu(), weights["layer.weight"])


@pytest.mark.parametrize("kind", ["code", "weights", "foreign", "ours"])
def test_another_encoder_is_refused(kind: str, saved: Callable[..., tuple[Path, Any]], tmp_path: Path) -> None:
    if kind == "foreign":
        _, analysis = saved(foreign(tmp_path / "foreign"), "linear")
        other: str | None = None  # found by itself, and no longer what it was
        foreign(tmp_path / "foreign", seed=1)
    else:
        _, analysis = saved(f"{object_file(tmp_path, MODULE)}:Net", "linear")
        texts = {"code": MODULE + "# another\n", "weights": MODULE.replace("seed(0)", "seed(1)"), "ours": MODULE}
        other = f"{object_file(tmp_path, texts[kind])}:Net" if kind != "ours" else "random:ecg-cpc-tiny"
    with pytest.raises(ResultError, match="is not the encoder of this run: its fingerprint is"):
        run_robustness(analysis(model=other))


@pytest.mark.heavy
def test_a_head_is_moved_to_another_dataset(saved: Callable[..., tuple[Path, Any]], tmp_path: Path) -> None:
    from dataset_scripts.mock import write

    model = f"{object_file(tmp_path, OBJECT)}:Encoder"
    folder, analysis = saved(model, "linear", tasks=("ptbxl_all",))
    write("georgia", tmp_path / "other" / "georgia", records=80, seed=3)
    moved = TransferOptions(
        folder=folder, to="georgia", data_root=str(tmp_path / "other"), model=model, quiet=True,
        cache_dir=analysis().cache_dir, device="cpu",
    )  # fmt: skip
    (result,) = run_transfer(moved)
    assert result.tasks["ptbxl_all"].status == "done"
    assert result.contamination == "unknown", "nothing is declared of its pre-training"


@pytest.mark.heavy
def test_damaged_files_are_refused(saved: Callable[..., tuple[Path, Any]], tmp_path: Path) -> None:
    model = f"{object_file(tmp_path, OBJECT)}:Encoder"
    folder, analysis = saved(model, "linear")
    kept = folder / "model" / "ptbxl_super"
    content = json.loads((kept / "head.json").read_text())
    (kept / "head.json").write_text(json.dumps({**content, "pickle": "x"}))
    with pytest.raises(ResultError, match="describes no head: pickle: extra inputs"):
        run_robustness(analysis(model=model))
    (kept / "head.json").write_text(json.dumps({**content, "labels": content["labels"][:-1]}))
    with pytest.raises(ResultError, match=r"does not hold the weights that head\.json says"):
        run_robustness(analysis(model=model))
    (kept / "head.json").write_text(json.dumps({**content, "encoder_trained": True}))
    with pytest.raises(ResultError, match=r"the encoder is no nn\.Module"):
        run_robustness(analysis(model=model))
    (kept / "head.json").write_text(json.dumps(content))
    (kept / "head.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ResultError, match=r"does not hold the weights that head\.json says"):
        run_robustness(analysis(model=model))


@pytest.mark.heavy
def test_the_encoder_of_a_model_of_the_hub_is_not_named(options: Options, tmp_path: Path) -> None:
    (result,) = evaluate(options(modes=("scratch",), save_model=True), quiet=True)
    assert result.status == "done", result.reason
    (folder,) = [path.parent for path in options().output.rglob("run.json")]
    asked = RobustnessOptions(
        folder=folder, wanted=("gain",), data_root=options().data_root, quiet=True,
        cache_dir=options().cache_dir, device="cpu",
    )  # fmt: skip
    assert run_robustness(asked)[0].complete, "a model trained from scratch keeps its weights like any other"
    with pytest.raises(InputError, match="names an encoder that is not the hub's"):
        run_robustness(replace(asked, model="random:ecg-cpc-tiny", output=tmp_path / "again"))


@pytest.mark.heavy
def test_the_baseline_has_nothing_to_keep(
    options: Options, data_root: Path, data_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trivial = options(models=("trivial",), modes=("linear",), output=tmp_path / "trivial", save_model=True)
    (result,) = evaluate(trivial, quiet=True)
    assert result.status == "done", result.reason
    assert "scored and not kept" in capsys.readouterr().err
    (folder,) = [path.parent for path in trivial.output.rglob("run.json")]
    assert not (folder / "model").exists()
    words = [str(folder), "--data-root", str(data_root), "--cache-dir", str(data_cache)]
    for verb in (["robustness", *words], ["transfer", *words, "--to", "georgia"]):
        assert main(verb) == 1
        assert "which has no encoder and no head to keep" in capsys.readouterr().err
