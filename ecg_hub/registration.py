"""Makes every model of the catalogue known to transformers' Auto classes and pipelines."""

from __future__ import annotations

import logging

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY

from ecg_hub.auto import AutoModelForECGClassification
from ecg_hub.catalog import ModelEntry, models
from ecg_hub.feature_extraction import ECGFeatureExtractor
from ecg_hub.pipeline import TASK, ECGClassificationPipeline

logger = logging.getLogger(__name__)


def register_all() -> None:
    """Register all models and the pipeline; doing it twice changes nothing."""
    for entry in models().values():
        register(entry)
    if TASK not in PIPELINE_REGISTRY.supported_tasks:
        PIPELINE_REGISTRY.register_pipeline(
            TASK, ECGClassificationPipeline, pt_model=AutoModelForECGClassification, type="multimodal"
        )


def register(entry: ModelEntry) -> None:
    """Register one model with the Auto classes.

    Args:
        entry: its catalogue entry.
    """
    config = entry.load("config")
    # Its `get` knows nothing of what was registered.
    there = CONFIG_MAPPING[entry.model_type] if entry.model_type in CONFIG_MAPPING else config  # noqa: SIM401
    if there is not config:
        logger.warning(
            f"{there.__module__} has registered the model type {entry.model_type!r} too: from now on the Auto classes "
            f"load ecg_hub's {config.__name__}. Use the other package's classes by their names."
        )
    transformers.AutoConfig.register(entry.model_type, config, exist_ok=True)
    transformers.AutoModel.register(config, entry.load("model"), exist_ok=True)
    transformers.AutoFeatureExtractor.register(config, ECGFeatureExtractor, exist_ok=True)
    AutoModelForECGClassification.register(config, entry.load("classifier"), exist_ok=True)
    if entry.classes.pretraining is not None:
        transformers.AutoModelForPreTraining.register(config, entry.load("pretraining"), exist_ok=True)
