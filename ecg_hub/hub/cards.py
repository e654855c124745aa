"""What a pushed model may be and says of itself: whether its weights may be passed on, and its card.

The rule goes by where weights come from. `config.source` names the authors' file that they were converted from, and
training keeps the entry, so that a fine-tuned model is known to descend from that file; weights without it were trained
from random ones and belong to whoever trained them. What descends from a file whose licence forbids redistribution
(`licence.redistribution: false` in model.yaml), or was trained on data for credentialed users (`config.credentialed`),
goes to no public hub (`ecg_hub.origin.withheld`). To a self-hosted one it goes only on the word of the person who sends
it (`internal`), into a private repository, with the licence in its card: whether colleagues at one institution are
third parties is for the licence and that person to say, not for a program.

The finished cards (`ecg_hub/models/<name>/card.md`) describe the authors' weights, with their scores; they would be
wrong for weights that were trained further, from scratch, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import InputError
from ecg_hub.hub import card_parts
from ecg_hub.names import endpoint, is_public_hub
from ecg_hub.origin import credentialed, source_of, withheld
from ecg_hub.utils.yaml import CardError, metadata, split_card

INTERNAL_HINT = (
    "If the terms let you keep a copy for colleagues at your institution, --internal makes one: in a private "
    "repository of your own hub, with the licence in its card."
)
INTERNAL = "## Internal copy"
HEAD = "head.json"
"""What `ecg-eval --save-model` writes beside the head of an encoder that is not ours (`docs/your_own_model.md`)."""

_PHYSIONET = "PhysioNet (https://physionet.org/about/publish/)"
_SHOWN_LABELS = 100
_SCALED = (
    "Its values are z-scores of the training records, whose means, deviations and units lie in config.json "
    "(`target_scales`); pipeline and `ecg-hub predict` give them in these units."
)
_RANDOM = "Random:"


def random_name(config: Mapping[str, Any]) -> str | None:
    """Return what the weights of a config.json were drawn as if they are random and nothing else is said of them."""
    # The note stays when such weights are trained, so that the others decide.
    drawn = config.get("random_weights")
    if drawn is None or source_of(config) is not None or config.get("pretraining") or config.get("training"):
        return None
    return str(drawn.get("name") or f"random weights of {config.get('model_type')}")


def folder_withheld(folder: Path) -> str | None:
    """Return why the weights in a folder may not be passed on, or None; a folder that is no model of ours may."""
    for name in ("config.json", HEAD):
        try:
            stated = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(stated, dict) and (reason := withheld(stated)):
            return reason
    return None


def check_may_leave(config: Mapping[str, Any], *, internal: bool, to_hub: bool = True) -> None:
    """Refuse what the licence withholds."""
    if internal and to_hub and is_public_hub():
        raise InputError(
            f"--internal is for a hub of your own, and {endpoint()} is the public one. Set HF_ENDPOINT to yours."
        )
    reason = withheld(config)
    if reason is None or internal:
        return
    inside = "" if to_hub and is_public_hub() else f"\n{INTERNAL_HINT}"
    raise InputError(f"{reason}\n{instead(config)}{inside}")


def instead(config: Mapping[str, Any]) -> str:
    """Return how each user gets weights that are withheld."""
    if credentialed(config):
        return f"Instead, each user with access to the data trains them again, or you submit them to {_PHYSIONET}."
    entry = catalog.of_config(config)
    assert entry is not None
    convert = f"ecg-hub convert {entry.alias} --checkpoint FILE"
    command = f"ecg-hub pull {entry.alias}" if entry.weights.can_be_fetched else convert
    return f"Instead, each user gets the file from {entry.weights.page} and runs\n  {command}"


def published_card(
    entry: ModelEntry, config: Mapping[str, Any], *, facts: str, random: str | None, internal: bool, own: str | None
) -> str:
    """Return the card as Markdown with YAML front matter."""
    card = own or made_card(entry, config, facts, random)
    source = source_of(config)
    if random and _RANDOM not in card:
        card = f"{card.rstrip()}\n\n## Origin\n\n{_origin(config, random)}\n"
    # A card of the user's own may be silent about the file that the weights descend from.
    if source is not None and str(source.get("sha256")) not in card:
        card = f"{card.rstrip()}\n\n## Origin\n\n{_origin(config, random)}\n"
    if internal and INTERNAL not in card:
        card = f"{card.rstrip()}\n\n{_internal(entry, config)}\n"
    return card


def named(card: bytes, repo: str) -> bytes:
    """Return a card whose code loads the model from the repository that it is sent to."""
    return card.replace(f'("{card_parts.FOLDER}")'.encode(), f'("{repo}")'.encode())


def keep_scores(new: bytes, old: bytes) -> bytes:
    """Return a card with the scores and their metrics of the card that it replaces, which has the same weights."""
    try:
        ours, theirs = metadata(new.decode()), metadata(old.decode())
    except (UnicodeDecodeError, CardError) as error:
        raise InputError(f"README.md here or in the repository has a front matter that cannot be read: {error}") from (
            error
        )
    if "model-index" in ours or "model-index" not in theirs:
        return new
    ours |= {name: theirs[name] for name in ("metrics", "model-index") if name in theirs}
    text, old_text = (split_card(card.decode())[1] for card in (new, old))
    # Byte for byte the old one: a card that differs in its layout alone would make a commit.
    if ours == theirs and text.strip() == old_text.strip():
        return old
    return f"---\n{_dump(ours)}---\n{text}".encode()


def made_card(entry: ModelEntry, config: Mapping[str, Any], facts: str, random: str | None = None) -> str:
    """Return the card of weights that are not the catalogue's: what is known of them, and code that loads them.

    Args:
        entry: the checkpoint that they descend from, or the architecture.
        config: content of config.json.
        facts: parameters, number format and role, in words.
        random: what random weights were drawn as; None for weights that were trained.
    """
    classifier = _is_classifier(entry, config)
    title = f"{entry.title}, {'random weights' if random else 'classifier' if classifier else 'encoder'}"
    code = card_parts.classifier_code if classifier else card_parts.encoder_code
    return f"""---
{_dump(_front(entry, config, title, random))}---

# {title}

{entry.summary}

Paper of the architecture: {entry.paper}. Code of its authors: {entry.repository}.

## These weights

{_origin(config, random)}

{facts[:1].upper()}{facts[1:]}.{f" {_outputs(config)}" if classifier else ""}

## Use

{code(card_parts.FOLDER)}

Input: {len(config["lead_names"])} leads ({", ".join(config["lead_names"])}), \
{config["input_seconds"]:g} s at {config["sampling_rate"]:g} Hz, {config.get("unit", "mV")}; the feature extractor
brings records into that form. Plain transformers loads the model after `import ecg_hub`.

## Licence

{_licence(entry, config, random)}

## Limits

Research software, not a medical device: nothing here is validated for diagnosis or care.
"""


def as_fed(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a config.json with the input of the preset that the feature extractor beside it follows."""
    try:
        stated = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        preset = stated["presets"][stated["preset"]]
        return {**config, **{name: preset[name] for name in ("lead_names", "input_seconds", "sampling_rate")}}
    except (OSError, ValueError, LookupError, TypeError):
        return dict(config)  # none, or of somebody else's form: the model's own words are all there is


def write_card(folder: Path, model: Any) -> None:
    """Write README.md into the folder that a model of ours was just saved to."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    entry = catalog.of_config(config)
    if entry is not None:
        role = f"classifier with {model.config.num_labels} outputs" if _is_classifier(entry, config) else "encoder"
        facts = f"{role}, {model.num_parameters():,} parameters"
        card = made_card(entry, as_fed(folder, config), facts, random_name(config))
        (folder / "README.md").write_text(card, encoding="utf-8")


def own_front(entry: ModelEntry, config: Mapping[str, Any], title: str, **more: Any) -> dict[str, Any]:
    """Return the metadata of weights that somebody trained: of the authors' file what they descend from it with."""
    descends = source_of(config) is not None
    corpora = entry.corpora if descends else ()
    return card_parts.front_matter(
        entry,
        title=title,
        licence=card_parts.licence_fields(entry) if descends else {"license": "unknown"},
        base=card_parts.base_model(entry) if descends else None,
        relation="finetune",
        datasets=[*corpora, *_own_datasets(config)],
        **more,
    )


def _front(entry: ModelEntry, config: Mapping[str, Any], title: str, random: str | None) -> dict[str, Any]:
    classifier = _is_classifier(entry, config)
    tags = ["random-weights"] if random else ["ecg-classification"] if classifier else []
    return own_front(
        entry, config, title, tags=tags, pipeline_tag=card_parts.CLASSIFIES if classifier else card_parts.ENCODES
    )


def _own_datasets(config: Mapping[str, Any]) -> list[str]:
    """The real data that config.json says the weights were trained on by this package."""
    pretraining, steps = config.get("pretraining") or {}, config.get("training") or []
    simulated = pretraining.get("simulated") or ()
    return [
        *(name for name in pretraining.get("corpora") or [] if name not in simulated),
        *(str(step["dataset"]) for step in steps if "dataset" in step and not step.get("simulated")),
    ]


def _simulated_datasets(config: Mapping[str, Any]) -> list[str]:
    """The datasets in whose form config.json says that simulated records were trained on."""
    steps = config.get("training") or []
    return [
        *((config.get("pretraining") or {}).get("simulated") or ()),
        *(str(step["dataset"]) for step in steps if "dataset" in step and step.get("simulated")),
    ]


def _origin(config: Mapping[str, Any], random: str | None) -> str:
    if random:
        seed = (config.get("random_weights") or {}).get("seed")
        seeded = "" if seed is None else f"with seed {seed} "
        head = any(name.endswith("ForECGClassification") for name in config.get("architectures") or ())
        never = "Nothing was ever trained but the head." if head else "Nothing was ever trained."
        return f"{_RANDOM} drawn {seeded}as `{random}`. {never} They are a baseline and serve to try things out."
    simulated = [f"simulated records in the form of {name}" for name in _simulated_datasets(config)]
    source, trained_on = source_of(config), ", ".join(dict.fromkeys([*_own_datasets(config), *simulated]))
    if source is None:
        how = f"Trained by ecg-hub on {trained_on}" if trained_on else "How they came about is not recorded"
        return f"{how}: `config.json` names no file of the authors that they descend from."
    since = (
        f"Since then ecg-hub has trained them on {trained_on}"
        if trained_on
        else "What was done to them since is not recorded here"
    )
    return (
        f"They descend from the authors' file `{source.get('file')}` ({source.get('size', 0):,} bytes, sha256 "
        f"`{source.get('sha256')}`{', ' + source['page'] if 'page' in source else ''}). {since}; scores that the "
        "authors published do not hold for them."
    )


def _outputs(config: Mapping[str, Any]) -> str:
    labels = [str(label) for label in (config.get("id2label") or {}).values()]
    shown = ", ".join(labels[:_SHOWN_LABELS]) + (" ..." if len(labels) > _SHOWN_LABELS else "")
    thresholds = "" if config.get("thresholds") is None else " Decision thresholds from validation lie in config.json."
    if not labels:
        return f"Its outputs have no names ({config.get('problem_type')}).{thresholds}"
    scaled = config.get("target_scales")
    scales = f" {_SCALED}" if scaled else ""
    return f"Outputs ({config.get('problem_type')}): {shown}.{thresholds}{scales}"


def _licence(entry: ModelEntry, config: Mapping[str, Any], random: str | None) -> str:
    if random:
        return "The authors' licence is about weights that are not in here."
    if source_of(config) is None:
        return "Whoever trained them states the terms here; mind the terms of the data that they were trained on."
    return (
        f"That of the weights they descend from: {entry.licence.name}. {entry.licence.note or ''} Mind the terms of "
        "the data that they were trained on."
    )


def _internal(entry: ModelEntry, config: Mapping[str, Any]) -> str:
    named = credentialed(config)
    data = f"Trained on {', '.join(named)}: for colleagues who signed its agreement. " if named else ""
    licence = (
        f"Licence of the authors' weights: {entry.licence.name}. {entry.licence.note or ''} "
        if source_of(config)
        else ""
    )
    return (
        f"{INTERNAL}\n\nNot to be passed on. {data}{licence}This repository is private; who pushed it with "
        "`--internal` has said that the terms let this institution keep it."
    )


def _is_classifier(entry: ModelEntry, config: Mapping[str, Any]) -> bool:
    return entry.class_names[2] in (config.get("architectures") or ())


def _dump(data: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=120))
