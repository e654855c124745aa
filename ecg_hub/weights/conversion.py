"""Turning a published checkpoint into a model folder: weights, configuration, feature extractor, card.

The finished cards lie in `ecg_hub/models/<name>/card.md`; `python docs/pages.py` makes them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import CheckpointError, EcgHubError, InputError
from ecg_hub.names import model_folder
from ecg_hub.origin import weights_digest
from ecg_hub.utils.files import partial_folder, put_in_place
from ecg_hub.weights.checkpoint import Checkpoint, read_checkpoint
from ecg_hub.weights.recognition import check_file, convert_as
from ecg_hub.weights.state_dict import Conversion, StateDictMapper

_WRAPPER_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class ConversionSummary:
    """What a conversion did.

    Attributes:
        alias: short name of the model.
        output: the folder that was written.
        file: name of the published file.
        size: its size in bytes.
        sha256: its digest.
        container: format of the file.
        converted: number of published entries used.
        ignored: names left out, with the reason.
        parameters: number of parameters of the encoder.
        notes: what else a reader should know.
    """

    alias: str
    output: Path
    file: str
    size: int
    sha256: str
    container: str
    converted: int
    ignored: dict[str, str]
    parameters: int
    notes: tuple[str, ...] = field(default_factory=tuple)

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        reasons = Counter(self.ignored.values())
        return [
            f"{self.alias}: {self.converted} entries converted, {self.parameters:,} parameters",
            f"source: {self.file} ({self.container}, {self.size:,} bytes), sha256 {self.sha256}",
            *(f"ignored: {count} ({reason})" for reason, count in reasons.items()),
            *(f"note: {note}" for note in self.notes),
            f"written: {self.output}",
        ]


def convert(
    alias: str, checkpoint: str | Path, output: str | Path | None = None, *, overwrite: bool = False
) -> ConversionSummary:
    """Convert a published checkpoint into a folder that AutoModel and AutoFeatureExtractor load."""
    entry = catalog.get(alias)
    alias = entry.alias
    target = Path(output).expanduser() if output is not None else model_folder(alias)
    if entry.classes.converter is None:
        raise InputError(f"{alias!r} has no converter: {entry.package} publishes its weights as a folder or hub id.")
    # Before anything is read: a checkpoint may be a gigabyte.
    _check_target(target, overwrite)
    source = read_checkpoint(checkpoint, member=entry.weights.member, usual_key=entry.weights.key)
    check_file(source.file, source.sha256, entry)
    state, notes = _plain_state(source.state)
    entries, conversion = convert_as(entry, state)
    conversion.config.source = _source(source, entry)
    head = entries.linear_head() if entry.keeps_head else None
    model = build_converted(entry, conversion, head)
    model.config.conversion = conversion_record(entry, model)
    summary = ConversionSummary(
        alias=alias,
        output=target,
        file=source.file,
        size=source.size,
        sha256=source.sha256,
        container=source.container,
        converted=entries.taken + len(head or ()),
        ignored={name: reason for name, reason in entries.ignored.items() if not head or name not in entries.heads},
        parameters=model.base_model.num_parameters(),
        notes=(*_file_notes(source, entry), *notes, *conversion.notes, *_head_notes(entry, entries, head)),
    )
    write_model_folder(model, entry, target)
    return summary


def write_model_folder(model: Any, entry: catalog.ModelEntry, target: Path) -> None:
    """Write weights, configuration, feature extractor and card in one step: the folder is whole or not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with partial_folder(target) as partial:
        fill_model_folder(partial, model, entry, model_card(entry, model.config))
        # A temporary folder is its owner's alone; a model folder has the rights of any other.
        partial.chmod(0o777 & ~_umask())
        put_in_place(partial, target)


def fill_model_folder(
    folder: Path, model: Any, entry: catalog.ModelEntry, card: str, native_seconds: float | None = None
) -> None:
    """Write what a model folder holds: weights, configuration, feature extractor and card.

    The preset `native` has windows of `native_seconds` where they are given, else those of the entry.
    """
    model.save_pretrained(folder)
    extractor = entry.build_feature_extractor()
    if native_seconds is not None:
        extractor.presets["native"]["input_seconds"] = native_seconds
    extractor.save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _check_target(target: Path, overwrite: bool) -> None:
    if target.is_file():
        raise InputError(f"The output {str(target)!r} is a file; give a folder.")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise InputError(f"The folder {str(target)!r} is not empty. Overwrite it, or give another.")


def _plain_state(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Take off the prefixes of wrappers and bring half precision to float32; say so."""
    notes = []
    # In this order: DataParallel wraps what torch.compile has wrapped.
    for prefix in _WRAPPER_PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
            notes.append(f"prefix {prefix!r} taken off {len(state)} names")
    halves = [name for name, tensor in state.items() if tensor.is_floating_point() and tensor.dtype.itemsize < 4]
    if halves:
        notes.append(f"{len(halves)} entries are in half precision; stored as float32, their precision stays lower")
        state = {name: tensor.float() if name in halves else tensor for name, tensor in state.items()}
    return state, notes


def _file_notes(source: Checkpoint, entry: catalog.ModelEntry) -> list[str]:
    notes = []
    if source.member is not None:
        notes.append(f"read {source.member} inside {source.file}")
    if source.key is not None:
        notes.append(f"weights found at {source.key!r}")
    if source.unread:
        names = ", ".join(source.unread[:4]) + (" ..." if len(source.unread) > 4 else "")
        notes.append(f"objects of {len(source.unread)} classes left unread ({names})")
    if source.not_tensors:
        notes.append(f"{len(source.not_tensors)} entries are not tensors: {', '.join(source.not_tensors[:4])}")
    published, alike = entry.weights.sha256, ", ".join(other.alias for other in catalog.look_alikes(entry))
    if published is not None and source.sha256 != published:
        notes.append(f"the file differs from the published one (sha256 {published})")
    elif published is None and alike:
        by_name = source.file == entry.weights.file
        said = f"only its name, {source.file}, says" if by_name else "nothing in it says"
        notes.append(f"names and shapes are also those of {alike}: {said} that it is {entry.alias}")
    return notes


def _source(source: Checkpoint, entry: catalog.ModelEntry) -> dict[str, Any]:
    facts = {
        "file": source.file,
        "member": source.member,
        "size": source.size,
        "sha256": source.sha256,
        "page": entry.weights.page,
    }
    return {name: value for name, value in facts.items() if value is not None}


def conversion_record(entry: catalog.ModelEntry, model: Any) -> dict[str, str]:
    """What config.json says of the conversion: digests of the encoder, as every loader looks at it, and of the head."""
    record = {"model": entry.alias, "weights_sha256": weights_digest(model.base_model)}
    # Apart, because the encoder is the same checkpoint whatever head stands on it.
    return {**record, "head_sha256": weights_digest(model.head)} if hasattr(model, "head_is_new") else record


def _head_notes(entry: catalog.ModelEntry, entries: StateDictMapper, head: Mapping[str, Tensor] | None) -> list[str]:
    """What becomes of the head in the file."""
    if head is not None:
        names = "with their names" if entry.labels else "whose names are not known"
        return [f"the head of the authors is kept: {len(head['weight'])} labels, {names}"]
    if entry.keeps_head and entries.heads:
        shown = ", ".join(f"{name} {shape}" for name, shape in list(entries.heads.items())[:4])
        return [f"the head of the authors is not kept: {shown} are not the weight and bias of one linear layer"]
    return []


def _describe_head(config: Any, entry: catalog.ModelEntry, outputs: int) -> None:
    """Let a configuration say what the outputs of the authors' head are, and how those of a record come of windows."""
    assert entry.head is not None
    config.num_labels = outputs
    if entry.labels:  # after num_labels, whose setter names the labels LABEL_0, LABEL_1 ...
        config.id2label = dict(enumerate(entry.labels))
        config.label2id = {label: index for index, label in enumerate(entry.labels)}
    config.problem_type = "multi_label_classification"
    config.pooling = entry.head.pooling
    config.record_maximum = list(entry.head.maximum) or None
    config.published_head = {"model": entry.alias, "preset": entry.head.preset}


def build_converted(entry: catalog.ModelEntry, conversion: Conversion, head: Mapping[str, Tensor] | None = None) -> Any:
    """Put the weights into the encoder, or with a head into the classifier, and run it once.

    Args:
        entry: the checkpoint.
        conversion: configuration and weights of the encoder.
        head: `weight` (labels, width) and `bias` (labels,) of the authors' linear layer; None builds the encoder.

    Raises:
        CheckpointError: weights that do not fill the model, or give no finite numbers.
    """
    config, weights, role = conversion.config, conversion.state, "model"
    if head is not None:
        role = "classifier"
        _describe_head(config, entry, len(head["weight"]))
        prefix = entry.load(role).base_model_prefix
        weights = {f"{prefix}.{name}": tensor for name, tensor in weights.items()}
        weights |= {f"head.linear.{name}": tensor for name, tensor in head.items()}
    # On the meta device nothing is drawn or allocated, so that no weight can be left at a random value.
    with torch.device("meta"):
        model = entry.load(role)(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        raise CheckpointError(f"The converter of {entry.alias!r} does not fill the model: {', '.join(wrong[:8])}.")
    state = {name: tensor.contiguous() for name, tensor in weights.items()}
    # assign, because copying into tensors of the meta device does nothing and says nothing.
    model.load_state_dict(state, strict=True, assign=True)
    model.eval()
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (head or {}).values()):
        raise CheckpointError(f"The head of {entry.alias!r} in the file holds NaN or infinite weights: it is damaged.")
    _check_forward(model.base_model, entry)
    return model


def _check_forward(model: Any, entry: catalog.ModelEntry) -> None:
    config = model.config
    generator = torch.Generator().manual_seed(0)
    # Noise of about the size of an ECG in millivolts.
    x = 0.2 * torch.randn(1, len(config.lead_names), config.samples, generator=generator)
    with torch.no_grad():
        output = model(x)
    shape, finite = tuple(output.pooler_output.shape), bool(torch.isfinite(output.last_hidden_state).all())
    if shape != (1, entry.dim) or not finite:
        raise CheckpointError(
            f"The converted {entry.alias!r} gives features of shape {shape!r}, {'' if finite else 'not '}finite; "
            f"expected (1, {entry.dim}), finite. The checkpoint is damaged or of another model."
        )


def _umask() -> int:
    # The only way to read it is to set it.
    value = os.umask(0)
    os.umask(value)
    return value


def model_card(entry: ModelEntry, config: Any = None) -> str:
    """Return the card of a model as Markdown with YAML front matter."""
    if not entry.card.is_file():
        raise EcgHubError(
            f"{entry.alias!r} has no card: write card_part.md beside its model.yaml and run `python docs/pages.py` "
            "(docs/contributing/model.md)."
        )
    card = entry.card.read_text(encoding="utf-8")
    source = getattr(config, "source", None)
    return f"{card}\n{_provenance(source)}\n" if source else card


def _provenance(source: dict[str, Any]) -> str:
    lines = [
        "## These weights",
        "",
        f"- Converted from `{source['file']}` ({source['size']:,} bytes)",
        f"- sha256 of that file: `{source['sha256']}`",
    ]
    if "member" in source:
        lines.append(f"- Checkpoint inside it: `{source['member']}`")
    if "page" in source:
        lines.append(f"- Published at {source['page']}")
    return "\n".join(lines)
