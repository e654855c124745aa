"""Every model at its full size, on a real record, in both presets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ecg_hub
from ecg_hub import catalog
from ecg_hub.input.windows import eval_starts, window_length
from model_cards.card import measured

RECORD = "data/ptbxl/mini/records500/00000/00001_hr"


@pytest.mark.heavy
@pytest.mark.parametrize("alias", catalog.models())
def test_forward_on_a_real_record(alias: str, shared: Path) -> None:
    if not (shared / f"{RECORD}.hea").is_file():
        pytest.skip("the real record is not there")
    entry = catalog.get(alias)
    model = ecg_hub.AutoModel.from_pretrained(f"random:{alias}").eval()
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(f"random:{alias}")
    assert model.num_parameters() == entry.parameters
    for preset in entry.presets:
        spec = extractor.spec(preset)
        inputs = extractor(shared / RECORD, window="all", preset=preset, return_tensors="pt")
        windows = len(eval_starts(window_length(10, spec.sampling_rate), spec.samples))
        assert inputs["input_values"].shape == (windows, len(spec.lead_names), spec.samples)
        with torch.no_grad():
            first, again = model(**inputs), model(**inputs)
        tokens, pooled = first.last_hidden_state, first.pooler_output
        assert tokens.shape == (windows, measured()[alias].tokens[preset], entry.dim)
        assert pooled.shape == (windows, entry.dim)
        assert tokens.dtype == pooled.dtype == torch.float32
        assert torch.isfinite(tokens).all()
        assert torch.isfinite(pooled).all()
        assert torch.equal(tokens, again.last_hidden_state)
        assert torch.equal(pooled, again.pooler_output)
        assert pooled.std() > 0
        if windows > 1:  # the windows of a record differ, and so do their features
            assert not torch.allclose(pooled[0], pooled[1])
