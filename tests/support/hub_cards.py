"""What the Hub refuses in the metadata of a card, and the code of a card: for every card that the project writes."""

from __future__ import annotations

import re
from typing import Any

from huggingface_hub import DatasetCard, ModelCard

# Identifiers of the Hub's list that this project uses; whatever else is `other` with a name and a link.
LICENCES = {
    "apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-4.0",
    "cc0-1.0", "gpl-3.0", "mit", "odbl", "odc-by", "other", "pddl", "unknown",
}  # fmt: skip
PIPELINE_TAGS = {"feature-extraction", "other"}
TASK_CATEGORIES = {"other", "time-series-forecasting", "tabular-classification", "feature-extraction"}
SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M"}
RELATIONS = {"adapter", "finetune", "merge", "quantized"}
NAME = re.compile(r"(?:[\w-]+/)?[\w.-]+")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def code(card: str) -> str:
    """The one example of a card; it begins with the import that makes the models known."""
    (text,) = PYTHON.findall(card)
    assert text.startswith("import ecg_hub")
    return str(text)


def check_model_card(card: str) -> dict[str, Any]:
    """Check the metadata of a model card and return them."""
    facts: dict[str, Any] = ModelCard(card, ignore_metadata_errors=False).data.to_dict()
    _check_licence(facts)
    _check_tags(facts)
    assert facts["library_name"] == "transformers"
    assert facts["pipeline_tag"] in PIPELINE_TAGS
    assert facts["model_name"]
    assert all(NAME.fullmatch(name) for name in facts.get("datasets", []))
    assert "base_model" not in facts or re.fullmatch(r"[\w.-]+/[\w.-]+", facts["base_model"])
    assert "base_model_relation" not in facts or (facts["base_model_relation"] in RELATIONS and "base_model" in facts)
    assert set(facts.get("metrics", [])) <= {"roc_auc", "mae"}
    return facts


def check_dataset_card(card: str) -> dict[str, Any]:
    """Check the metadata of a dataset card and return them."""
    facts: dict[str, Any] = DatasetCard(card, ignore_metadata_errors=False).data.to_dict()
    _check_licence(facts)
    _check_tags(facts)
    assert facts["pretty_name"]
    assert facts["task_categories"]
    assert set(facts["task_categories"]) <= TASK_CATEGORIES
    assert len(facts["size_categories"]) == 1
    assert set(facts["size_categories"]) <= SIZES
    return facts


def _check_licence(facts: dict[str, Any]) -> None:
    assert facts["license"] in LICENCES
    assert ("license_name" in facts) == ("license_link" in facts) == (facts["license"] == "other")
    if facts["license"] == "other":
        assert re.fullmatch(r"[a-z0-9.-]+", facts["license_name"])
        assert facts["license_link"].startswith("https://")


def _check_tags(facts: dict[str, Any]) -> None:
    assert "ecg" in facts["tags"]
    assert all(isinstance(tag, str) and len(tag) <= 50 for tag in facts["tags"])
    assert len(facts["tags"]) == len(set(facts["tags"]))
