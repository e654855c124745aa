"""A user's raw folder compared with what is known of the release: what is missing, what differs, in plain words.

The fast way reads tables and names only. The thorough one reads every record and every checksum as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dataset_scripts.core.labels import (
    Seen,
    canonical_sha256,
    count_occurrences,
    fold_sha256,
    from_headers,
    label_frame,
    vocabulary,
)
from dataset_scripts.core.spec import MOCK_FILE, ECGDataset, LabelTable, PathLike, Rejected, Release, Scan, is_mock
from dataset_scripts.tools.hosts import fits
from dataset_scripts.tools.raw_files import absent_records, damaged, list_folder, read_sums, split_absent
from ecg_hub.errors import DataError, InputError, did_you_mean
from ecg_hub.utils.remote import bring, place

if TYPE_CHECKING:
    import pandas as pd


Verdict = Literal["ok", "missing", "differs", "open", "note"]
FAULTS = ("missing", "differs", "open")
SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One comparison.

    Attributes:
        subject: what was compared.
        verdict: "ok" (the fact holds), "missing", "differs", "open" (a known fact that was not compared), or "note"
            (something worth knowing that is no fact of the release).
        text: the result in one sentence.
    """

    subject: str
    verdict: Verdict
    text: str


@dataclass
class Verification:
    """All comparisons of one folder.

    Attributes:
        dataset: its name.
        folder: the raw folder.
        release: the release it was compared with; None where nothing is known of any.
        synthetic: whether the folder is a mock tree.
        thorough: whether records and checksums were read.
        findings: the comparisons, in order.
    """

    dataset: str
    folder: str
    release: str | None
    synthetic: bool
    thorough: bool
    findings: list[Finding] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the folder is real and every known fact was compared and holds."""
        return not self.synthetic and not any(finding.verdict in FAULTS for finding in self.findings)

    def add(self, subject: str, verdict: Verdict, text: str) -> None:
        """Append a finding."""
        self.findings.append(Finding(subject, verdict, text))

    def compare(self, subject: str, counted: Any, expected: Any, text: str) -> None:
        """Append whether a fact holds: `text` says it, and what was expected where it does not."""
        stated = f"{expected:,}" if isinstance(expected, int) else str(expected)
        if counted == expected:
            self.add(subject, "ok", text)
        else:
            self.add(subject, "differs", f"{text} instead of {stated}")


def some(names: Iterable[str], number: int = SHOWN) -> str:
    """Return the first names as a comma list, and how many more there are."""
    listed = list(names)
    rest = len(listed) - number
    return ", ".join(listed[:number]) + (f" and {rest:,} more" if rest > 0 else "")


def reasons(rejected: Sequence[Rejected], number: int = 3) -> str:
    """Return the first records with their reasons."""
    shown = [f"{item.record_id} ({item.file}): {item.reason}" for item in rejected[:number]]
    rest = len(rejected) - number
    return "; ".join(shown) + (f"; and {rest:,} more" if rest > 0 else "")


def share(part: int, whole: int, noun: str) -> str:
    """Return "1 of 59 records is" or "12 of 21,799 records are"."""
    return f"{part:,} of {whole:,} {noun} {'is' if part == 1 else 'are'}"


def has_label_facts(release: Release) -> bool:
    """Tell whether anything is known of a release's labels or folds."""
    facts = (release.label_counts, release.label_numbers, release.label_hashes, release.fold_sizes, release.fold_sha256)
    return any(facts)


def compare_labels(
    result: Verification, dataset: ECGDataset, table: LabelTable, record_ids: Sequence[str], release: Release
) -> None:
    """Add a finding for every fact about labels and folds."""
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
            # With the published count, whatever a mock tree or the user would set: the facts are of the release.
            names = table.fixed.get(column) or vocabulary(lists, dataset.thresholds["min_count"])
            result.compare(column, len(names), release.label_numbers[column], f"{column}: {len(names)} labels")
        if column in release.label_hashes:
            same = canonical_sha256(ids, lists) == release.label_hashes[column]
            text = "every record has the labels of the release" if same else "some record has other labels"
            result.add(column, "ok" if same else "differs", f"{column}: {text} (by SHA-256)")
    _compare_folds(result, table, record_ids, release)


def _compare_counts(result: Verification, column: str, counted: Mapping[str, int], stated: Mapping[str, int]) -> None:
    """Add one finding for a column: all counts agree, or which do not."""
    names = sorted(set(counted) | set(stated))
    differing = [
        f"{name} {counted.get(name, 0):,} instead of {stated.get(name, 0):,}"
        for name in names
        if counted.get(name, 0) != stated.get(name, 0)
    ]
    if differing:
        result.add(column, "differs", f"{column}: {some(differing)}")
    else:
        result.add(column, "ok", f"{column}: the counts of all {len(stated)} labels agree")


def _compare_folds(result: Verification, table: LabelTable, record_ids: Sequence[str], release: Release) -> None:
    fold = np.asarray(table.fold)
    if release.fold_sizes:
        inside = fold[fold >= 0]
        # Folds count from 0 or from 1, as each dataset publishes them; -1 is none.
        lowest = int(inside.min()) if len(inside) else 0
        # -1 (no fold) is left out above, since bincount takes no negative numbers.
        sizes = np.bincount(inside - lowest).tolist() if len(inside) else []
        if sizes == list(release.fold_sizes):
            result.add("folds", "ok", f"the sizes of all {len(sizes)} folds agree")
        else:
            stated = ", ".join(map(str, release.fold_sizes))
            result.add("folds", "differs", f"fold sizes {', '.join(map(str, sizes))} instead of {stated}")
    if release.fold_sha256:
        same = fold_sha256(record_ids, fold) == release.fold_sha256
        text = "every record is in the published fold" if same else "some record is in another fold than published"
        result.add("folds", "ok" if same else "differs", f"{text} (by SHA-256)")


def verify(
    dataset: ECGDataset,
    data_dir: PathLike,
    *,
    signals: bool = False,
    release: str | None = None,
    sampling_rate: int | None = None,
    num_proc: int = 1,
) -> Verification:
    """Compare a raw folder with what is known of a release.

    Args:
        dataset: whose folder it is.
        data_dir: the folder.
        signals: also read every record and compare every listed checksum.
        release: the release to compare with; default the one that the tables reveal, else the published one; none
            for a mock tree, of which no fact of a release holds.
        sampling_rate: Hz; default the first that the folder has.
        num_proc: processes that read records.
    """
    wanted = _named_release(dataset, release)
    folder = bring(place(data_dir), lazily=True)
    result = Verification(dataset.name, str(folder), None, is_mock(folder), signals)
    try:
        rate = _rate(dataset, folder, sampling_rate)
        scan = dataset.scan(folder, rate)
    except DataError as error:
        result.add("folder", "missing", f"{error}{_other_owner(dataset, folder)}")
        return result
    facts = wanted or (None if result.synthetic else _matching_release(dataset, scan))
    # The report names what it compared with even where nothing holds.
    result.release = facts.version if facts else None
    _describe(result, dataset, scan, facts)
    _compare_records(result, dataset, scan, facts)
    _compare_files(result, dataset, folder, rate, scan, facts)
    table, seen = _read_all(result, dataset, folder, rate, scan, num_proc) if signals else (scan.table, None)
    if facts is not None and has_label_facts(facts) and len(table):
        _compare_labels(result, dataset, folder, rate, scan, table, seen, facts)
    return result


def _named_release(dataset: ECGDataset, version: str | None) -> Release | None:
    if version is None:
        return None
    releases = {release.version: release for release in dataset.releases}
    if version not in releases:
        raise InputError(
            f"Nothing is known of release {version!r} of {dataset.title}.{did_you_mean(version, releases)} "
            f"Known: {', '.join(releases) or 'none'}."
        )
    return releases[version]


def _matching_release(dataset: ECGDataset, scan: Scan) -> Release | None:
    """Return the release that the tables reveal, else the one of this size, else the published one."""
    size = _raw_records(dataset, scan)
    by_name = [release for release in dataset.releases if release.version == scan.version]
    by_size = [release for release in dataset.releases if release.records == size]
    return next(iter([*by_name, *by_size, *dataset.releases]), None)


def _raw_records(dataset: ECGDataset, scan: Scan) -> int:
    """Return how many records the tables list, those of another dataset in the same folder not counted."""
    names = [*scan.table["record_id"], *(item.record_id for item in (*scan.lost, *scan.excluded))]
    return sum(dataset.belongs(str(name)) for name in names)


def _rate(dataset: ECGDataset, folder: Path, asked: int | None) -> int:
    """Return the sampling rate to look at: the asked one, else the first whose files are there."""
    if asked is not None:
        rate = dataset.check_rate(asked)
        dataset.check_folder(folder, rate)
        return rate
    for rate in dataset.sampling_rates:
        try:
            dataset.check_folder(folder, rate)
        except DataError:
            continue
        return rate
    # Nothing is there at any rate: the error then names what the published one needs.
    dataset.check_folder(folder, dataset.sampling_rate)
    return dataset.sampling_rate


def _other_owner(dataset: ECGDataset, folder: Path) -> str:
    """Return a hint where the folder looks like another dataset's."""
    from dataset_scripts.catalog import datasets

    # Only by the names of files: a hint must not take longer than the error it stands beside.
    def fits(other: ECGDataset) -> bool:
        try:
            other.check_folder(folder, other.sampling_rate)
        except DataError:
            return False
        return bool(other.table_files)

    others = [other.name for other in datasets().values() if other.name != dataset.name and fits(other)]
    return f" It looks like the folder of {' or '.join(others)}." if others else ""


def _describe(result: Verification, dataset: ECGDataset, scan: Scan, release: Release | None) -> None:
    if result.synthetic:
        text = f"the folder is synthetic, written by ecg-hub ({MOCK_FILE}): it is not {dataset.title}"
        result.add("origin", "note", text)
    # Not a fault: of an archive that nobody published facts of, the files can still be compared with their own list.
    if release is None and not result.synthetic:
        result.add("release", "note", f"no facts are known of any release of {dataset.title}: only files are compared")
    elif release is not None and scan.version is not None and scan.version != release.version:
        result.add("release", "differs", f"the tables are those of release {scan.version} instead of {release.version}")


def _compare_records(result: Verification, dataset: ECGDataset, scan: Scan, release: Release | None) -> None:
    number = _raw_records(dataset, scan)
    if release is not None:
        result.compare("records", number, release.records, f"{number:,} records")
    if scan.lost:
        result.add("tables", "differs", f"{share(len(scan.lost), number, 'rows')} damaged: {reasons(scan.lost)}")
    if scan.excluded:
        rules = sorted({item.reason for item in scan.excluded})
        result.add(
            "rules", "note", f"{share(len(scan.excluded), number, 'records')} left out by rule: {some(rules, 5)}"
        )


def _compare_files(
    result: Verification,
    dataset: ECGDataset,
    folder: Path,
    rate: int,
    scan: Scan,
    release: Release | None,
) -> None:
    present = list_folder(folder)
    ids, files = scan.table["record_id"].astype(str).tolist(), scan.table["file"].astype(str).tolist()
    absent = absent_records(dataset.signal_suffixes, ids, files, present)
    if absent:
        text = f"{share(len(absent), len(ids), 'records')} missing: {some(absent)}"
        result.add("signal files", "missing", f"{text} (for one, {next(iter(absent.values()))})")
    else:
        result.add("signal files", "ok", f"the files of all {len(ids):,} records are there")
    if rate != dataset.sampling_rate:
        result.add("sampling rate", "note", f"the records at {rate} Hz were looked at; the published rate is "
                   f"{dataset.sampling_rate} Hz")  # fmt: skip
    known_files = release.files if release else {}
    for name in known_files:
        if name not in present:
            result.add("files", "missing", f"{name} is missing")
    facts = {name: f"sha256:{digest}" for name, digest in known_files.items() if name in present}
    _compare_content(result, "release", folder, facts)
    _compare_sums(result, dataset, folder, rate, present)


def _compare_sums(result: Verification, dataset: ECGDataset, folder: Path, rate: int, present: set[str]) -> None:
    """Compare with the checksum lists that lie in the folder."""
    patterns = [pattern for source in dataset.sources if source.host == "physionet" for pattern in source.files]
    sums = read_sums(folder)
    if patterns:  # the list is of a project that holds several datasets
        sums = {name: checksum for name, checksum in sums.items() if any(fits(name, pattern) for pattern in patterns)}
    if not sums:
        return
    missing, folders = split_absent(sums, present, dataset.signal_folders(rate))
    for name, number in folders.items():
        text = f"nothing of {name}/ is there ({number:,} files); the records at {rate} Hz do not need it"
        result.add("listed files", "note", text)
    if missing:
        text = f"{share(len(missing), len(sums), 'listed files')} missing: {some(missing)}"
        result.add("listed files", "missing", text)
    else:
        result.add("listed files", "ok", "every file that the checksum list names is there, folders left out aside")
    tables = {*dataset.table_files, *dataset.optional_files}
    # Tables always, signals only on request: their checksums take as long as reading the whole disk.
    facts = {name: sums[name] for name in sums if name in present and (result.thorough or name in tables)}
    _compare_content(result, "checksum list", folder, facts)


def _compare_content(result: Verification, source: str, folder: Path, sums: Mapping[str, str]) -> None:
    if not sums:
        return
    wrong = damaged(folder, sums, sums)
    if wrong:
        text = f"{share(len(wrong), len(sums), 'files')} other than the {source} says: {some(wrong)}"
        result.add("checksums", "differs", text)
    else:
        result.add("checksums", "ok", f"{len(sums):,} files have the content that the {source} says")


def _read_all(
    result: Verification, dataset: ECGDataset, folder: Path, rate: int, scan: Scan, num_proc: int
) -> tuple[pd.DataFrame, list[Seen]]:
    """Read every record; returns the rows of those that can be read and what their own files say."""
    from dataset_scripts.tools.raw_files import read_records

    outcomes = read_records(dataset, folder, scan, rate, num_proc)
    rejected: dict[str, list[Rejected]] = {"lost": [], "excluded": []}
    for record, file, outcome in zip(scan.table["record_id"], scan.table["file"], outcomes, strict=True):
        if outcome.seen is None:
            rejected[outcome.status].append(Rejected(str(record), str(file), outcome.reason))
    lost, left_out = rejected["lost"], rejected["excluded"]
    if lost:
        text = f"{share(len(lost), len(outcomes), 'records')} unreadable: {reasons(lost)}"
        result.add("signals", "differs", text)
    else:
        result.add("signals", "ok", f"all {len(outcomes):,} records can be read")
    if left_out:
        text = f"{share(len(left_out), len(outcomes), 'records')} left out by rule on reading: {reasons(left_out)}"
        result.add("rules", "note", text)
    # Labels are derived of those that can be read, as a record store would have them.
    kept = [outcome.seen is not None for outcome in outcomes]
    return scan.table[kept], [outcome.seen for outcome in outcomes if outcome.seen is not None]


def _compare_labels(
    result: Verification,
    dataset: ECGDataset,
    folder: Path,
    rate: int,
    scan: Scan,
    table: pd.DataFrame,
    seen: Sequence[Seen] | None,
    release: Release,
) -> None:
    """Derive labels and folds and compare them."""
    if seen is None and from_headers(dataset, scan):
        # Open and not "ok": a fact that was not looked at must not pass as one that holds.
        text = "labels and folds were not compared: they come from the records' own files; read those with --signals"
        result.add("labels", "open", text)
        return
    try:
        labels = dataset.label_table(label_frame(dataset, table, rate, seen), folder, dict(dataset.thresholds))
    except DataError as error:
        result.add("labels", "differs", str(error))
        return
    compare_labels(result, dataset, labels, table["record_id"].astype(str).tolist(), release)
