"""Converting a file as the checkpoint that it is said to be, and naming the one that it is where it is another.

The names and shapes of a file are those of a checkpoint if its converter accounts for all of them with the sizes of the
catalogue. So a file is recognised by trying the converters; that takes a second or two, and only for files that do not
fit. Checkpoints with the same names and shapes (an encoder pre-trained twice) cannot be told apart by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import CheckpointError
from ecg_hub.weights.state_dict import Conversion, StateDictMapper


@dataclass(frozen=True)
class Likeness:
    """What a state dict looks like.

    Attributes:
        same: short names of the checkpoints whose names, shapes and head it has.
        encoder: of those of whose encoder it has all, with another head or another setting that shapes tell.
    """

    same: tuple[str, ...] = ()
    encoder: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.same:
            either = "" if len(self.same) == 1 else "one of "
            return f"By its entries it is {either}{', '.join(self.same)}: `ecg-hub convert {self.same[0]} ...`."
        if self.encoder:
            return f"Its encoder is that of {' or '.join(self.encoder)}, with another head or none."
        return ""


class _Probe(StateDictMapper):
    """A ledger that gives up at the first entry that does not fit: most converters need no more."""

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        if self.shape(name) != shape:
            raise CheckpointError(f"{name} is {self.shape(name)}, not {shape}")
        return super().take(name, shape)


def convert_as(entry: ModelEntry, state: Mapping[str, Tensor]) -> tuple[StateDictMapper, Conversion]:
    """Convert a state dict as one checkpoint; that of another is refused, by its name where it is known."""
    entries = StateDictMapper(state)
    try:
        conversion = _converted(entry, entries)
    except CheckpointError as error:
        raise CheckpointError(f"{error}\n{recognise(state)}".rstrip()) from error
    fault = _head_fault(entry, entries)
    # A number of outputs that is inferred refuses nothing by itself, but the file of another checkpoint.
    doubt = fault or _head_fault(entry, entries, counted=True)
    if not doubt and _same_config(entry, conversion):
        return entries, conversion
    likeness = recognise(state)
    if fault or likeness.same:
        reason = doubt or "its sizes are others"
        raise CheckpointError(f"The checkpoint is not {entry.title} ({entry.alias!r}): {reason}. {likeness}".rstrip())
    return entries, conversion


def check_file(file: str, sha256: str, entry: ModelEntry) -> None:
    """Refuse a file that is another checkpoint's by its digest, else by its name, whatever its shapes."""
    entries = catalog.checkpoints().values()
    known = next((other for other in entries if other.weights.sha256 == sha256), None)
    if known is None:
        _check_name(file, entry)
    elif known.alias != entry.alias:
        raise CheckpointError(
            f"{file} is not {entry.title} ({entry.alias!r}): by its SHA-256 it is the published file of {known.title}: "
            f"`ecg-hub convert {known.alias} --checkpoint FILE`."
        )


def _check_name(file: str, entry: ModelEntry) -> None:
    """Refuse a file that is called as that of another checkpoint of the architecture, whose shapes may be the same."""
    called = [other for other in catalog.checkpoints().values() if other.weights.file == file]
    # A name that several files have, such as model.safetensors, tells nothing.
    if len(called) == 1 and called[0].alias != entry.alias and called[0].architecture == entry.architecture:
        raise CheckpointError(
            f"{file} is the file of {called[0].title}: `ecg-hub convert {called[0].alias} --checkpoint FILE`. That of "
            f"{entry.alias!r} is called {entry.weights.file}; if it was renamed, give it that name again."
        )


def recognise(state: Mapping[str, Tensor]) -> Likeness:
    """Return the checkpoints of the catalogue that a state dict is of, by its names and shapes."""
    same: list[str] = []
    encoder: list[str] = []
    for entry in catalog.checkpoints().values():
        if entry.classes.converter is None or entry.weights.file is None:
            continue  # of what has no published weights no file is
        entries = _Probe(state)
        try:
            conversion = _converted(entry, entries)
        except Exception:  # a converter may stumble over what it was not made for
            continue
        fits = not _head_fault(entry, entries, counted=True) and _same_config(entry, conversion)
        (same if fits else encoder).append(entry.alias)
    return Likeness(tuple(same), tuple(encoder))


def _converted(entry: ModelEntry, entries: StateDictMapper) -> Conversion:
    # Of an architecture without further checkpoints a converter need not take a configuration.
    configs = [entry.build_config()] if entry.config else []
    conversion: Conversion = entry.load("converter")(entries, *configs)
    return conversion


def _same_config(entry: ModelEntry, conversion: Conversion) -> bool:
    """Whether what a converter read off the shapes is what the catalogue says."""
    expected, found = entry.build_config().to_dict(), conversion.config.to_dict()
    return bool(expected == found)


def _head_fault(entry: ModelEntry, entries: StateDictMapper, *, counted: bool = False) -> str:
    """What is wrong with the classifier in a file; an empty string if it is that of the checkpoint.

    The number of outputs of a head without known labels is inferred, and decides only with `counted`.
    """
    if entry.weights.kind == "none":
        return ""  # whatever it was trained on
    heads, head = entries.heads, entry.head
    shown = ", ".join(f"{name} {shape}" for name, shape in list(heads.items())[:2])
    if head is None:
        return f"it holds a head ({shown}), and the published one is an encoder" if heads else ""
    if not heads:
        # Of an architecture's own checkpoint the encoder alone has always been taken.
        return "" if entry.is_default else f"it is an encoder without the head {head.entries}*"
    found = next((shape for name, shape in heads.items() if name.endswith(f"{head.entries}weight")), None)
    known = counted or head.labels is not None
    if head.kind == "linear" and known and found is not None and found[0] != head.num_labels:
        return f"its head has {found[0]} outputs ({shown}), and the published one {head.num_labels}"
    return ""
