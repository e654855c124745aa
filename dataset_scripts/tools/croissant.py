"""A dataset as Croissant metadata: MLCommons' JSON-LD vocabulary, which search engines and data loaders read.

A published dataset or a user's own archive gives its description: who made it, under which terms, where it is, and the
record set that `ecg_hub.load_dataset` returns. Its source is the content of the raw files, which this package reads
and no Croissant loader does. A folder of shards gives the same with its Parquet files and their checksums as the
source, so that any loader reads the records.

Only metadata are written: what this package declares, names and checksums of files; never a record.

Croissant 1.1: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html; Responsible AI terms 1.0:
https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_scripts.core.spec import ECGDataset
from dataset_scripts.tools.card import ACCESS, TAGS, short_licence
from ecg_hub.errors import InputError
from ecg_hub.leads import LEADS
from ecg_hub.utils.files import file_sha256

FILE = "croissant.json"
CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
PARQUET = "application/x-parquet"
RECORDS = "records"
SHARDS, RAW = "shards", "raw-files"

CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    **{
        name: f"cr:{name}"
        for name in (
            "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
            "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
            "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
            "separator", "source", "subField", "transform",
        )
    },
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
}  # fmt: skip
"""The prefixes and terms of the standard; a file without them is another vocabulary."""

_AUTHOR = re.compile(r"([^\W\d_][^,.]*(?: Jr\.)?), ((?:[A-Z]\.[ -]?)+)")
_NUMBERS = re.compile(r"\d+(?:\.\d+){0,2}")
_PHYSIONET = re.compile(r"https://physionet\.org/content/([^/]+/[^/]+)/?")


@dataclass(frozen=True)
class _Field:
    """A column of the record set; `shape` of an array as the standard writes it, -1 for any length."""

    name: str
    kind: str
    description: str
    shape: str | None = None


def croissant(dataset: ECGDataset) -> dict[str, Any]:
    """Return the description of a dataset, without any file of the user's.

    Example:
        >>> from dataset_scripts.catalog import get
        >>> about = croissant(get("ptb-xl"))
        >>> about["version"], [field["name"] for field in about["recordSet"][0]["field"]][:3]
        ('1.0.3', ['record_id', 'patient_id', 'signal'])
    """
    fields = (*_own_fields(dataset), *_label_fields(dataset))
    sets = [_record_set(dataset, fields, RAW), *_label_sets(dataset)]
    return _jsonld(dataset, {"distribution": [*_files_of_release(dataset), _raw_files(dataset)], "recordSet": sets})


def shards_croissant(dataset: ECGDataset, folder: Path) -> dict[str, Any]:
    """Return the description of a folder of shards; every file is read once for its checksum.

    Args:
        dataset: what the shards are of.
        folder: written by `ecg-hub data prepare NAME --shards FOLDER`; the file must lie in it, as paths are relative.

    Raises:
        InputError: the folder holds no finished shards, or those of another dataset.
    """
    from dataset_scripts.tools.export import read_manifest

    manifest = read_manifest(folder)
    if manifest is None or not manifest.complete:
        again = f"`ecg-hub data prepare {dataset.name} --shards {folder}`"
        raise InputError(f"{str(folder)!r} holds no finished shards: {again} writes them.")
    if manifest.dataset != dataset.name:
        raise InputError(f"{str(folder)!r} holds shards of {manifest.dataset!r}, not of {dataset.name!r}.")
    files = [
        {
            "@type": "cr:FileObject",
            "@id": entry.file,
            "name": entry.file,
            "contentUrl": entry.file,
            "contentSize": f"{entry.size} B",
            "encodingFormat": PARQUET,
            "sha256": file_sha256(folder / entry.file),
        }
        for entry in manifest.files
    ]
    # Without `containedIn`: files beside this one. Loaders look for a set's members inside of what contains it, and a
    # Parquet file contains none.
    together = {
        "@type": "cr:FileSet",
        "@id": SHARDS,
        "name": SHARDS,
        "encodingFormat": PARQUET,
        "includes": "data/*.parquet",
    }
    held = ", ".join(f"{number:,} {split}" for split, number in manifest.records.items())
    record_set = _record_set(dataset, tuple(_own_fields(dataset)), SHARDS, f"{held}, at {manifest.sampling_rate} Hz.")
    content = _jsonld(dataset, {"distribution": [*files, together], "recordSet": [record_set]})
    if manifest.synthetic:
        content["description"] = f"Simulated signals of invented patients, not medical data. {content['description']}"
    return content


def croissant_text(content: Mapping[str, Any]) -> str:
    """Return a description as the text of a file."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def creators(citation: str) -> list[str]:
    """Return the authors that a citation begins with, "et al." left out.

    Example:
        >>> creators("Liu, F., Meira Jr., W., et al. An open access database. Journal 8, 2018.")
        ['Liu, F.', 'Meira Jr., W.']
        >>> creators("unpublished")
        []
    """
    names, start = [], 0
    while match := _AUTHOR.match(citation, start):
        names.append(f"{match[1]}, {match[2].strip()}")
        # After a comma the next author, after anything else the title.
        if not citation.startswith(", ", match.end()):
            break
        start = match.end() + 2
    return names


def _jsonld(dataset: ECGDataset, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that does not depend on where the files are, and the parts that do."""
    page = _page(dataset)
    shared = "may be passed on" if dataset.redistribution else "may not be passed on"
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": dataset.title,
        "alternateName": dataset.name,
        "description": dataset.description,
        "url": page,
        "license": _licence(dataset, page),
        "citeAs": dataset.citation,
        "creator": [{"@type": "sc:Person", "name": name} for name in creators(dataset.citation)],
        "version": _version(dataset.versions[0]),
        "keywords": list(TAGS),
        # Not False where an agreement has to be signed: that costs no money either.
        "isAccessibleForFree": True if dataset.access == "open" else None,
        "conditionsOfAccess": f"{ACCESS[dataset.access]}; signals and labels {shared}",
        **_responsible(dataset),
        **parts,
    }
    return {name: value for name, value in content.items() if value not in (None, "", [])}


def _page(dataset: ECGDataset) -> str | None:
    """The page of a published dataset; of a user's own archive none, for there it names a path of their machine."""
    return dataset.page if dataset.page.startswith("https://") else None


def _licence(dataset: ECGDataset, page: str | None) -> str | dict[str, str]:
    """The address of a licence that SPDX lists, or the licence in words with the page that has it."""
    short = short_licence(dataset)
    if re.fullmatch(r"[A-Za-z]+(-[A-Za-z0-9.]+)*-\d\.\d", dataset.licence):
        return f"https://spdx.org/licenses/{dataset.licence}"
    return {
        "@type": "sc:CreativeWork",
        "name": short,
        "description": dataset.licence,
        **({"url": page} if page else {}),
    }


def _version(name: str) -> str | None:
    """A release's name with three numbers, as the standard wants it: "2" is "2.0.0"."""
    if not _NUMBERS.fullmatch(name):
        return None
    return ".".join([*name.split("."), "0", "0"][:3])


def _responsible(dataset: ECGDataset) -> dict[str, Any]:
    """The terms of Responsible AI that this package knows facts for."""
    groups = [name for name in dataset.metadata_columns if "race" in name or "ethnic" in name]
    return {
        "rai:dataCollection": dataset.description,
        "rai:dataLimitations": list(dataset.problems),
        "rai:dataPreprocessingProtocol": list(dataset.derivation),
        "rai:personalSensitiveInformation": [
            "age in years, sex and a pseudonym of the patient, where the dataset has them",
            "electrocardiograms, which may tell one person from another",
            *(f"{name} of the patient, in the tables of the release" for name in groups),
        ],
    }


def _files_of_release(dataset: ECGDataset) -> list[dict[str, Any]]:
    """Files of the published release that have an address and a known checksum; a file without one is not valid."""
    page = _PHYSIONET.fullmatch(dataset.page)
    known = dataset.releases[0].files if dataset.releases and page else {}
    return [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": f"https://physionet.org/files/{page[1] if page else ''}/{name}",
            "encodingFormat": "text/csv" if name.endswith(".csv") else "application/octet-stream",
            "sha256": checksum,
        }
        for name, checksum in known.items()
    ]


def _raw_files(dataset: ECGDataset) -> dict[str, Any]:
    """The files of the raw folder by their patterns; where they come from is said in words, as hosts list no sums."""
    folders = {folder for rate in dataset.sampling_rates for folder in dataset.signal_folders(rate)} or {"."}
    origin = _page(dataset) or "an archive of its own"
    below = sorted("" if folder == "." else f"{folder}/" for folder in folders)
    return {
        "@type": "cr:FileSet",
        "@id": RAW,
        "name": RAW,
        "description": f"Files below the raw folder, from {origin}; ecg-hub reads the records from them.",
        "encodingFormat": "application/octet-stream",
        "includes": [
            *dataset.table_files,
            *(f"{folder}**/*{suffix}" for folder in below for suffix in dataset.signal_suffixes),
        ],
    }


def _own_fields(dataset: ECGDataset) -> Iterator[_Field]:
    """The columns that every record has, of every dataset."""
    leads = len(LEADS)
    mv = dataset.unit == "mV"
    unit = (
        "int16; microvolt are (signal - baseline) * gain_uv, -32768 means missing"
        if mv
        else "float32, z-scored as published, without a physical unit"
    )
    rates = ", ".join(map(str, dataset.sampling_rates)) or "as in the files"
    number = "sc:Integer" if mv else "sc:Float"
    yield _Field("record_id", "sc:Text", "The dataset's own name of the record.")
    yield _Field("patient_id", "sc:Text", "Pseudonym of the patient; null where the dataset names none.")
    about = f"Samples by leads, in the order {', '.join(LEADS)}; {unit}."
    yield _Field("signal", number, about, f"-1,{leads}")
    yield _Field("gain_uv", "sc:Float", "Microvolt of one step, for each lead.", str(leads))
    yield _Field("baseline", "sc:Integer", "The sample value of 0 microvolt, for each lead.", str(leads))
    yield _Field("sampling_rate", "sc:Integer", f"Hz ({rates}).")
    yield _Field("age", "sc:Float", "Years; null where unknown.")
    yield _Field("sex", "sc:Text", "male, female, or null where unknown.")
    yield _Field("fold", "sc:Integer", f"Fold of the record; -1 or null where it has none. {dataset.folds}.")
    yield _Field("split", "cr:Split", "train, validation, test, or unsplit where a rule keeps the record out.")


def _label_fields(dataset: ECGDataset) -> Iterator[_Field]:
    numbers = dataset.releases[0].label_numbers if dataset.releases else {}
    for column in dataset.label_columns:
        many = f" {numbers[column]} labels are predicted in the published run." if column in numbers else ""
        yield _Field(column, "sc:Text", f"Labels of the record, any number of them.{many}", "-1")
    if dataset.target_groups:
        titles = "; ".join(group.title for group in dataset.target_groups.values())
        yield _Field("targets", "sc:Float", f"One number for each target, NaN where there is none: {titles}.", "-1")
    elif named := getattr(dataset, "targets", ()):
        yield _Field(
            "targets", "sc:Float", f"z-scores by training records, NaN where there is none: {', '.join(named)}.", "-1"
        )


def _record_set(
    dataset: ECGDataset, fields: Sequence[_Field], source: str | None, about: str | None = None
) -> dict[str, Any]:
    number = f"{dataset.releases[0].records:,} in release {dataset.releases[0].version}." if dataset.releases else ""
    return {
        "@type": "cr:RecordSet",
        "@id": RECORDS,
        "name": RECORDS,
        "description": f"One 12-lead ECG a record, as ecg_hub.load_dataset returns it. {about or number}".strip(),
        "key": {"@id": f"{RECORDS}/record_id"},
        "field": [_field(RECORDS, field, source) for field in fields],
    }


def _field(record_set: str, field: _Field, source: str | None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{record_set}/{field.name}",
        "name": field.name,
        "description": field.description,
        # The role of a split says nothing about its type.
        "dataType": ["sc:Text", "cr:Split"] if field.kind == "cr:Split" else field.kind,
    }
    if field.shape is not None:
        content |= {"isArray": True, "arrayShape": field.shape}
    if source is not None:
        extract = {"fileProperty": "content"} if source == RAW else {"column": field.name}
        content["source"] = {"fileSet": {"@id": source}, "extract": extract}
    return content


def _label_sets(dataset: ECGDataset) -> Iterator[dict[str, Any]]:
    """What each label means and how often it occurs in the release, where that is known without the data."""
    counts = dataset.releases[0].label_counts if dataset.releases else {}
    kinds = {
        "label": _Field("label", "sc:Text", "Name of the label."),
        "meaning": _Field("meaning", "sc:Text", "What it means."),
        "count": _Field("count", "sc:Integer", "Occurrences over all records of the release."),
    }
    for column in dataset.label_columns:
        if not counts.get(column):
            continue
        rows = [(label, dataset.label_title(column, label), count) for label, count in sorted(counts[column].items())]
        yield {
            "@type": "cr:RecordSet",
            "@id": f"labels_of_{column}",
            "name": f"labels_of_{column}",
            "description": f"The labels of the column {column}.",
            "field": [_field(f"labels_of_{column}", field, None) for field in kinds.values()],
            "data": [
                {f"labels_of_{column}/{name}": value for name, value in zip(kinds, row, strict=True)} for row in rows
            ],
        }
