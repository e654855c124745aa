"""Encoders that are not ours: Python objects, and PreTrainedModels of another library."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ecg_hub import ECGFeatureExtractor
from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from eval_harness.config.options import RunOptions
from eval_harness.config.protocol import Protocol
from eval_harness.models.adapting import adapt, parameter_groups
from eval_harness.models.custom_models import features_may_be_kept, load_custom
from eval_harness.models.loading import load_model
from eval_harness.runner.plan import plan
from eval_harness.runner.run import evaluate

Options = Callable[..., RunOptions]

OBJECT = """
import torch

class Encoder:
    sampling_rate = 100
    input_seconds = 2.5

    def encode(self, signals):
        assert signals.shape[1:] == (12, 250)
        return signals.unflatten(-1, (25, 10)).mean(-1).transpose(1, 2)[..., :{width}]

def make():
    return Encoder()

ready = Encoder()
"""
MODULE = """
import torch

class Net(torch.nn.Module):
    sampling_rate, input_seconds, lead_names = 100, 2.5, ["I", "II"]

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv1d(2, 16, 25, 25)

    def encode(self, signals):
        return self.layer(signals).transpose(1, 2)
"""


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "mine.py"
        path.write_text(text)
        return f"python:{path}"

    return write


@pytest.mark.parametrize("attribute", ["Encoder", "make", "ready"])
def test_an_object_is_scored_like_any_model(options: Options, file: Callable[[str], str], attribute: str) -> None:
    name = f"{file(OBJECT.format(width=12))}:{attribute}"
    (result,) = evaluate(options(models=(name,)), quiet=True)
    assert result.status == "done", result.reason
    assert result.model.id == name
    assert result.data is not None
    assert result.data.contamination == "unknown", "nothing is declared of its pre-training"


def test_without_a_mode_an_object_is_not_fine_tuned(options: Options, file: Callable[[str], str]) -> None:
    name = f"{file(OBJECT.format(width=12))}:Encoder"
    assert [job.mode for job in plan(options(models=(name,), modes=()))] == ["linear", "frozen"]
    (result,) = evaluate(options(models=(name,), modes=("finetune",)), quiet=True)
    assert result.status == "failed"
    assert "is no nn.Module; allowed: frozen, linear" in str(result.reason)


@pytest.mark.heavy
def test_a_module_is_fine_tuned_and_the_original_stays(options: Options, file: Callable[[str], str]) -> None:
    name = f"{file(MODULE)}:Net"
    results = evaluate(options(models=(name,), modes=("linear", "frozen", "finetune")), quiet=True)
    assert [result.status for result in results] == ["done"] * 3, [result.reason for result in results]
    loaded = load_model(name, "finetune", "benchmark", 0)
    before = loaded.encoder.module.layer.weight.clone()
    model = adapt(loaded.encoder, "finetune", ["a"], "multi_label_classification", Protocol())
    groups = {group["name"]: len(list(group["params"])) for group in parameter_groups(model, "finetune", Protocol())}
    assert groups == {"head": 2, "late": 2, "early": 0}
    model(torch.randn(2, 2, 250)).sum().backward()
    inner: Any = model.encoder.module
    assert inner.layer.weight.grad is not None
    with torch.no_grad():
        inner.layer.weight += 1
    assert loaded.encoder.module.layer.weight.equal(before)
    values = torch.randn(1, 2, 250)
    assert not model.encode(values).equal(loaded.encoder(values).pooler_output), "the copy computes with its weights"


def test_fine_tuning_refuses_an_encoder_without_gradients(options: Options, file: Callable[[str], str]) -> None:
    """Its head alone trained, under the name of another mode."""
    name = f"{file(MODULE.replace('    def encode', '    @torch.no_grad()' + chr(10) + '    def encode'))}:Net"
    (tuned, fixed) = evaluate(options(models=(name,), modes=("finetune", "linear")), quiet=True)
    assert fixed.status == "done", fixed.reason
    assert tuned.status == "failed"
    assert "features without gradients" in str(tuned.reason)
    assert "a mode that fixes the encoder: " in str(tuned.reason)


NOT_FINITE = """
    def encode(self, signals):
        tokens = self.layer(signals).transpose(1, 2)
        if self.training:
            return tokens
        few = torch.zeros(len(tokens), 1, 1)
        few[0] = torch.nan
        return tokens + few
"""


@pytest.mark.parametrize("mode", ["linear", "frozen"])
def test_a_head_that_is_trained_on_no_numbers_is_no_result(
    mode: str, options: Options, file: Callable[[str], str]
) -> None:
    """One such window made the head NaN, and every record scored 0.5."""
    name = f"{file(MODULE.partition('    def encode')[0] + NOT_FINITE)}:Net"
    (result,) = evaluate(options(models=(name,), modes=(mode,)), quiet=True)
    assert result.status == "failed"
    assert "weights of the head became NaN or infinite in epoch 1" in str(result.reason)


def test_records_whose_features_are_no_numbers_are_counted(options: Options, file: Callable[[str], str]) -> None:
    """Their windows count as 0.5 as published, and nobody heard of it."""
    name = f"{file(MODULE.partition('    def encode')[0] + NOT_FINITE)}:Net"
    (result,) = evaluate(options(models=(name,), modes=("finetune",)), quiet=True)
    assert result.status == "done", result.reason
    said = str(result.protocol.deviations["features_not_finite"])
    assert re.fullmatch(r"[1-9]\d* validation records, [1-9]\d* test records", said)
    assert result.metrics is not None


def test_features_beyond_half_precision_are_not_kept_in_it(options: Options, file: Callable[[str], str]) -> None:
    name = f"{file(MODULE.replace('return self.layer(signals)', 'return 1e6 * self.layer(signals)'))}:Net"
    for dtype, status in (("float16", "failed"), ("float32", "done")):
        (result,) = evaluate(
            options(models=(name,), feature_dtype=dtype, output=Path(name[7:]).parent / dtype), quiet=True
        )
        assert result.status == status, result.reason
        if status == "failed":
            assert "float16 holds up to 65,504: keep them with --feature-dtype float32" in str(result.reason)


def test_loading_changes_nothing_in_a_module(file: Callable[[str], str]) -> None:
    """A fresh module is in train mode, in which batch norms follow whatever window comes along."""
    norm = "self.layer = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Conv1d(2, 16, 25, 25))\n"
    norm += "        self.layer[0].running_mean.fill_(1.0)\n"
    name = f"{file(MODULE.replace('self.layer = torch.nn.Conv1d(2, 16, 25, 25)', norm) + 'ready = Net()')}:ready"
    first, second = load_custom(name), load_custom(name)
    assert first[0].module.layer[0].running_mean.tolist() == [1.0, 1.0]
    assert first[0].module.layer[0].running_var.tolist() == [1.0, 1.0]
    assert first[2] == second[2]


def test_modules_of_an_object_are_in_eval_mode(file: Callable[[str], str]) -> None:
    text = OBJECT.format(width=12).replace("signals.unflatten", "self.norm(signals).unflatten")
    name = f"{file(text + 'Encoder.norm = torch.nn.BatchNorm1d(12)')}:Encoder"
    encoder, _, _ = load_custom(name)
    x = torch.randn(2, 12, 250) + 3
    tokens = encoder(x).last_hidden_state
    assert tokens.mean() > 2, "the norm has seen nothing: it gives back what it gets"


def test_a_module_without_encode_is_called(file: Callable[[str], str]) -> None:
    """As in memory, and as `validate-model` checks it."""
    encoder, _, _ = load_custom(f"{file(MODULE.replace('encode(', 'forward('))}:Net")
    expected, _, _ = load_custom(f"{file(MODULE)}:Net")
    values = torch.randn(2, 2, 250)
    assert encoder(values).last_hidden_state.equal(expected(values).last_hidden_state)
    assert [name for name, _ in encoder.named_parameters()] == ["module.layer.weight", "module.layer.bias"]


def test_kept_features_follow_code_and_weights(file: Callable[[str], str]) -> None:
    first = load_custom(f"{file(OBJECT.format(width=12))}:Encoder")
    assert not features_may_be_kept(first[0])
    changed = load_custom(f"{file(OBJECT.format(width=8))}:Encoder")
    assert first[2] != changed[2]
    marked = load_custom(f"{file(OBJECT.format(width=8) + 'Encoder.fingerprint = 1')}:Encoder")
    assert features_may_be_kept(marked[0])
    module = load_custom(f"{file(MODULE)}:Net")
    assert features_may_be_kept(module[0])
    assert module[2] == load_custom(f"{file(MODULE)}:Net")[2]


@pytest.mark.parametrize(
    ("text", "attribute", "words"),
    [
        (OBJECT.format(width=12), "Nobody", "has no 'Nobody'; it has: torch, Encoder, make, ready"),
        (OBJECT.format(width=12), "", "does not name a Python object"),
        ("import nowhere_at_all", "x", "cannot be imported: No module named"),
        ("class Encoder:\n    pass\n", "Encoder", "lacks encode, sampling_rate, input_seconds"),
        ("import torch\nNet = torch.nn.Identity\n", "Net", r"lacks sampling_rate, input_seconds\."),
        (
            "class E:\n    sampling_rate, input_seconds = 100, 1\n    def encode(self, x):\n        return x.sum()\n",
            "E",
            r"encode\(\) gave \(\) for two windows of \(12, 100\)",
        ),
    ],
)
def test_what_is_no_encoder_is_refused(file: Callable[[str], str], text: str, attribute: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_custom(f"{file(text)}:{attribute}")


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"There is no file '/nowhere/x\.py'"):
        load_custom("python:/nowhere/x.py:E")


@pytest.mark.heavy
def test_a_pretrained_model_of_another_library(options: Options, tmp_path: Path) -> None:
    """The audio spectrogram transformer: its class has `input_values` and no notion of leads."""
    from transformers import ASTConfig, ASTModel

    config = ASTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32, patch_size=4,
        frequency_stride=4, time_stride=10, num_mel_bins=250, max_length=12,
    )  # fmt: skip
    folder = tmp_path / "foreign"
    ASTModel(config).save_pretrained(folder)
    preset = {"sampling_rate": 100, "input_seconds": 2.5, "lead_names": list(LEADS), "steps": []}
    ECGFeatureExtractor(12, 100, presets={"benchmark": preset}).save_pretrained(folder)
    results = evaluate(options(models=(str(folder),), modes=("linear", "finetune"), limit=20, epochs=1), quiet=True)
    assert [result.status for result in results] == ["done", "done"], [result.reason for result in results]
