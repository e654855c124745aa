"""Makes every model of the catalogue known to transformers' Auto classes and pipelines."""

from __future__ import annotations

import transformers
from transformers.pipelines import PIPELINE_REGISTRY

from ecg_hub.auto import AutoModelForECGClassification
from ecg_hub.catalog import ModelEntry, models
from ecg_hub.feature_extraction import ECGFeatureExtractor
from ecg_hub.pipeline import TASK, ECGClassificationPipeline


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
    transformers.AutoConfig.register(entry.model_type, config, exist_ok=True)
    transformers.AutoModel.register(config, entry.load("model"), exist_ok=True)
    transformers.AutoFeatureExtractor.register(config, ECGFeatureExtractor, exist_ok=True)
    AutoModelForECGClassification.register(config, entry.load("classifier"), exist_ok=True)
    if entry.classes.pretraining is not None:
        transformers.AutoModelForPreTraining.register(config, entry.load("pretraining"), exist_ok=True)
