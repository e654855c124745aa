"""The public names, and that listing things imports nothing heavy."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import dataset_scripts
import ecg_hub
import eval_harness
from ecg_hub import catalog

HEAVY = ("torch", "transformers", "datasets", "pandas", "pyarrow", "scipy", "wfdb", "accelerate", "evaluate")


def imported(code: str) -> list[str]:
    """Names of the heavy modules that are loaded after running some code in a fresh interpreter."""
    report = f"{code}\nimport json, sys\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def typed(package: ModuleType) -> dict[str, str]:
    """The names that type checkers are told of, with their modules."""
    tree = ast.parse(Path(str(package.__file__)).read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_every_class_of_every_model_is_a_public_name() -> None:
    missing = sorted(set(catalog.public_classes()) - set(ecg_hub.__all__))
    lines = [f'    "{name}",' for name in missing]
    assert not lines, "run `python docs/pages.py`: `__all__` of ecg_hub/__init__.py lacks\n" + "\n".join(lines)
    fixed = [
        "AutoConfig",
        "AutoFeatureExtractor",
        "AutoModel",
        "AutoModelForECGClassification",
        "AutoModelForPreTraining",
        "ECGClassificationPipeline",
        "ECGFeatureExtractor",
        "__version__",
        "list_datasets",
        "list_models",
        "load_dataset",
        "load_pipeline",
    ]
    assert ecg_hub.__all__ == sorted([*fixed, *catalog.public_classes()])
    assert {"ECGCPCConfig", "ECGCPCModel", "ECGCPCForECGClassification"} <= set(catalog.public_classes())
    assert set(ecg_hub.__all__) <= set(dir(ecg_hub))


def test_type_checkers_know_every_public_class() -> None:
    wanted = ecg_hub._HOMES | catalog.public_classes()
    lines = [
        f"    from {wanted[name]} import {name} as {name}" for name in sorted(wanted.keys() - typed(ecg_hub).keys())
    ]
    assert not lines, "run `python docs/pages.py`: ecg_hub/__init__.py lacks\n" + "\n".join(lines)
    assert typed(ecg_hub) == wanted


def test_type_checkers_know_the_names_of_dataset_scripts() -> None:
    homes = {name: f"dataset_scripts.{module}" for name, module in dataset_scripts._HOMES.items()}
    assert typed(dataset_scripts) == homes
    assert sorted(homes) == dataset_scripts.__all__ == dir(dataset_scripts)


def test_type_checkers_know_the_names_of_eval_harness() -> None:
    assert typed(eval_harness) == eval_harness._HOMES
    assert sorted(eval_harness._HOMES) == eval_harness.__all__
    assert set(eval_harness.__all__) <= set(dir(eval_harness))


@pytest.mark.parametrize("package", [ecg_hub, eval_harness])
def test_every_public_name_is_there_and_documented(package: ModuleType) -> None:
    for name in package.__all__:
        value = getattr(package, name)
        assert isinstance(value, str) or inspect.getdoc(value), name


def test_star_import() -> None:
    namespace: dict[str, object] = {}
    exec("from ecg_hub import *", namespace)
    assert set(ecg_hub.__all__) <= set(namespace)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="AutoModle"):
        _ = ecg_hub.AutoModle


def test_import_is_light() -> None:
    code = (
        "import ecg_hub, ecg_hub.catalog, ecg_hub.leads, ecg_hub.errors, ecg_hub.names, eval_harness\n"
        "ecg_hub.catalog.models(); ecg_hub.__all__; ecg_hub.__version__; ecg_hub.names.resolve('random:ecg-cpc')\n"
        "repr(ecg_hub.list_models()); repr(ecg_hub.list_datasets()); repr(eval_harness.list_tasks(suite='all'))\n"
        "eval_harness.get_task('ptb'); eval_harness.__all__; eval_harness.Task"
    )
    assert imported(code) == []


def test_version_agrees_with_the_package() -> None:
    from importlib.metadata import version

    assert ecg_hub.__version__ == version("ecg-hub")
