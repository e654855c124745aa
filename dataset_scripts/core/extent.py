"""How much of a dataset's release a copy holds, and whether its labels and folds are those of the release.

Part of a dataset must not pass as the dataset. What is known differs: of some releases the records of every split and
digests of labels and folds, of others the number of records only. A copy of the latter is whole when all of them were
read: folds and rules then give the splits of the published run, or those that this package makes in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dataset_scripts.core.spec import SPLITS, Release

State = Literal["whole", "partial", "unknown", "not compared"]
RECORDS, LABELS, FOLDS = "records", "release_labels", "release_folds"
"""The deviations that part of a release, or other labels or folds than its own, bring into a result."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """What a copy of a dataset holds, as far as it can be compared with a release.

    Attributes:
        version: the release that its tables reveal, or None.
        read: records of the release that were read, those that a rule leaves out included, lost ones not.
        records: split -> its records.
        label_sha256: label column -> SHA-256 of the labels of all records (`labels.canonical_sha256`).
        fold_sha256: SHA-256 of the folds of all records (`labels.fold_sha256`), None where it was not kept.
    """

    version: str | None
    read: int
    records: Mapping[str, int]
    label_sha256: Mapping[str, str] = field(default_factory=dict)
    fold_sha256: str | None = None


@dataclass(frozen=True)
class Extent:
    """What came of a comparison.

    Attributes:
        state: "whole"; "partial" (other records, labels or folds than the release's); "unknown" where neither can be
            shown; "not compared" for simulated data and data without a release.
        differences: deviation -> what differs, in words: {"records": "1978/17418 train; 261/2198 test"}.
    """

    state: State
    differences: Mapping[str, str] = field(default_factory=dict)


def extent(release: Release | None, copy: Copy | None, used: Mapping[str, int] | None = None) -> Extent:
    """Compare a copy, or what a run used of it, with a release."""
    taken = used if used is not None else copy.records if copy is not None else None
    if release is None or taken is None:
        return Extent("unknown")
    expected = release.split_sizes
    # The number of records is all that is known of this release: a whole copy then vouches for its own splits.
    if not expected:
        if copy is None:
            return Extent("unknown")
        if copy.read != release.records:
            return Extent("partial", {RECORDS: f"{copy.read}/{release.records} in all"})
        expected = copy.records
    # With other records the labels and folds must differ as well, which would only repeat what `records` says.
    differences = {} if copy is None or dict(copy.records) != dict(expected) else _other_content(release, copy)
    short = [f"{taken[split]}/{expected[split]} {split}" for split in SPLITS if taken[split] != expected[split]]
    if short:
        differences = {RECORDS: "; ".join(short), **differences}
    return Extent("partial" if differences else "whole", differences)


def _other_content(release: Release, copy: Copy) -> dict[str, str]:
    """Labels and folds that are not the release's; of other records they could not be the same."""
    published = release.label_hashes
    columns = [column for column, digest in copy.label_sha256.items() if published.get(column, digest) != digest]
    differences = {LABELS: f"{', '.join(columns)} other than {release.version}"} if columns else {}
    if copy.fold_sha256 and release.fold_sha256 and copy.fold_sha256 != release.fold_sha256:
        differences[FOLDS] = f"other than {release.version}"
    return differences
