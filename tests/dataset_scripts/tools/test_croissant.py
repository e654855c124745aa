"""Croissant descriptions: valid by MLCommons' own library, true, without a record, and readable as data from shards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pytest
import yaml

from dataset_scripts.catalog import datasets, get
from dataset_scripts.custom import open_custom
from dataset_scripts.load import Prepared
from dataset_scripts.tools.croissant import FILE, creators, croissant, croissant_text, shards_croissant
from dataset_scripts.tools.export import write_shards
from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from ecg_hub.utils.files import file_sha256
from tests.support.own_files import DESCRIPTION

# The library's own use of rdflib.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")

NO_DATE = "datePublished"
"""What the library misses: releases have dates that this package does not know."""
NO_VERSION = "version"
"""What it misses of an own archive, which has no release."""

OWN_FIELDS = {"record_id", "patient_id", "signal", "gain_uv", "baseline", "sampling_rate", "age", "sex", "fold"}

READ = """
import itertools, json, mlcroissant, sys
records = mlcroissant.Dataset(jsonld=sys.argv[1]).records("records")
for record in itertools.islice(records, 2):
    plain = {name: value.decode() if isinstance(value, bytes) else value for name, value in record.items()}
    print(json.dumps(plain))
"""


def checked(content: dict[str, Any], folder: Path, absent: tuple[str, ...] = (NO_DATE,)) -> mlcroissant.Metadata:
    """The description as the library reads it, without an error; what is known to be absent is its only warning."""
    path = folder / FILE
    path.write_text(croissant_text(content), encoding="utf-8")
    metadata = mlcroissant.Dataset(jsonld=str(path)).metadata
    assert not metadata.ctx.issues.errors
    assert len(metadata.ctx.issues.warnings) == len(absent)
    assert all(any(f"/{name}" in text for text in metadata.ctx.issues.warnings) for name in absent)
    return metadata


@pytest.fixture(scope="module")
def shards(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("croissant") / "shards"
    write_shards(prepared, folder, shard_bytes=10**6)
    return folder


@pytest.mark.parametrize("name", sorted(datasets()))
def test_every_dataset_has_a_valid_description(name: str, tmp_path: Path) -> None:
    dataset = get(name)
    metadata = checked(croissant(dataset), tmp_path)

    assert (metadata.name, metadata.url, metadata.cite_as) == (dataset.title, dataset.page, dataset.citation)
    assert bool(metadata.creators) == bool(creators(dataset.citation))
    assert metadata.license
    assert metadata.version
    records = next(item for item in metadata.record_sets if item.name == "records")
    assert {field.name for field in records.fields} >= OWN_FIELDS | set(dataset.label_columns)


def test_a_description_holds_metadata_alone() -> None:
    """Of data behind an agreement nothing is said that the package does not say in its own pages."""
    for dataset in datasets().values():
        content = croissant(dataset)
        for part in content["recordSet"]:
            assert ("data" in part) == part["@id"].startswith("labels_of_")
        if dataset.access != "open":
            assert "isAccessibleForFree" not in content
            assert "may not be passed on" in content["conditionsOfAccess"]


def test_licences_are_addresses_where_spdx_has_them_and_words_otherwise() -> None:
    assert croissant(get("ptb-xl"))["license"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert croissant(get("ptb"))["license"] == "https://spdx.org/licenses/ODC-By-1.0"
    restricted = croissant(get("echonext"))["license"]
    assert restricted["name"] == "PhysioNet Restricted Health Data License 1.5.0"
    assert croissant(get("zzu-pecg"))["license"]["description"] == get("zzu-pecg").licence


def test_files_are_named_only_with_a_checksum() -> None:
    files = [part for part in croissant(get("echonext"))["distribution"] if part["@type"] == "cr:FileObject"]
    assert [(file["name"], file["sha256"]) for file in files] == list(get("echonext").releases[0].files.items())
    assert files[0]["contentUrl"] == "https://physionet.org/files/echonext/1.1.0/echonext_metadata_100k.csv"
    assert [part["@type"] for part in croissant(get("ptb-xl"))["distribution"]] == ["cr:FileSet"]


def test_labels_have_meaning_and_count() -> None:
    (part,) = [part for part in croissant(get("ptb-xl"))["recordSet"] if part["@id"] == "labels_of_label_super"]
    rows = {row["labels_of_label_super/label"]: row["labels_of_label_super/count"] for row in part["data"]}
    assert rows == get("ptb-xl").releases[0].label_counts["label_super"]


def test_releases_with_one_number_get_three() -> None:
    assert [croissant(get(name))["version"] for name in ("ptb-xl", "mimic-iv-ecg", "sph")] == [
        "1.0.3",
        "1.0.0",
        "1.0.0",
    ]


def test_an_own_archive_is_described_without_its_paths(tmp_path: Path) -> None:
    path = tmp_path / "my_hospital.yaml"
    more = {
        "title": "My hospital",
        "description": "ECGs of an emergency room.",
        "citation": "Doe, J. My hospital. 2026.",
    }
    path.write_text(yaml.safe_dump({**DESCRIPTION, **more}), encoding="utf-8")
    content = croissant(open_custom(path))

    metadata = checked(content, tmp_path, (NO_DATE, NO_VERSION))
    assert metadata.name == "My hospital"
    assert [person.name for person in metadata.creators] == ["Doe, J."]
    assert str(tmp_path) not in json.dumps(content)
    assert "version" not in content


def test_the_smallest_own_archive_is_still_valid(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: mine\nsignals: ecg\ntable: ecgs.csv\ncolumns:\n  record: id\n", encoding="utf-8")
    (tmp_path / FILE).write_text(croissant_text(croissant(open_custom(path))), encoding="utf-8")
    assert not mlcroissant.Dataset(jsonld=str(tmp_path / FILE)).metadata.ctx.issues.errors


@pytest.mark.heavy
def test_shards_are_files_with_their_checksums(shards: Path) -> None:
    content = shards_croissant(get("ptb-xl"), shards)

    metadata = checked(content, shards)
    files = {item.content_url: item.sha256 for item in metadata.file_objects}
    there = sorted((shards / "data").iterdir())
    assert len(there) > 3
    assert files == {f"data/{path.name}": file_sha256(path) for path in there}
    assert content["description"].startswith("Simulated signals of invented patients")


@pytest.mark.heavy
def test_a_loader_reads_the_records_of_shards(prepared: Prepared, shards: Path) -> None:
    (shards / FILE).write_text(croissant_text(shards_croissant(get("ptb-xl"), shards)), encoding="utf-8")
    # In a process of its own: where `datasets` is imported, pandas cannot read a row with its type of arrays.
    words = [sys.executable, "-c", READ, str(shards / FILE)]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()

    assert len(lines) == 2
    for line, row in zip(lines, prepared.splits["test"].select(range(2)), strict=True):
        record = {name.removeprefix("records/"): value for name, value in json.loads(line).items()}
        assert record["record_id"] == row["record_id"]
        assert (record["fold"], record["split"], record["sex"]) == (row["fold"], "test", row["sex"])
        np.testing.assert_array_equal(record["signal"], row["signal"])
        assert np.shape(record["signal"])[1] == len(LEADS) == len(record["gain_uv"]) == len(record["baseline"])


def test_shards_of_something_else_or_none_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds shards of 'ptb-xl', not of 'ptb'"):
        shards_croissant(get("ptb"), shards)
    with pytest.raises(InputError, match=r"no finished shards: `ecg-hub data prepare ptb-xl --shards"):
        shards_croissant(get("ptb-xl"), tmp_path)
    begun = tmp_path / "begun"
    shutil.copytree(shards, begun)
    manifest = json.loads((begun / "shards.json").read_text(encoding="utf-8"))
    (begun / "shards.json").write_text(json.dumps(manifest | {"complete": False, "files": []}), encoding="utf-8")
    with pytest.raises(InputError, match="no finished shards"):
        shards_croissant(get("ptb-xl"), begun)


@pytest.mark.parametrize(
    ("citation", "names"),
    [
        ("Ribeiro, A.H., Horta Ribeiro, M. CODE-15%: a dataset.", ["Ribeiro, A.H.", "Horta Ribeiro, M."]),
        ("Meira Jr., W. A dataset. 2026.", ["Meira Jr., W."]),
        ("Reyna, M. A., Sadr, N., et al. Will Two Do?", ["Reyna, M. A.", "Sadr, N."]),
        ("Gow, B. et al. MIMIC-IV-ECG.", ["Gow, B."]),
        ("A data set, of sorts. 2026.", []),
        ("", []),
    ],
)  # fmt: skip
def test_creators_are_the_authors_a_citation_begins_with(citation: str, names: list[str]) -> None:
    assert creators(citation) == names
