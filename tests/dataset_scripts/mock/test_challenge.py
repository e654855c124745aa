"""Mock trees of the Challenge 2021: true format, labels, awkward records."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from dataset_scripts import mock
from dataset_scripts.core.labels import count_occurrences, label_matrix
from dataset_scripts.load import Prepared, prepare
from dataset_scripts.mock.challenge import AWKWARD, FINDINGS_OF, PARTS, Part, _write_record, plan
from dataset_scripts.mock.findings import FINDINGS
from ecg_hub.errors import InputError
from tests.support.forms import header_form
from tests.support.wfdb_reader import wfdb

NAMES = ("ningbo", "cpsc2018", "cpsc-extra", "georgia")
AWKWARD_RECORDS = 40


def part_of(name: str) -> Part:
    return PARTS[name]


def labels_of(part: Part, records: int, seed: int = 0) -> list[list[str]]:
    return [part.dataset.labels_of(",".join(entry.codes))[0] for entry in plan(part, records, seed)]


def published(part: Part) -> set[str]:
    return {name for name, count in part.dataset.releases[0].label_counts["label_all"].items() if count >= 10}


@pytest.fixture(scope="module", params=NAMES)
def part(request: pytest.FixtureRequest) -> Part:
    return part_of(request.param)


@pytest.fixture(scope="module")
def awkward(part: Part, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("awkward") / part.dataset.name
    return mock.write(part.dataset.name, folder, records=AWKWARD_RECORDS, seed=4, awkward=True)


@pytest.fixture(scope="module")
def prepared(part: Part, awkward: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(part.dataset.name, awkward, cache_dir=tmp_path_factory.mktemp("cache"), max_unreadable=0.2)


def test_every_published_label_occurs_from_1000_records_on(part: Part) -> None:
    for records in (1000, 2000):
        counts = count_occurrences(labels_of(part, records))
        assert {label for label, count in counts.items() if count >= records // 250} == published(part)


def test_common_labels_are_in_every_split_from_200_records_on(part: Part) -> None:
    labels = labels_of(part, 200)
    entries = plan(part, 200, seed=0)
    metadata = pd.DataFrame({"dx": [",".join(e.codes) for e in entries], "samples": [e.samples for e in entries]})
    found = part.dataset.label_table(metadata, Path(), part.dataset.thresholds)
    common = [label for label, count in count_occurrences(labels).items() if count >= 12]
    assert len(common) >= 5
    for split in ("train", "validation", "test"):
        there = count_occurrences(lists for lists, place in zip(labels, found.split, strict=True) if place == split)
        assert all(there[label] for label in common), split


def test_names_are_those_of_the_part_and_ascend(part: Part) -> None:
    names = [entry.name for entry in plan(part, 300, seed=1)]
    assert names == sorted(set(names))
    assert all(name in part.dataset.names for name in names)
    assert {entry.group for entry in plan(part, 1001, seed=1)} == {1, 2}


def test_every_case_shows_in_the_signal() -> None:
    used = {abbreviation for name in NAMES for _, codes in part_of(name).cases for abbreviation in codes}
    assert used == set(FINDINGS_OF)
    assert {finding for findings in FINDINGS_OF.values() for finding in findings} <= set(FINDINGS)


def test_reversed_arm_leads_are_exchanged(tmp_path: Path) -> None:
    entry = next(e for e in plan(part_of("georgia"), 1000, seed=0) if "ALR" in e.abbreviations)
    (tmp_path / f"g{entry.group}").mkdir()
    _write_record(tmp_path, entry, seed=0)
    leads = wfdb.rdrecord(str(tmp_path / f"g{entry.group}" / entry.name)).p_signal
    first = leads[:, 0] - np.median(leads[:, 0])
    assert first.min() < -1.5 * first.max()
    np.testing.assert_allclose(leads[:, 2], leads[:, 1] - leads[:, 0], atol=1e-9)


def test_headers_are_of_the_real_forms(part: Part, golden: Path, awkward: Path) -> None:
    stored = json.loads((golden / "labels/forms.json").read_text())["challenge"]
    real = {name: set(map(tuple, forms)) for name, forms in stored.items()}
    own = Counter(header_form(path) for path in awkward.rglob("g1/*.hea"))
    released = {form for form in own if "16+24" in form[1]}
    most = max(released, key=lambda form: own[form])
    assert most in real[part.dataset.name.replace("-", "_")]
    rewritten = [form for form in own if "16x1+24" in form[1]]
    assert rewritten
    everywhere = {form[:16] for name in ("ningbo", "georgia") for form in real[name]}
    assert max(rewritten, key=lambda form: own[form])[:16] in everywhere


def test_signals_are_matlab_files_that_other_readers_read(part: Part, awkward: Path) -> None:
    header = sorted(awkward.rglob("g1/*.hea"))[0]
    record = wfdb.rdrecord(str(header.with_suffix("")), physical=False)
    matrix = loadmat(header.with_suffix(".mat"))["val"]
    assert matrix.dtype == np.int16
    assert matrix.shape == (12, record.sig_len)
    assert (record.d_signal == matrix.T).all()
    assert record.init_value == record.d_signal[0].tolist()
    sums = record.d_signal.sum(axis=0, dtype=np.int64)
    assert record.checksum == sums.astype(np.int16).tolist()
    assert record.units == ["mV"] * 12
    assert header.with_suffix(".mat").read_bytes()[:24].hex() == (
        "1e0000000c000000" + record.sig_len.to_bytes(4, "little").hex() + "0000000004000000" + b"val\0".hex()
    )


def test_awkward_records_come_to_what_the_rules_say(part: Part, prepared: Prepared) -> None:
    entries = plan(part, AWKWARD_RECORDS, seed=4)
    names = dict(zip(AWKWARD, (entry.name for entry in entries[-len(AWKWARD) :]), strict=True))
    names["record of another part"] = part.other
    lines = {(row["record_id"], row["status"]): row["reason"] for row in prepared.report.to_dict("records")}
    state = {kind: [status for record, status in lines if record == name] for kind, name in names.items()}
    gone = {"missing samples": ["excluded"], "record of another part": ["excluded"], "occurs twice": ["ok", "lost"]}
    for kind in ("truncated file", "missing signal", "missing header"):
        gone[kind] = ["lost"]
    assert state == {kind: gone.get(kind, ["ok"]) for kind in AWKWARD}
    # The last is how the first edition of the Challenge names the record: read, with a remark.
    for kind in ("unknown code", "empty Dx", "no Dx line", "blank after a comma", "impossible age", "name with a dot"):
        assert lines[names[kind], "ok"], kind
    for kind in ("repeated code", "short record", "flat leads"):
        assert lines[names[kind], "ok"] == "", kind
    rule = f"not a record of {part.dataset.title} ({part.dataset.names})"
    assert prepared.exclusions.pop(rule) == 1  # type: ignore[attr-defined]
    assert prepared.exclusions["holds missing samples (NaN)"] == 1
    assert ("shorter than 10 s" in prepared.exclusions) == (part.dataset.name != "ningbo")


@pytest.mark.heavy
def test_a_sound_tree_prepares_without_loss_and_every_split_has_positives(part: Part, tmp_path: Path) -> None:
    raw = mock.write(part.dataset.name, tmp_path / "raw", records=100, seed=2)
    found = prepare(part.dataset.name, raw, cache_dir=tmp_path / "cache", max_unreadable=0.0)
    assert set(found.report["status"]) == {"ok"}
    assert set(found.report["reason"]) == {""}
    assert found.deviations["synthetic"] is True
    assert found.deviations["folds"] == 5
    for split in found.splits.values():
        assert label_matrix(split, "label_all").sum(axis=0).astype(bool).sum() >= 5


def test_the_same_seed_gives_the_same_bytes(part: Part, tmp_path: Path) -> None:
    def digest(name: str, seed: int) -> str:
        raw = mock.write(part.dataset.name, tmp_path / name, records=6, seed=seed)
        files = sorted(path for path in (raw / "training").rglob("*") if path.is_file())
        return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()

    assert digest("a", 1) == digest("b", 1) != digest("c", 2)


def test_write_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Georgia comes at 500 Hz only"):
        mock.write("georgia", tmp_path / "x", records=3, sampling_rates=(250,))
    with pytest.raises(InputError, match="too few for the 15 awkward cases"):
        mock.write("ningbo", tmp_path / "x", records=15, awkward=True)
    with pytest.raises(InputError, match="CPSC-Extra has names for 3581 records"):
        mock.write("cpsc-extra", tmp_path / "x", records=3582)
    assert list(tmp_path.iterdir()) == []
