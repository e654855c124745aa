from __future__ import annotations

import dataclasses
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecg_hub.errors import EcgHubError, InputError, ResultError
from eval_harness.results.predictions import (
    METADATA_KEY,
    OPTIONAL,
    Predictions,
    file_sha256,
    read_predictions,
    write_predictions,
)
from tests.support.results import SUPER, predictions


def assert_same(found: Predictions, expected: Predictions) -> None:
    for field in dataclasses.fields(Predictions):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other, field.name


@pytest.mark.parametrize("patients", [True, False])
def test_round_trip(patients: bool, tmp_path: Path) -> None:
    written = predictions(patients=patients)
    written.y_true[3, 1] = np.nan
    digest = write_predictions(tmp_path / "deep" / "run.parquet", written)
    assert digest == file_sha256(tmp_path / "deep" / "run.parquet")
    assert_same(read_predictions(tmp_path / "deep" / "run.parquet", digest), written)


def test_unknown_patients_and_regression_targets_survive(tmp_path: Path) -> None:
    written = dataclasses.replace(
        predictions(), kind="mixed", regression_targets=("STTC",), patient_id=[None, *["p"] * 49]
    )
    write_predictions(tmp_path / "run.parquet", written)
    assert_same(read_predictions(tmp_path / "run.parquet"), written)


def test_age_sex_and_scales_survive(tmp_path: Path) -> None:
    given = predictions()
    number = len(given.record_id)
    full = dataclasses.replace(
        given, age=[50.0, None] * (number // 2), sex=[None, "male"] * (number // 2), scales={"x": (2.5, "mmHg")}
    )
    write_predictions(tmp_path / "x.parquet", full)
    found = read_predictions(tmp_path / "x.parquet")
    assert (found.age, found.sex, found.scales) == (full.age, full.sex, full.scales)
    assert found.part("test").sex == [
        sex for sex, part in zip(full.sex or (), full.split, strict=True) if part == "test"
    ]
    assert read_predictions(tmp_path / "x.parquet").part("test").scales == full.scales


def test_groups_and_a_run_of_regression_targets_only_survive(tmp_path: Path) -> None:
    written = dataclasses.replace(
        predictions(),
        kind="regression",
        regression_targets=SUPER,
        groups={"heart": ["CD", "MI"]},
        scales={"CD": (2.5, "ms")},
    )
    write_predictions(tmp_path / "run.parquet", written)
    assert_same(read_predictions(tmp_path / "run.parquet"), written)


def test_a_file_without_scales_and_groups_has_none(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    write_predictions(path, predictions())
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[METADATA_KEY])
    del about["scales"], about["groups"]
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(about).encode()}), path)
    found = read_predictions(path)
    assert (found.scales, found.groups) == ({}, {})


def test_logits_are_no_probabilities() -> None:
    given = predictions()
    logits = np.log(np.clip(given.y_prob, 0.01, 0.99) / (1 - np.clip(given.y_prob, 0.01, 0.99)))
    with pytest.raises(InputError, match=r"y_prob has -?\d.* for the class"):
        dataclasses.replace(given, y_prob=logits)
    dataclasses.replace(given, y_prob=logits, kind="mixed", regression_targets=given.labels)
    dataclasses.replace(given, y_prob=np.full_like(given.y_prob, np.nan))


def test_columns_have_their_types_whatever_is_in_them(tmp_path: Path) -> None:
    """Also where all is unknown or no record is there, so that files of many runs can be read as one table."""
    unknown = dataclasses.replace(predictions(), patient_id=[None] * 50, age=[None] * 50, sex=[None] * 50)
    empty = predictions(validation=0, test=2).part("validation")
    for name, content in (("unknown", unknown), ("empty", empty)):
        path = tmp_path / f"{name}.parquet"
        write_predictions(path, content)
        types = {field.name: field.type for field in pq.read_schema(path)}
        wanted = {
            "split": pa.dictionary(pa.int32(), pa.string()),
            "record_id": pa.string(),
            **{name: kind for name, kind in OPTIONAL.items() if getattr(content, name) is not None},
            "y_true": pa.list_(pa.float32(), 5),
            "y_prob": pa.list_(pa.float32(), 5),
        }
        assert types == wanted
        column = pq.ParquetFile(path).metadata.row_group(0).column(0)
        assert column.compression == "ZSTD"


def test_a_single_record_survives(tmp_path: Path) -> None:
    written = predictions(validation=1, test=2).part("validation")
    write_predictions(tmp_path / "run.parquet", written)
    assert_same(read_predictions(tmp_path / "run.parquet"), written)


def test_no_records_survive(tmp_path: Path) -> None:
    written = predictions().part("test")
    empty = dataclasses.replace(
        written, split=[], record_id=[], patient_id=[], y_true=written.y_true[:0], y_prob=written.y_prob[:0]
    )
    write_predictions(tmp_path / "run.parquet", empty)
    assert_same(read_predictions(tmp_path / "run.parquet"), empty)


def test_the_columns_are_plain_parquet(tmp_path: Path) -> None:
    write_predictions(tmp_path / "run.parquet", predictions())
    schema = pq.read_schema(tmp_path / "run.parquet")
    assert schema.names == ["split", "record_id", "patient_id", "y_true", "y_prob"]
    for name in ("y_true", "y_prob"):
        assert schema.field(name).type == pa.list_(pa.float32(), 5)
    frame = pq.read_table(tmp_path / "run.parquet").to_pandas()
    assert frame["split"].tolist()[:11] == ["validation"] * 10 + ["test"]


def test_the_same_predictions_give_the_same_file(tmp_path: Path) -> None:
    digests = {write_predictions(tmp_path / f"{i}.parquet", predictions()) for i in range(2)}
    assert len(digests) == 1


def test_a_part_is_of_the_same_run() -> None:
    whole = dataclasses.replace(
        predictions(),
        kind="mixed",
        regression_targets=("STTC",),
        groups={"heart": ["CD", "MI"]},
        scales={"STTC": (2.0, "ms")},
        age=[40.0] * 50,
    )
    part = whole.part("validation")
    for name in ("run", "kind", "labels", "regression_targets", "groups", "scales", "sex"):
        assert getattr(part, name) == getattr(whole, name), name
    assert part.split == ["validation"] * 10
    assert part.patient_id == list(whole.patient_id or [])[:10]
    assert part.age == [40.0] * 10


def test_part_picks_the_split() -> None:
    whole = predictions(validation=10, test=40)
    test = whole.part("test")
    assert len(test.record_id) == 40
    assert test.record_id[0] == "10"
    np.testing.assert_array_equal(test.y_prob, whole.y_prob[10:])
    with pytest.raises(InputError, match="Unknown split 'train'; allowed: validation, test"):
        whole.part("train")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": ["test"]}, "split has 1 entries for 50 records"),
        ({"patient_id": ["p"]}, "patient_id has 1 entries"),
        ({"y_prob": np.zeros((50, 4), np.float32)}, r"y_prob has the shape \(50, 4\); .* \(50, 5\) is expected"),
        ({"split": ["train"] * 50}, "Unknown split 'train'"),
        ({"labels": ("A",) * 5}, "unique"),
        ({"regression_targets": ("age",)}, "among them"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(predictions(), **changes)  # type: ignore[arg-type]


class TestReading:
    def test_changed_after_scoring(self, tmp_path: Path) -> None:
        path = tmp_path / "run.parquet"
        digest = write_predictions(path, predictions())
        write_predictions(path, predictions(seed=9))
        with pytest.raises(ResultError, match="was changed after it was scored"):
            read_predictions(path, digest)

    @pytest.mark.parametrize("content", [b"", b"not parquet at all, but long enough to look"])
    def test_not_parquet(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "run.parquet"
        path.write_bytes(content)
        with pytest.raises(ResultError, match=r"run.parquet' cannot be read as predictions"):
            read_predictions(path)

    def test_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "run.parquet"
        write_predictions(path, predictions())
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ResultError, match="cannot be read as predictions"):
            read_predictions(path)

    @pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
    def test_a_link_to_what_never_ends(self, tmp_path: Path) -> None:
        (tmp_path / "zero.parquet").symlink_to("/dev/zero")
        os.mkfifo(tmp_path / "pipe.parquet")
        for name in ("zero", "pipe"):
            for sha256 in (None, "0" * 64):
                with pytest.raises(ResultError, match="and not a plain file"):
                    read_predictions(tmp_path / f"{name}.parquet", sha256)

    @pytest.mark.parametrize(
        "about",
        ["[" * 100_000, "[]", "5", '{"format_version": ["1"]}', "NaN"],
        ids=["deep", "a list", "a number", "a list as version", "no number"],
    )
    def test_foreign_metadata(self, about: str, tmp_path: Path) -> None:
        path = tmp_path / "run.parquet"
        write_predictions(path, predictions())
        pq.write_table(pq.read_table(path).replace_schema_metadata({METADATA_KEY: about.encode()}), path)
        with pytest.raises(ResultError, match="cannot be read as predictions"):
            read_predictions(path)

    @pytest.mark.parametrize("field", ["run", "kind", "labels", "regression_targets", "scales", "groups"])
    @pytest.mark.parametrize("value", [[{}], 5, None, {"a": 1}, "text", [["a"]]])
    def test_foreign_fields(self, field: str, value: object, tmp_path: Path) -> None:
        path = tmp_path / "run.parquet"
        write_predictions(path, predictions())
        table = pq.read_table(path)
        about = {**json.loads(table.schema.metadata[METADATA_KEY]), field: value}
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(about).encode()}), path)
        # Some are read, as what they are to be; what is refused is refused in a sentence.
        with suppress(EcgHubError):
            found = read_predictions(path)
            assert isinstance(found.run + found.kind + "".join([*found.labels, *found.groups]), str)
            assert all(isinstance(label, str) for labels in found.groups.values() for label in labels)

    @pytest.mark.parametrize("name", ["record_id", "split", "y_true", "y_prob", *OPTIONAL])
    @pytest.mark.parametrize("value", [["a"], {"a": 1}, "text", None, 2**40])
    def test_foreign_columns(self, name: str, value: object, tmp_path: Path) -> None:
        path = tmp_path / "run.parquet"
        write_predictions(path, predictions())
        table = pq.read_table(path)
        place = table.column_names.index(name) if name in table.column_names else len(table.column_names)
        table = table.remove_column(place) if place < len(table.column_names) else table
        pq.write_table(table.add_column(place, name, pa.array([value] * len(table))), path)
        with suppress(EcgHubError):
            found = read_predictions(path)
            kept = [*found.record_id, *(found.age or ()), *(found.sex or ()), *(found.patient_id or ())]
            assert all(one is None or isinstance(one, str | float | int) for one in kept)

    def test_other_parquet(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
        with pytest.raises(ResultError, match="cannot be read as predictions"):
            read_predictions(tmp_path / "x.parquet")

    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(ResultError, match="cannot be read"):
            read_predictions(tmp_path / "absent.parquet")
        with pytest.raises(ResultError, match="cannot be read"):
            read_predictions(tmp_path / "absent.parquet", "a" * 64)


def test_labels_with_odd_characters_survive(tmp_path: Path) -> None:
    names = ("PRC(S)", "LAO/LAE", "größer", "心房颤动", "_AVB")
    assert len(names) == len(SUPER)
    write_predictions(tmp_path / "run.parquet", predictions(labels=names))
    assert read_predictions(tmp_path / "run.parquet").labels == names
