"""The tables of codes are consistent with the datasets, and users' label maps are checked."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import pytest

from dataset_scripts import catalog
from dataset_scripts.codes import SOURCES, read_codes
from dataset_scripts.published.code_15 import LABELS
from ecg_hub import catalog as catalog_of_models
from ecg_hub.errors import InputError
from eval_harness.tasks.harmonise import (
    CHALLENGE,
    EXPECTED_AT_LEAST,
    SUSPECT_RATIO,
    LabelMap,
    coded_groups,
    coded_labels,
    coded_outputs,
    concepts,
    equal_codes,
    head_map_sha256,
    map_head,
    map_labels,
    prevalence_flag,
    read_map,
    withheld,
)
from eval_harness.tasks.registry import tasks

PUBLISHED = {
    name: list(tasks()[name].labels)
    for name in ("ptbxl_all", "ningbo", "cpsc2018", "cpsc_extra", "georgia", "chapman", "sph", "code15")
}
DATASETS = {
    "ptb-xl": "ptbxl_all", "ningbo": "ningbo", "cpsc2018": "cpsc2018", "cpsc-extra": "cpsc_extra",
    "georgia": "georgia", "chapman": "chapman", "sph": "sph", "code-15": "code15",
}  # fmt: skip

FOUNDER = catalog_of_models.get("ecg-founder").labels


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
    assert "atrial flutter" not in found["ningbo"], "Ningbo's AF must hold fibrillation as well"
    assert found["chapman"]["atrial fibrillation"] == (("AFIB",), ("AFIB",))
    assert found["sph"]["normal ECG"] == (("NORM",), ("1",))
    assert found["cpsc2018"]["normal ECG"] == (("NORM",), ("sinus rhythm",))
    assert found["ningbo"]["sinus rhythm"] == found["chapman"]["sinus rhythm"] == (("SR",), ("SR",))
    assert not any("sinus rhythm" in found[name] for name in ("sph", "cpsc2018", "cpsc-extra", "georgia"))
    assert found["ningbo"]["inferior myocardial infarction"] == (("IMI",), ("MILW",))
    assert found["chapman"]["anterior myocardial infarction"] == (("AMI",), ("MIFW",))
    assert found["chapman"]["left ventricular high voltage"] == (("VCLVH",), ("LVHV",))
    assert found["sph"]["anteroseptal myocardial infarction"] == (("ASMI",), ("165",))
    assert {name: len(links) for name, links in found.items()}["cpsc2018"] == 9


def test_unmapped_labels_have_reasons() -> None:
    found = map_labels("ptb-xl", ["AFIB", "SEHYP", "WPW"], "cpsc2018", PUBLISHED["cpsc2018"])
    assert found.unmapped_source["SEHYP"] == (
        "not counted as 266249003 (ventricular hypertrophy), the Challenge's code: the code is broader than the "
        "statement: hypertrophy of either ventricle"
    )
    assert "74390002" in found.unmapped_source["WPW"]
    assert "atrial fibrillation" not in found.unmapped_target
    assert len(found.unmapped_target) == 8


def test_a_link_says_who_gives_each_code() -> None:
    (link,) = map_labels("ptb-xl", ["PVC"], "georgia", ["ventricular ectopic beats"]).links
    assert link.origins == (
        "ptb-xl PVC: 164884008, challenge2021, counts as 427172004 (name)",
        "georgia ventricular ectopic beats: 17338001, challenge2021, counts as 427172004 (challenge2021)",
    )


def map_to(source: str, target: str) -> LabelMap:
    return map_labels(source, PUBLISHED[DATASETS[source]], target, PUBLISHED[DATASETS[target]])


def test_a_code_that_is_withheld_is_said_on_both_sides() -> None:
    found = map_to("ptb-xl", "cpsc-extra")
    assert found.unmapped_source["IMI"] == (
        "cpsc-extra has no label of 73795002 (inferior myocardial infarction); not counted as 164865005 (myocardial "
        "infarction), the Challenge's code: the code is broader than the statement, which names one wall"
    )
    assert found.unmapped_target["myocardial infarction"].startswith(
        "ptb-xl has no label of 164865005 (myocardial infarction); the Challenge counts ALMI, ASMI, "
    )
    assert found.unmapped_source["WPW"] == "cpsc-extra has no label of 74390002 (wolff parkinson white pattern)"
    alone = map_to("ptb-xl", "code-15").unmapped_source["IMI"]
    assert alone == "code-15 has no label of 73795002 (inferior myocardial infarction)", "nor of the broader code"
    assert map_to("ningbo", "georgia").unmapped_source["AF"].endswith("so it must hold both")
    assert "the absence of this label" in map_to("georgia", "ptb-xl").unmapped_source["sinus rhythm"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_label_has_a_code_or_the_reason_why_not(dataset: str) -> None:
    coded = {entry.label for entry in coded_labels(dataset)}
    assert vocabulary(dataset) - coded <= set(withheld(dataset))


def test_codes_are_withheld_from_labels_that_exist_with_a_reason() -> None:
    rows = read_codes("harmonised_withheld")
    assert len({(row["dataset"], row["label"]) for row in rows}) == len(rows)
    for row in rows:
        assert row["label"] in vocabulary(row["dataset"])
        assert row["code"] in {"", *concepts()}
        assert row["code"] not in {c.code for c in coded_labels(row["dataset"]) if c.label == row["label"]}
        assert row["reason"]
        assert not row["reason"].endswith(".")


SIZES = {
    "ptb-xl": 21799, "chapman": 10646, "sph": 25770, "georgia": 10344, "ningbo": 34905, "cpsc2018": 6877,
    "cpsc-extra": 3453,
}  # fmt: skip


def published_counts() -> dict[str, dict[str, int]]:
    """Records of every label in the whole release of each dataset."""
    found: dict[str, dict[str, int]] = {}
    with (Path(__file__).parents[1] / "analyses" / "label_counts.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["dataset"], {})[row["label"]] = int(row["records"])
    for dataset, table in CHALLENGE.items():
        counts = found.setdefault(dataset, {})
        codes: set[str] = set()
        for row in read_codes(table):  # a code that stands under several names is counted under the first
            counts[row["name"]] = counts.get(row["name"], 0) + (0 if row["code"] in codes else int(row["records"]))
            codes.add(row["code"])
    return found


def test_flutter_is_rarer_than_fibrillation_wherever_both_are_mapped() -> None:
    counts = published_counts()
    both = 0
    for dataset in SIZES:
        of: dict[str, int] = {}
        for entry in coded_labels(dataset):
            of[entry.concept] = of.get(entry.concept, 0) + counts[dataset].get(entry.label, 0)
        if flutter := of.get("164890007", 0):
            assert flutter < of["164889003"], dataset
            both += 1
    assert both == 5


COMMONER = {
    # Read for other reasons in other hospitals, or reported as something else there: known, and flagged in a result.
    "prolonged qt interval", "left atrial enlargement", "left ventricular hypertrophy", "t wave abnormal",
    "supraventricular tachycardia", "st depression", "st elevation", "sinus bradycardia", "sinus arrhythmia",
    "inferior myocardial infarction", "anteroseptal myocardial infarction",
}  # fmt: skip


def test_shares_of_mapped_labels_are_plausible_or_the_link_is_flagged() -> None:
    counts, flagged = published_counts(), set[str]()
    for first, second in combinations(SIZES, 2):
        for link in map_to(first, second).links:
            sides = [
                (sum(counts[dataset][label] for label in labels), SIZES[dataset])
                for dataset, labels in ((first, link.source), (second, link.target))
            ]
            if prevalence_flag(*sides):
                flagged.add(link.name)
    assert flagged == COMMONER


def test_a_flag_needs_counts_that_carry_it() -> None:
    flag = prevalence_flag((30, 1000), (1, 1000))
    assert flag == "3 % of the records at home, 0.1 % there (30 times): the labels hardly mean the same"
    assert prevalence_flag((1, 1000), (30, 1000)) == (
        "0.1 % of the records at home, 3 % there (30 times): the labels hardly mean the same"
    )
    assert prevalence_flag((20, 1000), (1, 1000)), "20 times is the limit"
    assert prevalence_flag((20, 1000), (0, 1000)) == (
        "2 % of the records at home, 0 % there (only one side): the labels hardly mean the same"
    )
    assert (SUSPECT_RATIO, EXPECTED_AT_LEAST) == (20, 20)
    assert prevalence_flag((19, 1000), (1, 1000)) is None
    assert prevalence_flag((30, 1000), (0, 600)) is None, "18 were to be expected"
    assert prevalence_flag((30, 1000), (0, 640)) is None, "19.2 were to be expected"
    assert prevalence_flag((1, 100), (5, 0)) is None, "no records, no statement"
    assert prevalence_flag((0, 0), (0, 0)) is None


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


def test_codes_of_heads_and_groups_are_those_of_the_tables() -> None:
    for row in [*read_codes("head_labels"), *read_codes("harmonised_groups")]:
        if row["code"]:
            assert row["concept"] == concepts()[row["code"]], row
            assert row["source"] in ("name", "abbreviation")
    groups = {row["code"]: row for row in read_codes("scp") if row["column"] == "statement"}
    # A group of one statement means what the statement means; no other code is that of a single statement.
    for column, field in (("label_super", "superclass"), ("label_sub", "subclass")):
        for coded in coded_groups("ptb-xl", column):
            members = [code for code, row in groups.items() if row[field] == coded.label]
            own = {entry.concept for code in members for entry in coded_labels("ptb-xl") if entry.label == code}
            assert own == {coded.concept} if len(members) == 1 else coded.concept not in own


def test_a_head_is_linked_by_codes() -> None:
    found = map_head("ecg-founder", FOUNDER, "ptb-xl", ("AFIB", "SBRAD", "NDT", "LMI", "PSVT"))
    assert found.outputs == {
        "AFIB": ("ATRIAL FIBRILLATION",),
        "SBRAD": ("SINUS BRADYCARDIA", "MARKED SINUS BRADYCARDIA"),
    }
    assert found.codes["SBRAD"] == "426177001"
    assert "shares its code 164934002 (t wave abnormal) with LOWT, NT_, TAB_" in found.unmapped["NDT"]
    assert found.unmapped["LMI"].startswith("not counted as 164865005")
    assert found.unmapped["PSVT"] == "the head has no output of 67198005 (paroxysmal supraventricular tachycardia)"


def test_groups_are_linked_where_they_mean_one_code() -> None:
    found = map_head(
        "ecg-fm",
        catalog_of_models.get("ecg-fm-mimic-iv-finetuned").labels,
        "ptb-xl",
        ("CD", "HYP", "MI", "NORM", "STTC"),
        "label_super",
    )
    assert found.outputs == {"MI": ("Infarction",)}
    assert set(found.unmapped) == {"CD", "HYP", "NORM", "STTC"}
    # The statement NORM and the group of that name mean the same, the statement MI does not exist.
    assert map_head("ecg-founder", FOUNDER, "ptb-xl", ("NORM",)).outputs == {"NORM": ("NORMAL ECG",)}


def test_heads_that_share_a_vocabulary_have_their_own_outputs_alone() -> None:
    whole, single = (catalog_of_models.get(f"deepecg-ssl-{name}").labels for name in ("77", "af-5y"))
    assert map_head("deepecg", whole, "ptb-xl", ("AFIB",)).outputs == {"AFIB": ("Afib",)}
    assert not map_head("deepecg", single, "ptb-xl", ("AFIB",)).outputs


def test_equal_codes_count_for_heads_too() -> None:
    assert {coded.label for coded in coded_outputs("ecg-founder") if coded.concept == "284470004"} == {
        "PREMATURE ATRIAL COMPLEXES",
        "PREMATURE SUPRAVENTRICULAR COMPLEXES",
    }


def test_of_a_dataset_without_codes_nothing_is_linked() -> None:
    found = map_head("ecg-founder", FOUNDER, "echonext", ("lvef_lte_45_flag",))
    assert not found.outputs
    assert found.unmapped == {"lvef_lte_45_flag": "no code"}


def test_what_decides_a_head_map_decides_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = head_map_sha256("deepecg")
    assert before == head_map_sha256("deepecg") != head_map_sha256("ecg-founder")
    fewer = {"ptb-xl": coded_labels("ptb-xl")[1:]}
    monkeypatch.setattr(
        "eval_harness.tasks.harmonise.coded_labels", lambda dataset: fewer.get(dataset, coded_labels(dataset))
    )
    assert head_map_sha256("deepecg") != before
