"""The bill of materials names what is installed, and no licence of it asks for more than a notice."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("supply_chain")


@pytest.mark.heavy
def test_every_requirement_stands_in_the_bill_with_its_own(chain: ModuleType) -> None:
    bill = chain.sbom(["serve"])
    references = [one["bom-ref"] for one in bill["components"]]
    assert len(references) == len(set(references)) > 50
    assert all(re.fullmatch(r"pkg:pypi/[a-z0-9-]+@[\w.+!]+", reference) for reference in references)
    edges = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    own = bill["metadata"]["component"]["bom-ref"]
    assert set(edges) == {own, *references}
    assert {target for targets in edges.values() for target in targets} == set(references)
    direct = {reference.partition("@")[0] for reference in edges[own]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    assert direct == {f"pkg:pypi/{re.split(r'[>=[]', text)[0].lower()}" for text in asked}
    json.dumps(bill)


@pytest.mark.heavy
def test_what_a_user_installs_asks_for_a_notice_at_most(chain: ModuleType) -> None:
    assert chain.doubtful(chain.closure(["serve"])[0]) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License-Expression": "MIT"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"}, "GPL"),
        ({"License": "BSD\nlong text"}, "BSD"),
        ({}, "unknown"),
    ],
)
def test_licences_are_read_where_they_are_stated(chain: ModuleType, fields: dict[str, str], expected: str) -> None:
    from email.message import Message

    metadata = Message()
    for name, text in fields.items():
        metadata[name] = text
    package: Any = type("Package", (), {"metadata": metadata})()
    assert expected in chain.licence(package)
    assert bool(chain.doubtful({"x": package})) == (expected in ("GPL", "unknown"))
