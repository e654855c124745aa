"""The model that a pre-training run begins with: an architecture with weights of a seed, or weights that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ecg_hub import catalog
from ecg_hub.errors import InputError
from eval_harness.pretrain.architectures import RANDOM, architecture, trainable


@dataclass(frozen=True)
class Beginning:
    """What training starts from.

    Attributes:
        model: ECGCPCForPreTraining in float32 on the CPU.
        entry: catalogue entry of its architecture.
        init: in words, for the card.
        decisive: what decides the weights at step 0, for the fingerprint.
        corpora: that these weights have seen already.
        train_only: those of them of which they have seen only training records -> fingerprint of records and splits.
    """

    model: Any
    entry: catalog.ModelEntry
    init: str
    decisive: dict[str, Any]
    corpora: tuple[str, ...]
    train_only: Mapping[str, str] = field(default_factory=dict)


def from_scratch(name: str, settings: Mapping[str, Any], seed: int) -> Beginning:
    """An architecture with random weights.

    Args:
        name: as `architecture` takes it.
        settings: changes to its configuration.
        seed: of the weights.

    Raises:
        InputError: a setting that the configuration does not have, or a value that is not allowed.
    """
    from huggingface_hub.errors import StrictDataclassError

    import ecg_hub

    chosen = architecture(name)
    try:
        model = ecg_hub.AutoModelForPreTraining.from_pretrained(chosen, seed=seed, **settings)
    except StrictDataclassError as error:
        raise InputError(f"--set: {error}") from error
    decisive = {"architecture": chosen.removeprefix(RANDOM), "settings": dict(settings)}
    return Beginning(model, _entry(model), "random weights", decisive, ())


def from_weights(name: str, settings: Mapping[str, Any], seed: int) -> Beginning:
    """The weights of a folder, short name or hub id, or the authors' checkpoint file.

    Projections that are not in them are drawn anew; the authors' file has them.

    Args:
        name: of an encoder, of a model that was pre-trained before, or of the file.
        settings: none are taken: the configuration is that of the weights.
        seed: of new projections.

    Raises:
        InputError: settings, or a model that the hub cannot pre-train.
        CheckpointError: weights are missing.
    """
    import ecg_hub
    from ecg_hub.origin import origin_of, weights_digest
    from eval_harness.contamination import own_train_only
    from eval_harness.loading import UNDECLARED, corpora_of

    if settings:
        raise InputError(f"--set {', '.join(settings)} goes with --model: --init brings its own configuration.")
    if name.startswith(RANDOM):
        raise InputError(f"--init {name!r} has no weights to begin with; give it as --model.")
    if Path(name).expanduser().is_file():
        return from_published(Path(name).expanduser())
    config = ecg_hub.AutoConfig.from_pretrained(name)
    entry = catalog.by_model_type(config.model_type)
    if entry is None or entry.classes.pretraining is None:
        raise InputError(
            f"--init {name!r} is of type {config.model_type!r}, which cannot be pre-trained here. Known: "
            f"{', '.join(trainable())}."
        )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model = ecg_hub.AutoModelForPreTraining.from_pretrained(name, dtype=torch.float32, new_head=True)
    digest = weights_digest(model)
    words = f"{name} (sha256 of the weights {digest[:16]})" + (", new projections" if model.head_is_new else "")
    seen = corpora_of(model.config, entry, origin_of(model))
    corpora, alone = (UNDECLARED,) if seen is None else tuple(seen), own_train_only(model.config) or {}
    return Beginning(model, entry, words, {"weights_sha256": digest}, corpora, alone)


def from_published(path: Path) -> Beginning:
    """The weights of the authors' checkpoint of ECG-CPC, projection included; nothing in the file is run.

    Raises:
        CheckpointError: not such a file.
    """
    from ecg_hub.hub.checkpoint import read_checkpoint
    from ecg_hub.hub.entries import Entries
    from ecg_hub.models.ecg_cpc.convert_ecg_cpc import convert_for_pretraining
    from ecg_hub.models.ecg_cpc.pretraining_ecg_cpc import ECGCPCForPreTraining
    from ecg_hub.origin import weights_digest

    entry = catalog.get("ecg-cpc")
    source = read_checkpoint(path, member=entry.weights.member, usual_key=entry.weights.key)
    conversion = convert_for_pretraining(Entries(source.state))
    model = ECGCPCForPreTraining(conversion.config)
    model.load_state_dict(conversion.state, strict=True)
    words = f"{path.name} of the authors (sha256 of the file {source.sha256[:16]})"
    return Beginning(model, entry, words, {"weights_sha256": weights_digest(model)}, entry.pretraining_corpora)


def _entry(model: Any) -> catalog.ModelEntry:
    found = catalog.by_model_type(model.config.model_type)
    assert found is not None
    return found
