"""HDF5 parts: which exams they hold, rows read exactly from any layout, and files of another kind."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from dataset_scripts.readers.exams import find_parts, read_index, read_tracing
from ecg_hub.errors import DataError
from tests.support.exam_parts import SAMPLES, write_part


@pytest.mark.parametrize("chunks", [None, (2, 10, 3), (3, SAMPLES, 12), (70, SAMPLES, 12)])
def test_rows_are_read_exactly_from_any_layout(tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
    path = tmp_path / "exams_part0.hdf5"
    written = write_part(path, range(1, 151), chunks=chunks)
    for row in (0, 63, 64, 149, 3, 128):
        np.testing.assert_array_equal(read_tracing(path, row), written[row])


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "exams_part0.hdf5"
    write_part(path, [1, 2])
    read_tracing(path, 0)
    with h5py.File(path, "r+") as file:
        file["tracings"][0] = 9
    assert read_tracing(path, 0)[0, 0] == 9


def test_a_replaced_part_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "exams_part0.hdf5"
    write_part(path, [1, 2])
    assert read_tracing(path, 0)[0, 0] == 1
    path.unlink()
    with h5py.File(path, "w") as file:
        file["exam_id"] = np.array([5])
        file["tracings"] = np.full((1, SAMPLES, 12), 7, dtype=np.float32)
    assert read_tracing(path, 0)[0, 0] == 7
    assert read_index(path).exam_ids.tolist() == [5]


def test_only_an_empty_last_row_of_exam_0_ends_a_part(tmp_path: Path) -> None:
    write_part(tmp_path / "a.hdf5", [3, 0], end=False)
    index = read_index(tmp_path / "a.hdf5")
    assert (index.exam_ids.tolist(), index.end_rows) == ([3, 0], 0)
    write_part(tmp_path / "b.hdf5", [3, 4], end=True)
    index = read_index(tmp_path / "b.hdf5")
    assert (index.exam_ids.tolist(), index.end_rows) == ([3, 4], 1)


def test_parts_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("exams_part10.hdf5", "exams_part2.hdf5", "exams_part0.hdf5", "notes.txt"):
        (tmp_path / name).touch()
    assert find_parts(tmp_path) == ["exams_part0.hdf5", "exams_part2.hdf5", "exams_part10.hdf5"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"exam_id": np.array([1])}, "lacks tracings; it holds exam_id"),
        ({}, "lacks exam_id and tracings; it holds nothing"),
        ({"exam_id": np.array([1.5]), "tracings": np.zeros((1, 5, 12))}, "has exam_id of shape (1,) and type float64"),
        ({"exam_id": np.array([1]), "tracings": np.zeros((1, 12, 5))}, "has tracings of shape (1, 12, 5)"),
        ({"exam_id": np.array([1]), "tracings": np.zeros((1, 5, 12), int)}, "and type int64, not float"),
        ({"exam_id": np.array([1]), "tracings": np.zeros((3, 5, 12))}, "has 1 rows in exam_id and 3 in tracings"),
    ],
)
def test_a_part_of_another_layout_is_told(tmp_path: Path, content: dict[str, np.ndarray], fault: str) -> None:
    with h5py.File(tmp_path / "exams_part0.hdf5", "w") as file:
        for name, values in content.items():
            file[name] = values
    with pytest.raises(DataError) as caught:
        read_index(tmp_path / "exams_part0.hdf5")
    assert str(caught.value).startswith("exams_part0.hdf5 ")
    assert fault in str(caught.value)
