"""The public names, and that listing things imports nothing heavy."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys

import pytest

import ecg_hub
from ecg_hub import catalog

HEAVY = ("torch", "transformers", "datasets", "pandas", "pyarrow", "scipy", "wfdb", "accelerate", "evaluate")


def imported(code: str, **environment: str) -> list[str]:
    """Names of the heavy modules that are loaded after running some code in a fresh interpreter."""
    report = f"{code}\nimport json, sys\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", report],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def test_public_names() -> None:
    classes = sorted(name for entry in catalog.models().values() for name in entry.class_names)
    fixed = [
        "AutoConfig",
        "AutoFeatureExtractor",
        "AutoModel",
        "AutoModelForECGClassification",
        "AutoModelForPreTraining",
        "ECGCPCForPreTraining",
        "ECGClassificationPipeline",
        "ECGFeatureExtractor",
        "__version__",
        "load_dataset",
        "load_pipeline",
    ]
    assert ecg_hub.__all__ == sorted([*fixed, *classes])
    assert {"ECGCPCConfig", "ECGCPCModel", "ECGCPCForECGClassification"} <= set(classes)
    assert set(ecg_hub.__all__) <= set(dir(ecg_hub))


def test_every_public_name_is_there_and_documented() -> None:
    for name in ecg_hub.__all__:
        value = getattr(ecg_hub, name)
        assert isinstance(value, str) or inspect.getdoc(value), name


def test_star_import() -> None:
    namespace: dict[str, object] = {}
    exec("from ecg_hub import *", namespace)
    assert set(ecg_hub.__all__) <= set(namespace)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="AutoModle"):
        _ = ecg_hub.AutoModle


def test_lazy_import_is_light() -> None:
    code = (
        "import ecg_hub, ecg_hub.catalog, ecg_hub.leads, ecg_hub.errors, ecg_hub.names\n"
        "ecg_hub.catalog.models(); ecg_hub.__all__; ecg_hub.__version__; ecg_hub.names.resolve('random:ecg-cpc')"
    )
    assert imported(code, ECG_HUB_LAZY="1") == []


def test_first_use_registers() -> None:
    code = (
        "import ecg_hub\nassert 'torch' not in __import__('sys').modules\n"
        "ecg_hub.AutoModel\nimport transformers\nassert transformers.AutoConfig.for_model('ecg_cpc')"
    )
    assert "torch" in imported(code, ECG_HUB_LAZY="1")


def test_eager_import_registers() -> None:
    code = "import ecg_hub, transformers\nassert transformers.AutoConfig.for_model('ecg_cpc').hidden_size == 512"
    assert "transformers" in imported(code, ECG_HUB_LAZY="")


def test_version_agrees_with_the_package() -> None:
    from importlib.metadata import version

    assert ecg_hub.__version__ == version("ecg-hub")
