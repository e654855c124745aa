"""The tables of codes are consistent with the datasets, and label maps of one's own are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_scripts import catalog
from dataset_scripts.codes import SOURCES, read_codes
from dataset_scripts.sets.code_15 import LABELS
from ecg_hub.errors import InputError
from eval_harness.analyses.harmonise import CHALLENGE, coded_labels, concepts, equal_codes, map_labels, read_map
from eval_harness.registry import tasks

PUBLISHED = {
    name: list(tasks()[name].labels)
    for name in ("ptbxl_all", "ningbo", "cpsc2018", "cpsc_extra", "georgia", "chapman", "sph", "code15")
}
DATASETS = {
    "ptb-xl": "ptbxl_all", "ningbo": "ningbo", "cpsc2018": "cpsc2018", "cpsc-extra": "cpsc_extra",
    "georgia": "georgia", "chapman": "chapman", "sph": "sph", "code-15": "code15",
}  # fmt: skip


def vocabulary(dataset: str) -> set[str]:
    """Every label that the dataset may have in label_all."""
    if dataset in CHALLENGE:
        return {row["name"] for row in read_codes(CHALLENGE[dataset])}
    return {
        "ptb-xl": {row["code"] for row in read_codes("scp") if row["column"] == "statement"},
        "chapman": {row["code"] for row in read_codes("chapman")},
        "sph": {row["code"] for row in read_codes("aha") if row["kind"] == "primary"},
        "code-15": set(LABELS),
    }[dataset]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_label_exists_in_its_dataset(dataset: str) -> None:
    assert dataset in catalog.datasets()
    coded = coded_labels(dataset)
    assert {entry.label for entry in coded} <= vocabulary(dataset)
    assert len({entry.label for entry in coded} & set(PUBLISHED[DATASETS[dataset]])) >= 6


def test_every_code_is_in_our_tables_or_marked() -> None:
    official = {row["code"] for table in CHALLENGE.values() for row in read_codes(table)}
    for row in read_codes("harmonised_labels"):
        assert (row["code"] in official) != (row["outside"] == "yes"), row
        assert row["code"].isdigit()
        assert row["concept"] == concepts()[row["code"]]
        assert f"`{row['source']}`" in SOURCES["harmonised"]
    for row in read_codes("harmonised_codes"):
        assert {row["code"], row["counts_as"]} <= official
        assert f"`{row['source']}`" in SOURCES["harmonised"]


def test_the_tables_say_everything_once() -> None:
    rows = [(row["dataset"], row["label"]) for row in read_codes("harmonised_labels")]
    assert len(rows) == len(set(rows))
    assert not set(equal_codes()) & {counts_as for counts_as, _ in equal_codes().values()}
    used = {entry.concept for dataset in DATASETS for entry in coded_labels(dataset)}
    assert len({concepts()[code] for code in used}) == len(used)


def test_what_each_dataset_can_give_to_ptb_xl() -> None:
    found = {
        dataset: {link.name: (link.source, link.target) for link in
                  map_labels("ptb-xl", PUBLISHED["ptbxl_all"], dataset, PUBLISHED[task]).links}
        for dataset, task in DATASETS.items() if dataset != "ptb-xl"
    }  # fmt: skip
    assert found["code-15"] == {
        "1st degree av block": (("1AVB",), ("1AVB",)),
        "atrial fibrillation": (("AFIB",), ("AFIB",)),
        "left bundle branch block": (("CLBBB",), ("LBBB",)),
        "right bundle branch block": (("CRBBB",), ("RBBB",)),
        "sinus bradycardia": (("SBRAD",), ("SBRAD",)),
        "sinus tachycardia": (("STACH",), ("STACH",)),
    }
    assert found["cpsc2018"]["premature ventricular contractions"] == (("PVC",), ("ventricular ectopics",))
    assert found["georgia"]["right bundle branch block"][1] == (
        "complete right bundle branch block", "right bundle branch block",
    )  # fmt: skip
    assert found["ningbo"]["atrial flutter"] == (("AFLT",), ("AF",))  # Ningbo writes AF for the flutter
    assert found["chapman"]["atrial fibrillation"] == (("AFIB",), ("AFIB",))
    assert found["sph"]["normal ECG"] == (("NORM",), ("1",))
    assert "sinus rhythm" not in found["sph"]
    assert {name: len(links) for name, links in found.items()}["cpsc2018"] == 9


def test_unmapped_labels_have_reasons() -> None:
    found = map_labels("ptb-xl", ["AFIB", "SEHYP", "WPW"], "cpsc2018", PUBLISHED["cpsc2018"])
    assert found.unmapped_source["SEHYP"] == "no code"
    assert "74390002" in found.unmapped_source["WPW"]
    assert "atrial fibrillation" not in found.unmapped_target
    assert len(found.unmapped_target) == 8


def test_refusals_of_the_tables() -> None:
    with pytest.raises(InputError, match="Pass --map"):
        map_labels("echonext", ["a"], "georgia", ["b"])
    with pytest.raises(InputError, match="groups of statements"):
        map_labels("georgia", ["sinus rhythm"], "ptb-xl", ["MI"], "label_super")


def write(path: Path, *rows: str, head: str = "source,target,code,origin,outside") -> Path:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_map_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path / "map.csv", "MI,old,164865005,me,", "MI,new,164865005,me,", "CD,bbb,999000001,me,yes")
    found = read_map(path, ["MI", "CD", "HYP"], ["old", "new", "bbb", "x"])
    assert [(link.name, link.source, link.target) for link in found.links] == [
        ("myocardial infarction", ("MI",), ("old", "new")),
        ("SNOMED CT 999000001", ("CD",), ("bbb",)),
    ]
    assert list(found.unmapped_source) == ["HYP"]
    assert list(found.unmapped_target) == ["x"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("MI,old,999000001,me,", "unknown SNOMED CT code '999000001'"),
        ("MI,old,I21,me,", "no SNOMED CT code"),
        ("MX,old,164865005,me,", "source label 'MX'"),
        ("MI,young,164865005,me,", "target label 'young'"),
        ("MI,old,164865005,,", "every row needs"),
    ],
)
def test_bad_maps(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_map(write(tmp_path / "map.csv", row), ["MI"], ["old"])


def test_maps_that_are_no_maps(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_map(tmp_path / "absent.csv", ["MI"], ["old"])
    with pytest.raises(InputError, match="lacks code"):
        read_map(write(tmp_path / "map.csv", "a,b,c", head="source,target,origin"), ["a"], ["b"])
    with pytest.raises(InputError, match="lacks source"):
        read_map(write(tmp_path / "empty.csv"), ["a"], ["b"])
