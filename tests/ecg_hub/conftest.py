"""Fixtures of the tests of models and their input."""

from __future__ import annotations

import pytest

from ecg_hub.input.feature_extraction import ECGFeatureExtractor
from tests.support.extraction import PRESETS


@pytest.fixture
def extractor() -> ECGFeatureExtractor:
    """An extractor with presets of every kind; `benchmark` is the default."""
    return ECGFeatureExtractor(presets=PRESETS)
