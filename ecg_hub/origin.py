"""Where the weights of a model come from: the catalogue's checkpoint, a random generator, training, or nobody can tell.

A short name stands for the checkpoint that the catalogue names. What a folder or repository holds under that name is
checked when it is loaded: by the configuration's `source` and `conversion`, which `ecg-hub convert` and `ecg-hub pull`
write, by the number of parameters, and by a digest of the tensors, so that weights that were trained since do not pass.
These are statements in a file that anybody can write; what shows more is said (`Origin.evidence`).

Importing this module imports neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import ecg_hub.catalog as catalog
from ecg_hub.errors import CheckpointError
from ecg_hub.names import UNVERIFIED, canonical

Kind: TypeAlias = Literal["catalogue", "random", "own", "unverified"]
Evidence: TypeAlias = Literal["tensors", "file", "declared"]


@dataclass(frozen=True)
class Origin:
    """Where weights come from.

    Attributes:
        kind: "catalogue" (the checkpoint of the catalogue), "random" (never trained), "own" (the configuration says how
            they were trained, or the model is not of the hub's classes), "unverified" (nothing, or nothing that holds).
        reason: what that rests on, in words.
        evidence: of "catalogue": "tensors" or "file" if the digest of the tensors or of the authors' file equals the
            one that the catalogue knows, "declared" if only the record of the conversion says so.
    """

    kind: Kind
    reason: str
    evidence: Evidence | None = None


FOREIGN = Origin("own", "the model is not of the hub's classes")


def origin_of(model: Any, digest: str | None = None) -> Origin:
    """Return where the weights of a loaded model come from.

    Args:
        model: an encoder or classifier; of a classifier the encoder is looked at.
        digest: `weights_digest` of the encoder, if it is known already.

    Example:
        >>> from ecg_hub import AutoModel
        >>> origin_of(AutoModel.from_pretrained("random:ecg-cpc-tiny", seed=3))
        Origin(kind='random', reason="its config.json says that the weights were drawn at random as ...
    """
    encoder = model.base_model
    config = encoder.config
    if not hasattr(config, "conversion"):
        return FOREIGN
    if (shipped := _shipped(config, digest or weights_digest(encoder))) is not None:
        return shipped
    # Training before drawing: weights that began at random and were trained may carry both marks.
    if config.pretraining is not None or config.training is not None:
        return Origin("own", "its config.json says how the weights were trained")
    if config.random_weights is not None:
        drawn = config.random_weights
        draw = f" as {drawn['name']!r} with seed {drawn['seed']}" if drawn.get("name") else ""
        return Origin("random", f"its config.json says that the weights were drawn at random{draw} and never trained")
    return _converted(config, digest or weights_digest(encoder), encoder.num_parameters())


def _shipped(config: Any, digest: str) -> Origin | None:
    """The origin of weights that are those of this package to the bit; None for others, trained on from them or not."""
    entry = catalog.checkpoints().get(str((config.conversion or {}).get("model")))
    if entry is None or entry.embedded is None or entry.weights.tensors_sha256 != digest:
        return None
    return Origin("catalogue", "its tensors are those that come with the package", "tensors")


def _converted(config: Any, digest: str, parameters: int) -> Origin:
    """Whether weights are what the record of their conversion says, and what the catalogue says."""
    source, record = config.source, config.conversion
    if not source or not record:
        return Origin("unverified", "its config.json holds no record of a conversion from the authors' file")
    entry = catalog.checkpoints().get(str(record.get("model")))
    if entry is None or entry.model_type != config.model_type:
        return Origin("unverified", f"its weights are said to be {record.get('model')!r}, of another architecture")
    weights, file = entry.weights, str(source.get("sha256"))
    wrong = (
        (weights.kind == "none", f"{entry.title} has no published weights"),
        (parameters != entry.parameters, f"it has {parameters:,} parameters, {entry.title} {entry.parameters:,}"),
        (
            record.get("weights_sha256") != digest,
            f"its weights are no longer those converted from {source.get('file')}",
        ),
        (weights.sha256 not in (None, file), f"it was converted from another file than the published {weights.file}"),
        (weights.tensors_sha256 not in (None, digest), f"its tensors are not those of the published {entry.title}"),
    )
    for is_so, reason in wrong:
        if is_so:
            return Origin("unverified", reason)
    said = f"converted from {source.get('file')}, sha256 {file[:12]}"
    if weights.tensors_sha256 is not None:
        return Origin("catalogue", f"{said}; the tensors are those that the catalogue knows", "tensors")
    if weights.sha256 is not None:
        return Origin("catalogue", f"{said}, the digest that the catalogue knows", "file")
    return Origin("catalogue", f"{said}, by the record of its conversion", "declared")


def is_catalogue(model: Any, alias: str, origin: Origin) -> bool:
    """Return whether loaded weights are the checkpoint that a short name stands for."""
    return origin.kind == "catalogue" and model.base_model.config.conversion["model"] == alias


def shown_name(name: str, model: Any, origin: Origin | None = None) -> str:
    """Return the name under which a model is spoken of: a short name only for the checkpoint that it stands for."""
    plain = canonical(name).removeprefix(UNVERIFIED)
    if plain not in catalog.checkpoints():
        return name
    return plain if is_catalogue(model, plain, origin or origin_of(model)) else UNVERIFIED + plain


def unverified_text(name: str, shown: str, origin: Origin) -> str:
    """Return the sentence about a short name that finds other weights than the catalogue's."""
    return f"{name} finds unverified weights, shown as {shown!r}: {origin.reason}."


def weights_digest(model: Any) -> str:
    """SHA-256 over all parameters and buffers: name, dtype, shape and bytes, in order of name."""
    import torch

    digest = hashlib.sha256()
    # By name, so that the order in which a class registers its parts may change.
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{array.dtype}|{tuple(array.shape)}|".encode())
        # As bytes, because numpy has no bfloat16.
        digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def refuse_authors_layout(config: Mapping[str, Any], where: str) -> None:
    """Refuse a config.json of the authors' own package, whose settings and input are not ours.

    Some authors publish repositories with the `model_type` of our class. It would load, with what their pre-training
    was set to (masking, LayerDrop), and without the preparation of the signal.
    """
    entry = catalog.by_model_type(str(config.get("model_type")))
    architectures: Sequence[str] = config.get("architectures") or ()
    if entry is None or "lead_names" in config or not architectures:
        return  # every configuration that this package writes has lead_names
    ours = {reference.partition(":")[2] for reference in entry.public_classes}
    if not ours.intersection(architectures):
        # By its width: the authors publish several sizes in the same layout.
        sizes = (other for other in catalog.checkpoints_of(entry.alias) if other.dim == config.get("hidden_size"))
        entry = next(sizes, entry)
        raise CheckpointError(
            f"{where!r} is in the layout of the authors' own package ({', '.join(architectures)}), with the settings "
            f"of their pre-training and without the preparation of the signal. {entry.how_to_get}"
        )


# Of folders of earlier versions, whose config.json names the runs of an encoder alone.
_CREDENTIALED = frozenset({"mimic-iv-ecg"})


def source_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return which file of the authors the weights of a config.json descend from, or None."""
    source = config.get("source")
    return source if isinstance(source, dict) and source else None


def withheld(config: Mapping[str, Any]) -> str | None:
    """Return why the weights that go with a config.json may not be passed on, or None if they may.

    PhysioNet asks to treat models derived from MIMIC as sensitive, and to share them on PhysioNet under the agreement
    of the data (guidelines of 24 April 2024).
    """
    entry = catalog.of_config(config)
    source = source_of(config)
    if trained_on := credentialed(config):
        return (
            f"These weights were trained on {', '.join(trained_on)}, which is for credentialed users. What is derived "
            "from such data counts as sensitive and is shared where its users sign the same agreement, not here."
        )
    if entry is None or source is None or entry.licence.redistribution:
        return None
    file = source.get("file", "the authors' file")
    return (
        f"These weights descend from {file} of {entry.title}, which may not be passed on. Licence: "
        f"{entry.licence.name}. {entry.licence.note or ''}".strip()
    )


def credentialed(config: Mapping[str, Any]) -> list[str]:
    """Return the data for credentialed users that weights were trained on, as far as their config.json says."""
    named, steps = config.get("credentialed"), config.get("training")
    names = {str(name) for name in named} if isinstance(named, list) else set()
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and step.get("dataset") in _CREDENTIALED and not step.get("simulated"):
            names.add(str(step["dataset"]))
    return sorted(names)
