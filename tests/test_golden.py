"""Goldens in the repository are those they were taken from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.forms import forms

CHECKPOINTS = (
    *("clef-large", "clef-medium", "clef-small", "deepecg-ssl-77", "ecg-cpc-ps", "ecg-fm-mimic-iv-finetuned"),
    *("ecg-fm-physionet2021-finetuned", "ecg-founder-150", "ecg-founder-1lead", "ecg-s4-ps-bidirectional"),
    *("hubert-ecg-base-cardiolearning", "hubert-ecg-large", "hubert-ecg-large-cardiolearning", "hubert-ecg-small"),
    *("hubert-ecg-small-cardiolearning", "melp-encoder", "merl-res18-full", "st-mem-encoder", "xresnet1d101-ptbxl"),
)
COPIES = {
    **{f"{case}/{name}": f"parity/{case}/{name}" for case in CHECKPOINTS for name in ("golden.npz", "manifest.json")},
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
