from __future__ import annotations

import pytest

from ecg_hub import catalog
from ecg_hub.models.ecg_cpc.configuration_ecg_cpc import ECGCPCConfig
from eval_harness.contamination import declared, state


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


def test_a_model_of_ones_own_declares_its_corpora_itself() -> None:
    entry = catalog.get("ecg-cpc")
    own = ECGCPCConfig(pretraining={"corpora": ["sph", "my-hospital"]})
    assert declared(own, entry) == declared(own, None) == ["sph", "my-hospital"]
    assert declared(ECGCPCConfig(), entry) == ["heedb"]
    assert declared(object(), None) is None
    assert state(declared(own, entry), "sph") == "seen"
    assert state(declared(own, entry), "ptb-xl") == "unknown"  # nobody knows what my-hospital holds
