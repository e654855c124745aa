"""The parts of the PhysioNet/CinC Challenge 2021: WFDB headers with SNOMED CT codes, one code table per part.

Raw folder: `<id>.hea` and `<id>.mat` flat, in `g1`, `g2`, ..., or as released, in `training/<part>/g1`, .... Age, sex
and codes (`Dx`) stand in the header of each record, so a scan only lists files and `read` brings the rest.

Labels: each code of `Dx` by the part's code table, the first row of a code wins; repeats stay. A code without a row,
an empty `Dx` and whatever follows a blank in it give no label and a remark in the report. Records that cannot be read
are lost and those with a missing sample are left out, both before labels are counted and folds are made; those that
are too short are left out afterwards. Folds: iterative stratification of the unfiltered labels, records sorted by
name; the highest fold that holds a record of full length is test, the one before validation, all others train.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_scripts.codes import read_codes
from dataset_scripts.core.folds import stratify
from dataset_scripts.core.labels import split_by_fold
from dataset_scripts.core.spec import (
    ECGDataset,
    Exclusion,
    LabelTable,
    PathLike,
    RawRecord,
    RecordExcluded,
    Rejected,
    Release,
    Scan,
    Signal,
    Source,
)
from ecg_hub.errors import DataError
from ecg_hub.input.samples import MISSING, lead_columns, missing_leads
from ecg_hub.input.wfdb import Header, read_header, signal_of

if TYPE_CHECKING:
    import pandas as pd


RELEASE = "1.0.3"
PAGE = f"https://physionet.org/content/challenge-2021/{RELEASE}/"
LICENCE = "CC-BY-4.0"
SAMPLING_RATE = 500
FOLDS = 10
MIN_SAMPLES = 5000
"""Samples of ten seconds; shorter records stand in no split, where the length rule applies."""

OLDEST = 120
MISSING_SAMPLES = "holds missing samples (NaN)"
CITATION = (
    "Reyna, M. A., Sadr, N., Perez Alday, E. A., et al. Will Two Do? Varying Dimensions in Electrocardiography: The "
    "PhysioNet/Computing in Cardiology Challenge 2021. Computing in Cardiology 48, 2021, "
    "10.23919/CinC53138.2021.9662687. PhysioNet, version 1.0.3, 10.13026/34va-7q14. CC BY 4.0. Goldberger et al., "
    "PhysioBank, PhysioToolkit, and PhysioNet, Circulation 101(23), 2000."
)
FOLD_RULE = (
    "made here, by record (the data name no patients): ten folds by iterative stratification of the unfiltered labels, "
    "seed 0, records sorted by name; the last fold is test, the one before validation. The published folds followed "
    "the order in which a directory was listed, which nobody can know, so these are not the authors' folds"
)
FOLD_PROBLEM = (
    "The published folds depend on the order in which a file system listed the records, so they cannot be made again: "
    "the test set here is about as large and as mixed, but holds other records."
)
PATIENT_PROBLEM = (
    "The data name no patients. If a patient has several records, they may stand on both sides of a split, which makes "
    "scores look better."
)


@dataclass(frozen=True)
class RecordNames:
    """How the records of a part are named: a prefix and a number of fixed width.

    Attributes:
        prefix: letters before the number.
        digits: width of the number.
        first, last: lowest and highest number.
    """

    prefix: str
    digits: int
    first: int
    last: int

    def __contains__(self, name: object) -> bool:
        match = re.fullmatch(rf"{self.prefix}(\d{{{self.digits}}})", str(name))
        return match is not None and self.first <= int(match[1]) <= self.last

    def __str__(self) -> str:
        return f"{self.name(self.first)} to {self.name(self.last)}"

    def name(self, number: int) -> str:
        """Return the name of a record."""
        return f"{self.prefix}{number:0{self.digits}d}"


PARTS: Mapping[str, RecordNames] = {
    "Chapman-Shaoxing": RecordNames("JS", 5, 1, 10_646),
    "Ningbo": RecordNames("JS", 5, 10_647, 45_551),
    "CPSC2018": RecordNames("A", 4, 1, 6877),
    "CPSC-Extra": RecordNames("Q", 4, 1, 3581),
    "Georgia": RecordNames("E", 5, 1, 10_344),
    "PTB-XL": RecordNames("HR", 5, 1, 21_837),
    "PTB": RecordNames("S", 4, 1, 549),
    "INCART": RecordNames("I", 4, 1, 75),
}
"""The parts of the Challenge and how their records are named; tells a wrong folder by its content."""


@dataclass(frozen=True)
class RecordFile:
    """A header, or a signal file without one.

    Attributes:
        record_id: the file name without its ending.
        file: the file below the raw folder, in POSIX form.
        whole: whether it is a header; else only the signal file is there.
    """

    record_id: str
    file: str
    whole: bool = True


@dataclass(frozen=True, kw_only=True)
class ChallengeDataset(ECGDataset):
    """One part of the Challenge.

    Attributes:
        part: its folder below `training`.
        names: how its records are named.
        code_table: the table in `dataset_scripts.codes` that names its codes.
        abbreviated: whether labels are abbreviations, so that their titles come from the code table.
    """

    part: str
    names: RecordNames
    code_table: str
    abbreviated: bool = False

    @property
    def place(self) -> str:
        """The page of all parts, and the folder of this one."""
        return f"{self.page} (training/{self.part})"

    def check_folder(self, data_dir: PathLike | None, sampling_rate: int) -> Path:
        """Return the raw folder after checking that records of this part are there."""
        folder = super().check_folder(data_dir, sampling_rate)
        names = [item.record_id for item in list_records(folder, self.part) if item.whole]
        if not names:
            raise DataError(
                f"{str(folder)!r} holds no record of {self.title}: no .hea file lies there, in g1, g2, ... below it, "
                f"or in training/{self.part}. {self.how_to_get(folder)}"
            )
        # All parts have the same layout, so only the names of the records show that a folder is another part's.
        if not any(name in self.names for name in names):
            raise DataError(
                f"{str(folder)!r} holds {len(names)} records, {min(names)} to {max(names)}{_whose(names)}, and none of "
                f"{self.title}, which are named {self.names}. {self.how_to_get(folder)}"
            )
        return folder

    def scan(self, data_dir: Path, sampling_rate: int) -> Scan:
        """List the records, sorted by name; names of another part are left out by rule."""
        import pandas as pd

        del sampling_rate
        files: dict[str, str] = {}
        lost, excluded = [], []
        # By name: published folds follow the order in which a file system listed the folder, which nobody can repeat.
        listed = sorted(list_records(data_dir, self.part), key=lambda item: (item.record_id, item.file))
        for item in listed:
            if item.record_id not in self.names:
                rule = f"not a record of {self.title} ({self.names})"
                excluded.append(Rejected(item.record_id, item.file, rule))
            elif not item.whole:
                lost.append(Rejected(item.record_id, item.file, f"{item.record_id}.hea is missing"))
            elif item.record_id in files:
                reason = f"the record occurs a second time, the first is {files[item.record_id]}"
                lost.append(Rejected(item.record_id, item.file, reason))
            else:
                files[item.record_id] = item.file
        table = pd.DataFrame({"record_id": list(files), "file": list(files.values())}, dtype=object)
        return Scan(table, lost=lost, excluded=excluded)

    def read(self, data_dir: Path, record: RawRecord) -> Signal:
        """Read a header and its signal."""
        path = data_dir / record.file
        header = read_header(path)
        metadata, remarks = _clinical(header.comments)
        _, odd = self.labels_of(metadata["dx"])
        signal = signal_of(header, **metadata)
        # The published preparation drops such a record before it counts labels, so it counts nowhere.
        if _has_missing(header, signal):
            raise RecordExcluded(MISSING_SAMPLES)
        return replace(signal, remark="; ".join(filter(None, [signal.remark, *remarks, *odd])))

    def label_table(self, metadata: pd.DataFrame, data_dir: Path, thresholds: Mapping[str, Any]) -> LabelTable:
        """Name the codes, make the folds, and leave out short records."""
        del data_dir
        labels = [self.labels_of(text if isinstance(text, str) else None)[0] for text in metadata["dx"]]
        # Unfiltered labels of all records: the published run counts and folds first and drops short records afterwards.
        fold = stratify(labels, thresholds["folds"], seed=0)
        shortest = thresholds.get("min_samples", 0)
        short = metadata["samples"].to_numpy() < shortest
        # The test set is the highest fold that still holds a record after the length rule.
        # `initial`, because numpy raises for the maximum of nothing, where every record is short.
        last = int(fold[~short].max(initial=-1))
        return LabelTable(
            labels={"label_all": labels},
            fold=fold,
            split=split_by_fold(fold, last=last if last > 0 else thresholds["folds"] - 1),
            exclusions=[Exclusion(f"shorter than {shortest / SAMPLING_RATE:g} s", short)] if shortest else [],
        )

    def belongs(self, record_id: str) -> bool:
        """Whether the name is one of this part's: a folder may hold other parts too."""
        return record_id in self.names

    def label_title(self, column: str, label: str) -> str:
        """Return the meaning of an abbreviated label; two meanings where two codes carry it."""
        del column
        rows = first_rows(self.code_table) if self.abbreviated else ()
        meanings = dict.fromkeys(row["meaning"] for row in rows if row["name"] == label and row["meaning"])
        return " or ".join(meanings) or label

    def labels_of(self, dx: str | None) -> tuple[list[str], list[str]]:
        """Return the labels of a `Dx` text, repeats kept, and what is odd about it."""
        if dx is None:
            return [], ["the header has no Dx line"]
        table = code_names(self.code_table)
        codes, behind = _split_codes(dx)
        unknown = [code for code in codes if code not in table]
        odd = [] if codes or behind else ["Dx is empty"]
        odd += [f"Dx code {code!r} is not in the code table" for code in unknown]
        odd += [f"Dx {text!r} follows a blank and is not read" for text in behind]
        return [table[code] for code in codes if code in table], odd


def list_records(folder: Path, part: str) -> list[RecordFile]:
    """Return the records in a raw folder in any of its layouts: flat, in g1, g2, ..., or below training/<part>."""
    return [item for top in (".", part, f"training/{part}") for records in _places(folder, top) for item in records]


def _places(folder: Path, top: str) -> Iterator[list[RecordFile]]:
    """Yield the records of a folder itself, then of each of its groups."""
    names = _names(folder / top)
    yield _pair(names, top)
    for name in names:
        if re.fullmatch(r"g\d+", name) and (folder / top / name).is_dir():
            yield _pair(_names(folder / top / name), f"{top}/{name}")


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]  # macOS leaves "._" files
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"The folder {str(folder)!r} cannot be read: {error}.") from error


def _pair(names: Sequence[str], folder: str) -> list[RecordFile]:
    """Return the headers among file names, and the signal files that have none."""
    below = folder.removeprefix(".").removeprefix("/")
    prefix = f"{below}/" if below else ""
    headers = {name.removesuffix(".hea") for name in names if name.endswith(".hea")}
    alone = [stem for name in names if name.endswith(".mat") and (stem := name.removesuffix(".mat")) not in headers]
    records = [RecordFile(stem, f"{prefix}{stem}.hea") for stem in headers]
    return records + [RecordFile(stem, f"{prefix}{stem}.mat", whole=False) for stem in alone]


def _whose(record_ids: Sequence[str]) -> str:
    """Return which parts of the Challenge the records belong to, in brackets, or nothing."""
    owners = [title for title, names in PARTS.items() if any(name in names for name in record_ids)]
    return f" ({', '.join(owners)})" if owners else ""


def _has_missing(header: Header, signal: Signal) -> bool:
    """Tell whether a sample of a lead that is there is missing; a lead that is not there is no such case."""
    # A lead that is not recorded is filled with missing samples, which are no damage.
    absent = missing_leads(lead_columns([line.name for line in header.signals])) if header.signals else []
    gone = (signal.samples == MISSING).sum(axis=0)
    return int(gone.sum()) > len(absent) * len(signal.samples)


def _clinical(comments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return age (years), sex and dx of a header, and what is odd about them; the last line of a key wins."""
    fields = {key.strip().lower(): value.strip() for key, colon, value in (c.partition(":") for c in comments) if colon}
    age, sex = fields.get("age", ""), fields.get("sex", "").lower()
    years = _number(age)
    plausible = years is not None and 0 <= years <= OLDEST
    sexes = {"male": "male", "m": "male", "female": "female", "f": "female"}
    remarks = [f"age {age!r} is not within 0 to {OLDEST} years"] if years is not None and not plausible else []
    if sex not in {*sexes, "", "nan", "unknown"}:
        remarks.append(f"sex {sex!r} is neither male nor female")
    return {"age": years if plausible else None, "sex": sexes.get(sex), "dx": fields.get("dx")}, remarks


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _split_codes(dx: str) -> tuple[list[str], list[str]]:
    """Return the codes of a Dx text and the words behind a blank, which the published preparation does not read."""
    parts = dx.split()
    codes = [code.lstrip("0") for code in parts[0].split(",")] if parts else []
    if parts[1:] and not codes[-1]:
        # A comma in front of the blank leaves an empty last code.
        codes.pop()
    return codes, parts[1:]


def first_rows(table: str) -> list[Mapping[str, str]]:
    """Return the rows of a code table without those whose code has a row before: the first one wins."""
    rows: dict[str, Mapping[str, str]] = {}
    for row in read_codes(table):
        # As in the published preparation; a code with several labels keeps the first.
        rows.setdefault(row["code"], row)
    return list(rows.values())


@lru_cache
def code_names(table: str) -> Mapping[str, str]:
    """Return code -> label of a code table."""
    return MappingProxyType({row["code"]: row["name"] for row in first_rows(table)})


def challenge_part(
    name: str,
    part: str,
    *,
    title: str,
    citation: str,
    description: str,
    problems: tuple[str, ...],
    records: int,
    labels: int,
    min_samples: int | None = MIN_SAMPLES,
    abbreviated: bool = False,
) -> ChallengeDataset:
    """Return a part with what all of them share.

    Args:
        name: of the dataset; its code table is `snomed_<name>`.
        part: its folder below `training`.
        title: as in `PARTS`.
        citation: of the part, before that of the Challenge.
        description: of the part, for its card.
        problems: of the part, for its card; those of all parts come first.
        records: of release 1.0.3.
        labels: that ten records or more carry.
        min_samples: shorter records stand in no split; None where all have the same length.
        abbreviated: whether labels are abbreviations.
    """
    code_table = f"snomed_{name.replace('-', '_')}"
    return ChallengeDataset(
        name=name,
        title=title,
        versions=(RELEASE,),
        sampling_rates=(SAMPLING_RATE,),
        access="open",
        redistribution=True,
        licence=LICENCE,
        citation=f"{citation} {CITATION}",
        page=PAGE,
        label_columns=("label_all",),
        folds=FOLD_RULE,
        metadata_columns={"dx": "string"},
        thresholds={"min_count": 10, "folds": FOLDS, **({"min_samples": min_samples} if min_samples else {})},
        table_files=(),
        signal_suffixes=(".hea", ".mat"),
        store_version=2,
        part=part,
        names=PARTS[title],
        code_table=code_table,
        abbreviated=abbreviated,
        description=description,
        problems=(FOLD_PROBLEM, PATIENT_PROBLEM, *problems),
        releases=(_release(code_table, records, labels),),
        sources=(Source(host="physionet", ref=f"challenge-2021/{RELEASE}", files=(f"training/{part}",)),),
    )


def _release(code_table: str, records: int, labels: int) -> Release:
    """Return what is known of release 1.0.3 of a part: its published counts per code, added up per label.

    A record that carries two codes of one label counts twice, as it does in the count rule.
    """
    counts: Counter[str] = Counter()
    for row in first_rows(code_table):
        counts[row["name"]] += int(row["records"])
    present = {name: count for name, count in counts.items() if count}
    return Release(
        version=RELEASE, records=records, label_counts={"label_all": present}, label_numbers={"label_all": labels}
    )
