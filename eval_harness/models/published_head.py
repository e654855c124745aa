"""Mode `published_head`: the classifier that the authors of an encoder trained, scored without training.

What of it can be scored on a dataset is decided by the code tables alone (`eval_harness.tasks.harmonise.map_head`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_hub.errors import InputError
from ecg_hub.modeling.heads import maximum_columns
from ecg_hub.origin import weights_digest
from eval_harness.data.windows import RunData, Split
from eval_harness.models.adapting import AdaptedModel
from eval_harness.tasks.harmonise import HeadMap, head_map_sha256, joined, map_head


class NoPublishedHeadError(InputError):
    """A model without a head of its authors, or without an output that stands for a label: skipped, and no failure."""


@dataclass(frozen=True)
class PublishedHead:
    """A classifier with the head of its authors.

    Attributes:
        classifier: encoder and head.
        entry: the catalogue entry of the checkpoint.
        sha256: digest of the head's tensors.
    """

    classifier: Any
    entry: Any
    sha256: str

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        config = self.classifier.config
        return [str(config.id2label[index]) for index in range(config.num_labels)]

    @property
    def maximum(self) -> list[int]:
        """Outputs of which a record has the largest probability of its windows."""
        return maximum_columns(self.classifier.config)

    @property
    def rules_sha256(self) -> str:
        """Digest of what decides the scores beside the tensors: the tables, and which outputs count by the largest."""
        return hashlib.sha256(f"{head_map_sha256(str(self.entry.head.vocabulary))}|{self.maximum}".encode()).hexdigest()

    def adapted(self) -> AdaptedModel:
        """The classifier in the form that the harness predicts with."""
        # As in mode `linear`: one layer on the pooled vector of a fixed encoder.
        return AdaptedModel(self.classifier, "linear")

    def map_to(self, data: RunData, column: str) -> HeadMap:
        """Which outputs stand for which labels of the data.

        Raises:
            NoPublishedHeadError: none does.
        """
        found = map_head(
            str(self.entry.head.vocabulary), self.outputs, data.dataset, data.labels[: data.classes], column
        )
        if not found.outputs:
            raise NoPublishedHeadError(
                f"no label of {data.dataset} ({column}) is mapped to one of the {len(self.outputs)} of the published "
                f"head of {self.entry.alias}"
            )
        return found

    def scores(self, values: NDArray[np.float32], mapped: HeadMap) -> NDArray[np.float32]:
        """Probabilities of the mapped labels, (records, labels), of those of all outputs, (records, outputs)."""
        return joined(values, self.outputs, list(mapped.outputs.values()))


def load_published_head(name: str, source: str) -> PublishedHead:
    """Load a classifier and make sure that its head is the authors', with their labels.

    Args:
        name: as the user wrote it.
        source: what `from_pretrained` takes.

    Raises:
        NoPublishedHeadError: it has none.
    """
    import torch

    import ecg_hub
    from ecg_hub.catalog import checkpoints

    # The configuration first: of a folder without a head it says so before weights are read.
    head = getattr(ecg_hub.AutoConfig.from_pretrained(source), "published_head", None)
    entry = None if head is None else checkpoints().get(str(head["model"]))
    if entry is None or entry.head is None:
        raise NoPublishedHeadError(
            f"{name} has no head of its authors; a folder of an earlier version is converted or pulled again"
        )
    model = ecg_hub.AutoModelForECGClassification.from_pretrained(source, dtype=torch.float32, check_name=False)
    found = PublishedHead(model, entry, weights_digest(model.head))
    record = model.config.conversion or {}
    if record.get("head_sha256") != found.sha256 or not entry.labels or found.outputs != list(entry.labels):
        raise NoPublishedHeadError(
            f"the head of {name} is not that of the authors of {entry.alias}, or has other labels"
        )
    return found


def only(data: RunData, names: Sequence[str]) -> RunData:
    """The data of a run with some of its classes as the only labels."""
    columns = [data.labels.index(name) for name in names]

    def narrowed(split: Split) -> Split:
        return replace(split, targets=split.targets[:, columns])

    return replace(
        data,
        train=narrowed(data.train),
        validation=narrowed(data.validation),
        test=narrowed(data.test),
        labels=list(names),
        classes=len(columns),
        # Without them a task that takes a whole column would have no label.
        groups={group: [label for label in labels if label in set(names)] for group, labels in data.groups.items()},
        scales={},
        means={},
    )
