"""Every registered model passes every check that `ecg-hub validate-model` runs on anybody's."""

from __future__ import annotations

import pytest

from ecg_hub import catalog
from eval_harness.models.checks.contract import validate_model


@pytest.mark.parametrize("alias", catalog.models())
def test_a_registered_model_passes_every_check(alias: str) -> None:
    assert {check for check in validate_model(f"random:{alias}-tiny") if check.status != "ok"} == set()
