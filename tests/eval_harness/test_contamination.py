from __future__ import annotations

import pytest

from eval_harness.contamination import state


@pytest.mark.parametrize(
    ("corpora", "dataset", "expected"),
    [
        ([], "ptb-xl", "clean"),
        (["heedb"], "ptb-xl", "clean"),
        (["HEEDB"], "mimic-iv-ecg", "clean"),
        (["physionet2021", "mimic-iv-ecg"], "ptb-xl", "seen"),
        (["physionet2021"], "sph", "clean"),
        (["some private archive"], "sph", "unknown"),
        (["some private archive", "sph"], "sph", "seen"),
        (None, "sph", "unknown"),
    ],
)
def test_state(corpora: list[str] | None, dataset: str, expected: str) -> None:
    assert state(corpora, dataset) == expected
