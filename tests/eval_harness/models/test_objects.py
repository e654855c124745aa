"""Models in memory as encoders: what is taken, what is refused, and what tells one from another."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ecg_hub import AutoModel, AutoModelForECGClassification, ECGFeatureExtractor
from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from eval_harness.models.custom_models import features_may_be_kept
from eval_harness.models.loading import load_model
from eval_harness.models.objects import load_object

TINY = "random:ecg-cpc-tiny"


class Net(torch.nn.Module):
    sampling_rate, input_seconds = 100, 2.5

    def __init__(self, stride: int = 25) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = torch.nn.Conv1d(12, 16, 25, stride)

    def encode(self, signals: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.layer(signals).transpose(1, 2)
        return tokens


def extractor(rate: int = 100) -> ECGFeatureExtractor:
    preset = {"sampling_rate": rate, "input_seconds": 2.5, "lead_names": list(LEADS), "steps": []}
    return ECGFeatureExtractor(12, rate, presets={"benchmark": preset})


def digest(made: Any) -> str:
    return load_object(made, "python:it").weights_sha256


def test_a_model_of_ours_is_what_its_name_loads() -> None:
    named = load_model(TINY, "linear", "benchmark", 0)
    held = load_object(AutoModel.from_pretrained(TINY), "python:it")
    assert held.weights_sha256 == named.weights_sha256
    assert held.extractor.to_json_string() == named.extractor.to_json_string()
    assert (held.entry, held.origin, held.released, held.parameters) == (
        named.entry, named.origin, named.released, named.parameters,
    )  # fmt: skip
    assert held.is_random
    assert held.corpora == []


def test_of_a_classifier_the_encoder_is_taken() -> None:
    classifier = AutoModelForECGClassification.from_pretrained(TINY, num_labels=2)
    loaded = load_object(classifier, "python:it")
    assert type(loaded.encoder) is type(classifier.base_model)
    assert loaded.encoder is not classifier.base_model


def test_weights_that_were_trained_in_memory_are_others() -> None:
    model = AutoModel.from_pretrained(TINY)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        next(changed.parameters()).add_(1)
    assert digest(model) != digest(changed)


def test_a_pair_says_what_the_model_is_fed() -> None:
    loaded = load_object((Net(), extractor(50)), "python:it")
    assert loaded.extractor.spec().sampling_rate == 50
    plain = SimpleNamespace(encode=lambda signals: signals.mean(-1), fingerprint="1")
    assert load_object((plain, extractor()), "python:it").encoder.config.hidden_size == 12


def test_a_module_in_half_precision_and_train_mode_is_scored_in_float32() -> None:
    net = Net().to(torch.bfloat16).train()
    loaded = load_object(net, "python:it")
    assert {parameter.dtype for parameter in loaded.encoder.parameters()} == {torch.float32}
    assert not loaded.encoder.module.training
    assert net.layer.weight.dtype == torch.bfloat16
    assert net.training


@pytest.mark.parametrize("way", ["attribute", "list", "name", "decorated", "method", "partial", "itself"])
def test_an_object_computes_with_its_modules_in_eval_mode_and_gets_them_back(way: str) -> None:
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(12), torch.nn.Dropout(0.5))
    net[1].eval()
    made: Any = SimpleNamespace(sampling_rate=100, input_seconds=1, fingerprint="1")
    made.held = {"attribute": {0: net}, "list": [net]}.get(way)
    ways: dict[str, Any] = {
        "name": lambda x: net(x),
        "decorated": torch.no_grad()(lambda x: net(x)),
        "method": net.forward,
        "partial": partial(lambda module, x: module(x), net),
        "itself": net,
    }
    made.encode = ways.get(way, lambda x: made.held[0](x))
    x = torch.randn(4, 12, 100) + 3
    with torch.no_grad():
        encoder = load_object(made, "python:it").encoder
        together = encoder(x).last_hidden_state
        alone = torch.cat([encoder(row[None]).last_hidden_state for row in x])
    assert together.equal(alone), "in train mode a batch norm mixes the records of a batch"
    assert [part.training for part in net.modules()] == [True, True, False]
    assert net[0].running_mean.tolist() == [0.0] * 12
    trained = digest(made)
    net.eval()
    assert digest(made) != trained, "results made in train mode are not continued"


def test_what_decides_the_features_decides_the_digest() -> None:
    assert digest(Net()) == digest(Net())
    # Neither mode nor gradients decide anything.
    used = Net()
    used.encode(torch.zeros(1, 12, 250)).sum().backward()
    assert digest(used.eval()) == digest(Net())
    # The same weights under another stride are another encoder.
    assert digest(Net(5)) != digest(Net())
    first, second = (SimpleNamespace(sampling_rate=100, input_seconds=1, k=k) for k in (1, 2))
    for made in (first, second):
        made.encode = encode
    assert digest(first) != digest(second)
    second.fingerprint = first.fingerprint = "same"
    assert digest(first) == digest(second)


def encode(signals: torch.Tensor) -> torch.Tensor:
    return signals.mean(-1)


def test_features_of_what_has_no_parameters_are_not_kept() -> None:
    made = SimpleNamespace(sampling_rate=100, input_seconds=1, encode=encode)
    assert not features_may_be_kept(load_object(made, "python:it").encoder)
    made.fingerprint = "1"
    assert features_may_be_kept(load_object(made, "python:it").encoder)


def test_what_cannot_be_told_apart_or_copied_is_refused() -> None:
    made = SimpleNamespace(sampling_rate=100, input_seconds=1, encode=encode, handle=(item for item in ()))
    with pytest.raises(InputError, match=r"cannot be pickled .* Give it a `fingerprint`"):
        load_object(made, "python:it")
    net = Net()
    net.handle = made.handle
    with pytest.raises(InputError, match="Net cannot be copied"):
        load_object(net, "python:it")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (object(), "a object is no model"),
        (SimpleNamespace(encode=encode, sampling_rate=100), "lacks input_seconds"),
        ((SimpleNamespace(), extractor()), "a SimpleNamespace is no model"),
        (SimpleNamespace(encode=lambda signals: signals.sum(), sampling_rate=100, input_seconds=1), "encode.. gave"),
    ],
)
def test_what_is_no_encoder_is_refused(made: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_object(made, "python:it")


@pytest.mark.heavy
def test_what_a_script_defines_has_one_digest_in_every_process() -> None:
    """A notebook that is restarted continues its results."""
    code = (
        "import torch\n"
        "from eval_harness.models.objects import load_object\n"
        "class Net(torch.nn.Module):\n"
        "    sampling_rate, input_seconds, names = 100, 1, {'b': 1, 'a': 2}\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(100, 4)\n"
        "        torch.nn.init.ones_(self.layer.weight); torch.nn.init.zeros_(self.layer.bias)\n"
        "    def forward(self, signals):\n"
        "        return self.layer(signals).OPERATION(1)\n"
        "print(load_object(Net(), 'python:Net').weights_sha256)\n"
    )
    both = code.replace("OPERATION", "mean") + code.replace("OPERATION", "sum")
    one, two = (
        subprocess.run(
            [sys.executable, "-c", both],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    )
    assert one == two
    assert one[0] != one[1]
