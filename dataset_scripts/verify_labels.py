"""Labels and folds of a raw folder compared with what is known of the release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dataset_scripts.findings import Verification, some
from dataset_scripts.labels import canonical_sha256, count_occurrences, fold_sha256, vocabulary
from dataset_scripts.spec import ECGDataset, LabelTable, Release


def has_label_facts(release: Release) -> bool:
    """Tell whether anything is known of a release's labels or folds."""
    facts = (release.label_counts, release.label_numbers, release.label_hashes, release.fold_sizes, release.fold_sha256)
    return any(facts)


def compare_labels(
    result: Verification, dataset: ECGDataset, table: LabelTable, record_ids: Sequence[str], release: Release
) -> None:
    """Add a finding for every fact about labels and folds.

    Args:
        result: where findings go.
        dataset: its published count filter decides the number of labels.
        table: labels and folds as derived, with the published thresholds.
        record_ids: one per row of the table.
        release: what is known.
    """
    counted = np.ones(len(record_ids), dtype=bool)
    for rule in table.exclusions:
        if not rule.counted:
            counted &= ~rule.rows
    ids = [record for record, use in zip(record_ids, counted, strict=True) if use]
    for column, every in table.labels.items():
        lists = [labels for labels, use in zip(every, counted, strict=True) if use]
        if column in release.label_counts:
            _compare_counts(result, column, count_occurrences(lists), release.label_counts[column])
        if column in release.label_numbers:
            names = table.fixed.get(column) or vocabulary(lists, dataset.thresholds["min_count"])
            result.compare(column, len(names), release.label_numbers[column], f"{column}: {len(names)} labels")
        if column in release.label_hashes:
            same = canonical_sha256(ids, lists) == release.label_hashes[column]
            text = "every record has the labels of the release" if same else "some record has other labels"
            result.add(column, "ok" if same else "differs", f"{column}: {text} (by SHA-256)")
    _compare_folds(result, table, record_ids, release)


def _compare_counts(result: Verification, column: str, found: Mapping[str, int], known: Mapping[str, int]) -> None:
    """Add one finding for a column: all counts agree, or which do not."""
    names = sorted(set(found) | set(known))
    differing = [
        f"{name} {found.get(name, 0):,} instead of {known.get(name, 0):,}"
        for name in names
        if found.get(name, 0) != known.get(name, 0)
    ]
    if differing:
        result.add(column, "differs", f"{column}: {some(differing)}")
    else:
        result.add(column, "ok", f"{column}: the counts of all {len(known)} labels agree")


def _compare_folds(result: Verification, table: LabelTable, record_ids: Sequence[str], release: Release) -> None:
    fold = np.asarray(table.fold)
    if release.fold_sizes:
        inside = fold[fold >= 0]
        lowest = int(inside.min()) if len(inside) else 0
        sizes = np.bincount(inside - lowest).tolist() if len(inside) else []
        if sizes == list(release.fold_sizes):
            result.add("folds", "ok", f"the sizes of all {len(sizes)} folds agree")
        else:
            known = ", ".join(map(str, release.fold_sizes))
            result.add("folds", "differs", f"fold sizes {', '.join(map(str, sizes))} instead of {known}")
    if release.fold_sha256:
        same = fold_sha256(record_ids, fold) == release.fold_sha256
        text = "every record is in the published fold" if same else "some record is in another fold than published"
        result.add("folds", "ok" if same else "differs", f"{text} (by SHA-256)")
