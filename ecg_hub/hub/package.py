"""What of a model folder is sent to others: an allow-list of files, looked at and loaded before anything leaves.

Paths of this machine in what is about to be published: they name people, projects, sometimes patients.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.hub.cards import HEAD, as_fed, check_may_leave, published_card, random_name
from ecg_hub.names import endpoint, resolve
from ecg_hub.origin import Origin, origin_of
from ecg_hub.utils.text import number_of

# Absolute paths of POSIX, of Windows and of its shares, of the home folder; addresses other than file:// pass.
_ABSOLUTE = re.compile(r"(?:file://|~[/\\]|[A-Za-z]:[/\\]|\\\\[^\\]|/[^/\s])")
# Home folders and mounted disks anywhere in a text, but not as the path of an address.
_HOMES = re.compile(r"(?<![\w.:/])(?:/(?:home|Users|root|mnt|media|scratch)/[^\s`'\"<>)]+|[A-Za-z]:\\Users\\\S+)")


def check_json(file: str, content: Any) -> None:
    """Refuse a configuration in which a text is an absolute path."""
    for field, text in _texts(content, ""):
        if _ABSOLUTE.match(text):
            raise InputError(f"{file} names a place on this machine and is not sent: {field} is {text!r}. Change it.")


def check_lines(file: Path) -> None:
    """Refuse a log, a JSON value a line, in which a text is an absolute path."""
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"Line {number} of {str(file)!r} is not JSON: {error}.") from error
        check_json(f"Line {number} of {file.name}", value)


def check_card(card: str, folder: Path) -> None:
    """Refuse a card that names the model's own folder, or somebody's home folder."""
    own = [str(path) for path in (folder.resolve(), folder.resolve().parent, Path.home()) if len(path.parts) > 2]
    home = _HOMES.search(card)
    leaked = home[0] if home else next((path for path in own if path in card), None)
    if leaked is not None:
        raise InputError(f"README.md names a place on this machine and is not sent: {leaked!r}. Change it.")


def check_metadata(file: Path) -> None:
    """Refuse a safetensors file whose free text names an absolute path."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{str(file)!r} cannot be read: {error}.") from error
    check_json(f"The header of {file.name}", metadata)


def _texts(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """Yield where and what of all texts in a JSON value, names of fields too."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield f"a name in {field or 'it'}", str(key)
            yield from _texts(inner, f"{field}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{field}[{number}]")


CONFIG, EXTRACTOR, CARD = "config.json", "preprocessor_config.json", "README.md"
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
TRAINING_LOG = "training_log.jsonl"  # of `ecg-hub pretrain`
NOTICES = ("LICENSE", "LICENSE.*", "LICENCE", "LICENCE.*", "NOTICE", "NOTICE.*")
MAX_JSON = 8 << 20
_SHOWN = 8


@dataclass(frozen=True)
class Package:
    """A model ready to be sent.

    Attributes:
        name: what the user wrote.
        entry: the architecture.
        config: content of config.json.
        files: path in the repository -> content, or the file that holds it.
        left_out: files of the folder that are not sent.
        facts: parameters, number format and role, in words.
        random: whether the weights were never trained.
        internal: whether the licence keeps the weights inside.
        origin: where the weights come from.
    """

    name: str
    entry: catalog.ModelEntry
    config: dict[str, Any]
    files: dict[str, Path | bytes]
    left_out: tuple[str, ...]
    facts: str
    random: bool
    internal: bool
    origin: Origin | None = None

    @property
    def loader(self) -> str:
        """The class that loads it."""
        return loader(self.entry, self.config)

    @property
    def sizes(self) -> dict[str, int]:
        """Path -> size in bytes."""
        return {path: size_of(content) for path, content in self.files.items()}

    def lines(self) -> list[str]:
        """Return what will be sent as lines of text."""
        sizes = self.sizes
        kind = "RANDOM WEIGHTS, never trained; " if self.random else ""
        source = self.config.get("source") or {}
        licence = self.entry.licence
        terms = f"{licence.name}. {licence.note or ''}".strip()
        return [
            f"{self.name}: {kind}{self.entry.title}, {self.facts}",
            *self._other_weights(),
            *([f"descends from {source.get('file')}, sha256 {source.get('sha256')}"] if source else []),
            *([f"licence of those weights: {terms}"] if source else []),
            *(["INTERNAL: a private repository, not to be passed on"] if self.internal else []),
            *(f"  {path}  {size:,} bytes" for path, size in sizes.items()),
            f"  {number_of(len(sizes), 'file')}, {sum(sizes.values()):,} bytes",
            *([f"left out: {shown(self.left_out)}"] if self.left_out else []),
        ]

    def _other_weights(self) -> list[str]:
        """What to say where these are not the weights that the catalogue's name stands for."""
        if self.random or self.origin is None or self.origin.kind == "catalogue":
            return []
        return [f"not the published weights of {self.entry.title}: {self.origin.reason}"]


def loader(entry: catalog.ModelEntry, config: dict[str, Any]) -> str:
    """Return which of our Auto classes loads a folder with this config.json."""
    head = entry.class_names[2] in (config.get("architectures") or ())
    return "AutoModelForECGClassification" if head else "AutoModel"


def size_of(content: Path | bytes) -> int:
    """Return the size in bytes of content, or of the file that holds it."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def shown(names: tuple[str, ...] | list[str]) -> str:
    """Return the first names of many."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


@contextmanager
def packed(name: str, *, internal: bool = False, to_hub: bool = True) -> Iterator[Package]:
    """Look at a model, load it, and give what may be sent; random models exist as long as the context does."""
    resolved = resolve(name)
    if resolved.kind == "folder":
        yield pack(Path(resolved.target), name, internal=internal, to_hub=to_hub)
    elif resolved.kind == "random":
        with TemporaryDirectory(prefix="ecg-hub-push-") as folder:
            _write_random(resolved.name, Path(folder))
            yield pack(Path(folder), name, internal=internal, random=resolved.name)
    elif resolved.kind == "scratch":
        raise CheckpointError(f"{name!r} has no published weights. Give a folder, or 'random:{name}'.")
    else:
        raise CheckpointError(
            f"{name!r} is on {endpoint()}, and not on this machine. Give a folder or the short name of a model that "
            f"`ecg-hub pull` or `ecg-hub convert` wrote; `ecg-hub mirror {name} --to DIR` copies from hub to hub."
        )


def pack(folder: Path, name: str, *, internal: bool = False, to_hub: bool = True, random: str | None = None) -> Package:
    """Look at a folder, load it, and return what may be sent."""
    if (folder / HEAD).is_file() and not (folder / CONFIG).is_file():
        check_may_leave(read_json(folder / HEAD), internal=internal, to_hub=to_hub)
        raise CheckpointError(
            f"{str(folder)!r} holds the head of an encoder that is not ours, which AutoModelForECGClassification does "
            f"not load: there is no model to publish. `ecg-eval robustness` and `transfer` take its run's folder."
        )
    config = read_json(folder / CONFIG)
    # transformers writes here where the model was loaded from: a path of this machine.
    config.pop("_name_or_path", None)
    entry = catalog.of_config(config)
    if entry is None:
        raise CheckpointError(
            f"{str(folder)!r} holds a model of type {config.get('model_type')!r}, which is none of ours, so nothing is "
            "known of its licence and input. Its own library publishes it: model.push_to_hub(...)."
        )
    check_may_leave(config, internal=internal, to_hub=to_hub)
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    weights = [path for path in paths if any(fnmatchcase(path, pattern) for pattern in WEIGHTS)]
    _check_files(folder, paths, weights)
    facts, origin = _load(folder, entry, config)
    random = random or random_name(config)
    own = (folder / CARD).read_text(encoding="utf-8", errors="replace") if CARD in paths else None
    card = published_card(entry, as_fed(folder, config), facts=facts, random=random, internal=internal, own=own)
    _check_leaks(folder, config, weights, card)
    kept = [path for path in paths if any(fnmatchcase(path, pattern) for pattern in (*NOTICES, TRAINING_LOG))]
    sent: dict[str, Path | bytes] = {
        CARD: card.encode(),
        # In a fixed order: the same model is the same file, and a second push finds it there.
        CONFIG: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
        EXTRACTOR: folder / EXTRACTOR,
        **{path: folder / path for path in (*weights, *kept)},
    }
    return Package(
        name=name,
        entry=entry,
        config=config,
        files=sent,
        left_out=tuple(path for path in paths if path not in sent),
        facts=facts,
        random=random is not None,
        internal=internal,
        origin=origin,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a small file."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise CheckpointError(f"{str(path)!r} is over {MAX_JSON:,} bytes, too large for a configuration.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{str(path)!r} holds no JSON object.")
    return value


def _check_files(folder: Path, paths: list[str], weights: list[str]) -> None:
    if not any(path.endswith(".safetensors") for path in weights):
        pickles = [path for path in paths if re.search(r"\.(bin|pt|pth|ckpt|pkl)$", path)]
        hint = f" {shown(pickles)} may run code when it is loaded, and is never sent." if pickles else ""
        raise CheckpointError(
            f"{str(folder)!r} holds no weights as safetensors.{hint} Write them with model.save_pretrained(FOLDER)."
        )
    if EXTRACTOR not in paths:
        alias = (catalog.by_model_type(str(read_json(folder / CONFIG).get("model_type"))) or catalog.get("s4")).alias
        raise CheckpointError(
            f"{str(folder)!r} holds no {EXTRACTOR}, so nobody would know what to feed the model. If it takes what its "
            f"architecture takes: AutoFeatureExtractor.from_pretrained('random:{alias}').save_pretrained(FOLDER)."
        )


def _load(folder: Path, entry: catalog.ModelEntry, config: dict[str, Any]) -> tuple[str, Origin]:
    """Load the folder as its users will, run it once, and return what it is in words, and where it comes from."""
    import torch

    import ecg_hub

    auto = getattr(ecg_hub, loader(entry, config))
    try:
        model, info = auto.from_pretrained(str(folder), output_loading_info=True)
        extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(str(folder))
    except (InputError, CheckpointError):
        raise
    except Exception as error:  # whatever is wrong with the folder, it is not sent
        raise CheckpointError(f"{str(folder)!r} does not load: {type(error).__name__}: {error}") from error
    # transformers drops these with a warning; sent, they would be weights that nobody loads.
    surplus = sorted(info["unexpected_keys"])
    if surplus:
        raise CheckpointError(f"{str(folder)!r} holds weights that {type(model).__name__} lacks: {shown(surplus)}.")
    broken = [
        key for key, value in model.state_dict().items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise CheckpointError(f"{str(folder)!r} holds weights that are NaN or infinite: {shown(broken)}.")
    _check_agree(folder, extractor, model.config)
    model.eval()
    spec = extractor.spec()
    with torch.no_grad():
        # Once forward: weights may load and still not fit the input that the extractor makes.
        model(torch.zeros(1, len(spec.lead_names), spec.samples, dtype=model.dtype))
    types = ", ".join(sorted({str(value.dtype).removeprefix("torch.") for value in model.parameters()}))
    head = any(name.endswith("ForPreTraining") for name in config.get("architectures") or ())
    encoder = "encoder with the head of its pre-training" if head else "encoder"
    what = f"classifier with {model.config.num_labels} outputs" if hasattr(model, "head_is_new") else encoder
    return f"{what}, {model.num_parameters():,} parameters in {types}", origin_of(model)


def _check_agree(folder: Path, extractor: Any, config: Any) -> None:
    """The extractor's preset `benchmark` and config.json both say what the model is fed."""
    if "presets" not in read_json(folder / EXTRACTOR):
        raise CheckpointError(f"{str(folder / EXTRACTOR)!r} is no ECGFeatureExtractor's: it has no presets.")
    spec = extractor.spec("benchmark")
    fed = (spec.sampling_rate, spec.input_seconds, tuple(spec.lead_names))
    wanted = (config.sampling_rate, config.input_seconds, tuple(config.lead_names))
    if fed != wanted:
        raise CheckpointError(f"{EXTRACTOR} feeds {fed!r} (rate in Hz, seconds, leads), and {CONFIG} says {wanted!r}.")


def _check_leaks(folder: Path, config: dict[str, Any], weights: list[str], card: str) -> None:
    """Nothing that is sent may name folders of this machine."""
    check_json(CONFIG, config)
    check_json(EXTRACTOR, read_json(folder / EXTRACTOR))
    check_card(card, folder)
    for path in weights:
        if path.endswith(".safetensors"):
            check_metadata(folder / path)
    if (folder / TRAINING_LOG).is_file():
        check_lines(folder / TRAINING_LOG)


def _write_random(name: str, folder: Path) -> None:
    import ecg_hub

    ecg_hub.AutoModel.from_pretrained(name).save_pretrained(folder)
    ecg_hub.AutoFeatureExtractor.from_pretrained(name).save_pretrained(folder)
