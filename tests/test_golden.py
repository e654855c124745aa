"""Goldens in the repository are those they were taken from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.forms import forms

COPIES = {
    "published/al_masud_2026.csv": "data/published/al_masud_2026.csv",
    **{
        f"protocol/{name}": f"parity/protocol/{name}"
        for name in (
            *("bootstrap_golden.npz", "chunks_golden.json", "head_golden.npz"),
            *("metrics_golden.npz", "resample_golden.npz", "stratified_subset_golden.json"),
        )
    },
}


def read(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_the_original(name: str, golden: Path, shared: Path) -> None:
    assert (golden / name).read_bytes() == (shared / COPIES[name]).read_bytes()


def test_label_counts_and_folds_are_the_published_ones(golden: Path, shared: Path) -> None:
    published = read(shared / "data/labels_expected.json")
    assert isinstance(published, dict)
    assert read(golden / "labels/expected.json") == {k: v for k, v in published.items() if k != "sample_records"}


def test_forms_are_those_of_the_sample_files(golden: Path, shared: Path) -> None:
    assert read(golden / "labels/forms.json") == forms(shared / "data")
