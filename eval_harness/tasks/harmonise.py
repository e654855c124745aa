"""Labels of different datasets as SNOMED CT concepts: which label of one is which label of another, and who says so.

A label has a code (`harmonised_labels.csv`; the parts of the Challenge 2021 carry codes themselves), and some codes
count as another (`harmonised_codes.csv`: pairs that the Challenge scores as one, and ventricular ectopics as premature
ventricular contractions). Labels of two datasets belong together when their codes count as the same one. What is not in
the tables is not mapped: no guess is made from similar names. Where the Challenge gives a label a code that would link
it to something else (broader, narrower, or against the counts of records), `harmonised_withheld.csv` takes the code
away and says why. `head_labels.csv` gives codes to the outputs of published heads in the same way.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataset_scripts.codes import read_codes, tables
from ecg_hub.errors import InputError

CHALLENGE = {
    "ningbo": "snomed_ningbo",
    "cpsc2018": "snomed_cpsc2018",
    "cpsc-extra": "snomed_cpsc_extra",
    "georgia": "snomed_georgia",
}
"""Dataset -> table of the names of its codes."""

AGGREGATED = {"ptb-xl": ("label_super", "label_sub")}
"""Label columns whose names look like those of statements and mean groups of them."""

SUSPECT_RATIO = 20.0
"""Shares of positive records that differ by this factor are flagged: few populations do, definitions do."""

EXPECTED_AT_LEAST = 20.0
"""Positive records that the rarer side would have at the share of the other; below this the counts say too little."""

COLUMNS = ("source", "target", "code", "origin")
OUTSIDE = "outside"


@dataclass(frozen=True)
class Coded:
    """A label of a dataset with its code, the code it counts as, and who says so."""

    label: str
    code: str
    concept: str
    origin: str


@dataclass(frozen=True)
class Link:
    """One concept with its labels on both sides.

    Attributes:
        name: the concept in words.
        code: SNOMED CT.
        source: labels of the trained head.
        target: labels of the other dataset.
        origins: "label: code, who says so" for every label.
    """

    name: str
    code: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    origins: tuple[str, ...]


@dataclass(frozen=True)
class LabelMap:
    """The links between the labels of two datasets, and why the others have none: label -> reason."""

    links: tuple[Link, ...]
    unmapped_source: dict[str, str]
    unmapped_target: dict[str, str]


@lru_cache
def concepts() -> dict[str, str]:
    """Return every SNOMED CT code of the tables with its meaning."""
    by_code: dict[str, str] = {}
    for table in tables():
        if table.startswith("snomed_"):
            for row in read_codes(table):
                # The first table that names a code decides its words, so that a concept is called the same in every
                # report.
                by_code.setdefault(row["code"], row["meaning"] or row["name"])
    for row in read_codes("harmonised_labels"):
        by_code.setdefault(row["code"], row["concept"])
    return by_code


@lru_cache
def equal_codes() -> dict[str, tuple[str, str]]:
    """Return code -> the code it counts as, and who says so."""
    return {row["code"]: (row["counts_as"], row["source"]) for row in read_codes("harmonised_codes")}


@lru_cache
def withheld(dataset: str) -> dict[str, tuple[str, str]]:
    """Labels of a dataset from which a code of the Challenge is withheld: label -> code ("" for none) and reason."""
    rows = read_codes("harmonised_withheld")
    return {row["label"]: (row["code"], row["reason"]) for row in rows if row["dataset"] == dataset}


@lru_cache
def coded_labels(dataset: str) -> tuple[Coded, ...]:
    """Return the coded labels of a dataset; () where there are none."""
    rows = [(r["label"], r["code"], r["source"]) for r in read_codes("harmonised_labels") if r["dataset"] == dataset]
    if dataset in CHALLENGE:
        official = [(row["name"], row["code"], "challenge2021") for row in read_codes(CHALLENGE[dataset])]
        # What was taken away may come back under another code: the tables of labels are added after it.
        taken = {(label, code) for label, (code, _) in withheld(dataset).items()}
        rows = [row for row in official if row[:2] not in taken] + rows
    return _with_concepts(rows)


def _with_concepts(rows: Iterable[tuple[str, str, str]]) -> tuple[Coded, ...]:
    """Labels with their codes (label, code, who says so), each as the concept that its code counts as."""
    coded = []
    for label, code, origin in dict.fromkeys(rows):
        # Codes that the Challenge scores as one are one concept here, with who says so.
        concept, equal = equal_codes().get(code, (code, ""))
        coded.append(Coded(label, code, concept, origin + (f", counts as {concept} ({equal})" if equal else "")))
    return tuple(coded)


@lru_cache
def coded_groups(dataset: str, column: str) -> tuple[Coded, ...]:
    """Return the coded labels of a column of groups: those that mean one code, rather than several findings."""
    rows = [row for row in read_codes("harmonised_groups") if (row["dataset"], row["column"]) == (dataset, column)]
    return _with_concepts([(row["label"], row["code"], row["source"]) for row in rows])


@lru_cache
def coded_outputs(vocabulary: str) -> tuple[Coded, ...]:
    """Return the outputs of a published head that have a code."""
    rows = [row for row in read_codes("head_labels") if row["vocabulary"] == vocabulary and row["code"]]
    return _with_concepts([(row["label"], row["code"], row["source"]) for row in rows])


@dataclass(frozen=True)
class HeadMap:
    """Which outputs of a published head stand for which labels of a task.

    Attributes:
        outputs: label of the task -> outputs of the head; of several the largest counts.
        codes: label of the task -> code that both have.
        unmapped: label of the task -> why no output stands for it.
    """

    outputs: dict[str, tuple[str, ...]]
    codes: dict[str, str]
    unmapped: dict[str, str]


def head_map_sha256(vocabulary: str) -> str:
    """Digest of what `map_head` reads of the tables for a vocabulary: of which concept each output and label is."""
    datasets = sorted({*CHALLENGE, *(row["dataset"] for row in read_codes("harmonised_labels"))})
    parts = {dataset: coded_labels(dataset) for dataset in datasets}
    parts |= {f"{name} {column}": coded_groups(name, column) for name in AGGREGATED for column in AGGREGATED[name]}
    parts["outputs"] = coded_outputs(vocabulary)
    # Not who says so, which decides nothing.
    known = {name: [(coded.label, coded.concept) for coded in part] for name, part in parts.items()}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def map_head(
    vocabulary: str, outputs: Sequence[str], dataset: str, labels: Sequence[str], column: str = "label_all"
) -> HeadMap:
    """Link the outputs of a published head to labels of a dataset by the tables.

    A label whose code other labels of its dataset have too is not linked: the code is broader than each of them, and
    the score would be another than that of the label.

    Args:
        vocabulary: of the head, as `head_labels.csv` calls it.
        outputs: of the head; heads of several sizes may share a vocabulary.
        dataset: name of the dataset.
        labels: of the task.
        column: label column of the task.
    """
    known = coded_groups(dataset, column) if column in AGGREGATED.get(dataset, ()) else coded_labels(dataset)
    having: dict[str, set[str]] = {}
    for coded in known:
        having.setdefault(coded.concept, set()).add(coded.label)
    concept_of = {coded.label: coded.concept for coded in known}
    meaning: dict[str, list[str]] = {}
    for coded in coded_outputs(vocabulary):
        if coded.label in outputs:
            meaning.setdefault(coded.concept, []).append(coded.label)
    linked, unmapped = {}, {}
    for label in labels:
        concept = concept_of.get(label, "")
        if not concept:
            unmapped[label] = _without_code(dataset, label)
        elif len(having[concept]) > 1:
            others = ", ".join(sorted(having[concept] - {label}))
            unmapped[label] = f"shares its code {concept} ({concepts()[concept]}) with {others}"
        elif concept not in meaning:
            unmapped[label] = f"the head has no output of {concept} ({concepts()[concept]})"
        else:
            linked[label] = tuple(meaning[concept])
    return HeadMap(linked, {label: concept_of[label] for label in linked}, unmapped)


def joined(values: NDArray[np.float32], names: Sequence[str], groups: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """The largest of each group's columns, (records, groups), of values (records, names) with the columns' names.

    Values are probabilities or targets, NaN where there is none.
    """
    column_of = {name: column for column, name in enumerate(names)}
    parts = [values[:, [column_of[name] for name in group]] for group in groups]
    # The largest: a concept is there when any of its labels says so, and unknown when only an unknown one could.
    return np.stack([np.where((part == 1).any(axis=1), 1, part.max(axis=1)) for part in parts], axis=1)


def map_labels(
    source: str,
    source_labels: Sequence[str],
    target: str,
    target_labels: Sequence[str],
    target_column: str = "label_all",
) -> LabelMap:
    """Link the labels of two datasets by the tables."""
    for dataset in (source, target):
        # Without any code nothing could be linked, which would look like two datasets without common labels.
        if not coded_labels(dataset):
            datasets = ", ".join(sorted({*CHALLENGE, *(row["dataset"] for row in read_codes("harmonised_labels"))}))
            raise InputError(
                f"There are no codes for the labels of {dataset!r}; there are for {datasets}. Pass --map FILE."
            )
    if target_column in AGGREGATED.get(target, ()):
        raise InputError(
            f"{target_column!r} of {target!r} holds groups of statements, which have no code; use label_all."
        )
    first, second = _by_concept(source, source_labels), _by_concept(target, target_labels)
    links = [
        Link(
            name=concepts()[concept],
            code=concept,
            source=tuple(dict.fromkeys(coded.label for coded in first[concept])),
            target=tuple(dict.fromkeys(coded.label for coded in second[concept])),
            origins=tuple(_origin(s, c) for s, labels in ((source, first), (target, second)) for c in labels[concept]),
        )
        for concept in first
        if concept in second
    ]
    shared = {link.code for link in links}
    return LabelMap(
        links=tuple(links),
        unmapped_source=_unmapped(source, source_labels, shared, target),
        unmapped_target=_unmapped(target, target_labels, shared, source),
    )


def prevalence_flag(home: tuple[int, int], away: tuple[int, int]) -> str | None:
    """Say that a concept is so much commoner on one side that its labels hardly mean the same; None where they may."""
    shares = [positives / records if records else 0.0 for positives, records in (home, away)]
    # What the rarer side would have at the other's share: few expected positives prove nothing by their absence.
    rarer_records = (home, away)[shares.index(min(shares))][1]
    if max(shares) * rarer_records < EXPECTED_AT_LEAST or max(shares) < SUSPECT_RATIO * min(shares):
        return None
    times = f"{max(shares) / min(shares):,.0f} times" if min(shares) else "only one side"
    return (
        f"{100 * shares[0]:.2g} % of the records at home, {100 * shares[1]:.2g} % there ({times}): the labels hardly "
        "mean the same"
    )


def read_map(path: Path, source_labels: Sequence[str], target_labels: Sequence[str]) -> LabelMap:
    """Read a user's label map: CSV with the columns source, target, code, origin and optionally outside.

    Rows of one code are one concept. A code that stands in none of the tables needs `yes` in the column outside.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The label map {str(path)!r} cannot be read: {error}.") from error
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise InputError(f"The label map {str(path)!r} lacks {', '.join(missing)}; it needs {', '.join(COLUMNS)}.")
    grouped: dict[str, list[dict[str, str]]] = {}
    for line, row in enumerate(rows, start=2):
        _check_row(path, line, row, source_labels, target_labels)
        grouped.setdefault(row["code"], []).append(row)
    links = [
        Link(
            name=concepts().get(code, f"SNOMED CT {code}"),
            code=code,
            source=tuple(dict.fromkeys(row["source"] for row in rows_of_code)),
            target=tuple(dict.fromkeys(row["target"] for row in rows_of_code)),
            origins=tuple(f"{row['source']} = {row['target']}: {code}, {row['origin']}" for row in rows_of_code),
        )
        for code, rows_of_code in grouped.items()
    ]
    reason = "not in the given map"
    return LabelMap(
        links=tuple(links),
        unmapped_source={n: reason for n in source_labels if not any(n in link.source for link in links)},
        unmapped_target={n: reason for n in target_labels if not any(n in link.target for link in links)},
    )


def _check_row(path: Path, line: int, row: dict[str, str], source: Sequence[str], target: Sequence[str]) -> None:
    where = f"{str(path)!r}, line {line}"
    if any(not row.get(name) for name in COLUMNS):
        raise InputError(f"{where}: every row needs {', '.join(COLUMNS)}.")
    for side, labels in (("source", source), ("target", target)):
        if row[side] not in labels:
            raise InputError(f"{where}: {side} label {row[side]!r} does not exist; there are {', '.join(labels)}.")
    code = row["code"]
    # isdigit alone takes digits of other scripts, and superscripts.
    if not (code.isascii() and code.isdigit()):
        raise InputError(f"{where}: code {code!r} is no SNOMED CT code, which is a number.")
    if code not in concepts() and (row.get(OUTSIDE) or "").strip().lower() != "yes":
        raise InputError(
            f"{where}: unknown SNOMED CT code {code!r}. Check it; if it is right, write yes in a column {OUTSIDE!r}."
        )


def _by_concept(dataset: str, labels: Iterable[str]) -> dict[str, list[Coded]]:
    wanted = set(labels)
    by_concept: dict[str, list[Coded]] = {}
    for coded in coded_labels(dataset):
        if coded.label in wanted:
            by_concept.setdefault(coded.concept, []).append(coded)
    return by_concept


def _origin(dataset: str, coded: Coded) -> str:
    return f"{dataset} {coded.label}: {coded.code}, {coded.origin}"


def _unmapped(dataset: str, labels: Sequence[str], shared: set[str], other: str) -> dict[str, str]:
    reasons = {}
    for label in labels:
        codes = list(dict.fromkeys(coded.concept for coded in coded_labels(dataset) if coded.label == label))
        # Two reasons that readers must not confuse: no code at all, and a code that the other side lacks.
        if not codes:
            reasons[label] = _without_code(dataset, label)
        elif not shared.intersection(codes):
            listed = ", ".join(codes)
            reasons[label] = f"{other} has no label of {listed} ({concepts()[codes[0]]}){_taken(dataset, label, other)}"
    return reasons


def _without_code(dataset: str, label: str) -> str:
    """Why a label has no code."""
    code, reason = withheld(dataset).get(label, ("", "no code"))
    return f"not counted as {code} ({concepts()[code]}), the Challenge's code: {reason}" if code else reason


def _taken(dataset: str, label: str, other: str) -> str:
    """What else the Challenge's codes would link a label to, and why they do not here."""
    code, reason = withheld(dataset).get(label, ("", ""))
    if code and code in {coded.code for coded in coded_labels(other)}:
        return f"; not counted as {code} ({concepts()[code]}), the Challenge's code: {reason}"
    own = {coded.code for coded in coded_labels(dataset) if coded.label == label}
    narrower = [name for name, (given, _) in withheld(other).items() if given in own]
    return f"; the Challenge counts {', '.join(narrower)} as it, this map does not" if narrower else ""
