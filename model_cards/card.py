"""The model cards: one complete Markdown file per model, with Hub metadata, made from data and a hand-written part.

Sources: the catalogue (ecg_hub/models/*/model.yaml), `corpora.yaml`, `measured.yaml`, the published tables
(eval_harness/results/published) and `ecg_hub/models/*/card_part.md`. Imports neither torch nor transformers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import EcgHubError
from ecg_hub.hub import card_parts
from ecg_hub.input.windows import eval_starts, window_length
from ecg_hub.spelling import looked_up
from eval_harness.results import contamination
from eval_harness.results.contamination import known_datasets, state
from eval_harness.results.published import Flag, Score, scores, study
from eval_harness.tasks.harmonise import coded_outputs

FOLDER = Path(__file__).resolve().parent
MEASURED = FOLDER / "measured.yaml"
"""Counted, never written by hand: `python docs/pages.py` adds a new model."""
CORPORA = FOLDER / "corpora.yaml"
REQUIRED_SECTIONS = ("What it is", "What differs from the published code", "Limits", "Citation")
OPTIONAL_SECTIONS = ("Known problems", "How it was checked")
RECORD_SECONDS = 10
MODES = ("linear", "frozen", "finetune", "scratch")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Corpus:
    """One pre-training corpus.

    Attributes:
        name: its id in `pretraining_corpora` and in contamination.yaml.
        title: as people write it.
        records: recordings of the whole corpus, or None if unknown.
        approximate: whether `records` is a round number.
        note: patients, origin, what it holds.
        page: where it is described.
    """

    name: str
    title: str
    records: int | None
    note: str
    page: str
    approximate: bool = False


@dataclass(frozen=True)
class Bound:
    """How far an output may be from the published one, and the size (root mean square) of that output."""

    at_most: float
    rms: float

    @property
    def tolerance(self) -> float:
        """What the test of parity allows: 1e-4, or 1e-4 of the size of large features."""
        # An absolute bound would fail large features for rounding alone, a relative one small features.
        return 1e-4 * max(1.0, self.rms)


@dataclass(frozen=True)
class Measured:
    """Counted numbers of one model.

    Attributes:
        macs: multiply-accumulates of one window, by preset.
        tokens: tokens of one window, by preset.
    """

    macs: dict[str, int]
    tokens: dict[str, int]


@cache
def corpora() -> dict[str, Corpus]:
    """Return the known pre-training corpora by id."""
    return {name: Corpus(name, **fields) for name, fields in _read(CORPORA).items()}


@cache
def measured() -> dict[str, Measured]:
    """Return the counted numbers by alias."""
    return {alias: Measured(**fields) for alias, fields in _read(MEASURED).items()}


def numbers_of(entry: ModelEntry) -> Measured:
    """Return the counted numbers of a model; refused while they are not counted."""
    if entry.alias not in measured():
        raise EcgHubError(f"{MEASURED} has no numbers of {entry.alias!r}: `python docs/pages.py` counts them.")
    return measured()[entry.alias]


def parity(entry: ModelEntry) -> dict[str, Bound]:
    """Return the bounds of "pooled" and "tokens"; refused while model.yaml states none."""
    if set(entry.parity) != {"pooled", "tokens"}:
        raise EcgHubError(
            f"{entry.home / 'model.yaml'}: parity is {dict(entry.parity)}; pooled and tokens are needed: "
            f"`pytest tests/contracts/test_model_parity.py -k {entry.alias}` prints the line."
        )
    return {name: Bound(**bound) for name, bound in entry.parity.items()}


def hand_written(path: Path) -> dict[str, str]:
    """The hand-written sections of a card, title -> text; one missing, unknown, empty or given twice is refused."""
    if not path.is_file():
        raise EcgHubError(f"Write {path.parent.name}/{path.name} with the sections {', '.join(REQUIRED_SECTIONS)}.")
    head, *rest = re.split(r"^## (.+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    titles, texts = rest[::2], [text.strip() for text in rest[1::2]]
    sections = dict(zip(titles, texts, strict=True))
    wrong = [title for title in titles if title not in (*REQUIRED_SECTIONS, *OPTIONAL_SECTIONS)]
    missing = [title for title in REQUIRED_SECTIONS if not sections.get(title)]
    # Text before the first heading, or a second section of one name, would silently be missing from the card.
    if head.strip() or wrong or missing or len(sections) < len(titles):
        raise EcgHubError(
            f"{path.parent.name}/{path.name} needs the sections {', '.join(REQUIRED_SECTIONS)}, may have "
            f"{', '.join(OPTIONAL_SECTIONS)}, each once, and nothing else; it has {', '.join(titles)}."
        )
    return sections


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def complete_card(entry: ModelEntry) -> str:
    """The card of a model; refused while its hand-written part or its numbers are missing."""
    part = hand_written(entry.card.with_name("card_part.md"))
    sections = [
        ("What it is", f"{part['What it is']}\n\n{_overview(entry)}"),
        ("Use", _usage(entry)),
        ("Input", input_section(entry)),
        ("Head of the authors", head_section(entry)),
        ("Pre-training data", _pretraining(entry)),
        ("Known problems", part.get("Known problems", "")),
        ("What differs from the published code", part["What differs from the published code"]),
        ("How it was checked", f"{_parity(entry)}\n\n{part.get('How it was checked', '')}"),
        ("Published scores", published_section(entry)),
        ("Limits", part["Limits"]),
        ("Licence", licence_section(entry)),
        ("Citation", part["Citation"]),
    ]
    return assembled(entry, sections)


def assembled(entry: ModelEntry, sections: Sequence[tuple[str, str]]) -> str:
    """Return a card: its metadata, its head, and those of its sections that hold anything."""
    front = yaml.safe_dump(front_matter(entry), sort_keys=False, allow_unicode=True, width=120)
    body = "\n\n".join(f"## {title}\n\n{text.strip()}" for title, text in sections if text.strip())
    return f"---\n{front}---\n\n# {entry.title}\n\n{entry.summary}\n\n{body}\n"


def front_matter(entry: ModelEntry) -> dict[str, Any]:
    """Return the metadata block of a card.

    The weights are the authors' in another form, for which the Hub has no relation. `model-index` is left out: the
    published scores were not made with these files.
    """
    kind = "foundation-model" if entry.kind == "foundation" else "supervised-baseline"
    scored = {score.task for score in scores() if score.model == entry.alias}
    regression = scored & set(study().regression)
    return card_parts.front_matter(
        entry,
        title=entry.title,
        licence=card_parts.licence_fields(entry),
        base=card_parts.base_model(entry),
        datasets=entry.corpora,
        metrics=[*(["roc_auc"] if scored - regression else []), *(["mae"] if regression else [])],
        tags=[kind],
    )


def _overview(entry: ModelEntry) -> str:
    numbers = numbers_of(entry)
    # Costs are of 10 s as well as of a window: encoders with short windows look cheap otherwise.
    windows = {name: _windows(preset) for name, preset in entry.presets.items()}
    rows: list[Sequence[str]] = [
        ("encoder", f"{entry.parameters:,} parameters"),
        ("output", f"tokens and a pooled vector of width {entry.dim}"),
        (
            "multiply-accumulates",
            "; ".join(f"`{name}`: {_cost(numbers.macs[name], windows[name])}" for name in windows),
        ),
        ("tokens per window", "; ".join(f"`{name}`: {count:,}" for name, count in numbers.tokens.items())),
        ("paper", entry.paper),
        ("original code", entry.repository),
        ("original weights", entry.weights.page or "none published"),
    ]
    return table(("", ""), rows)


def _cost(macs: int, windows: int) -> str:
    return (
        f"{_large(macs)} per window, {_large(macs * windows)} per 10 s ({windows} window{'s' if windows > 1 else ''})"
    )


def _usage(entry: ModelEntry) -> str:
    name = entry.alias if entry.weights.kind != "none" else f"random:{entry.alias}"
    tokens, preset = numbers_of(entry).tokens["benchmark"], entry.presets["benchmark"]
    shapes = f"({_windows(preset)} windows, {tokens} tokens, {entry.dim})", f"({_windows(preset)} windows, {entry.dim})"
    return f"""{getting(entry)}

{card_parts.encoder_code(name, *shapes)}

`extractor.with_preset("native")` feeds what the authors' pre-training fed. Without the package, transformers says that
it does not recognise `{entry.model_type}`: install ecg-hub and import it first."""


def getting(entry: ModelEntry) -> str:
    """Return the commands that get and score a model."""
    if entry.weights.kind == "none":
        return f"There are no published weights to load; `random:{entry.alias}` starts at random."
    if entry.embedded:
        scored = (
            f"$ ecg-eval --model {entry.alias},{entry.random_name},trivial --tasks demo --mode linear --data-root mock"
        )
        return f"The weights lie in the package.\n\n```console\n{scored}\n```"
    convert = f"$ ecg-hub convert {entry.alias} --checkpoint {entry.weights.file}\n"
    score = f"$ ecg-eval --model {entry.alias} --tasks ptbxl_super --data-root /data/ecg"
    if entry.weights.can_be_fetched:
        return f"```console\n{score}    # fetches the weights at first use\n```"
    return f"```console\n{convert}{score}\n```"


def input_section(entry: ModelEntry) -> str:
    """Return what each preset feeds, as a table."""
    rows = [
        (
            f"`{name}`",
            f"{preset['sampling_rate']} Hz",
            f"{preset['input_seconds']} s",
            ", ".join(preset["lead_names"]),
            "; ".join(_step(step) for step in preset.get("steps", ())) or "none",
            preset.get("resample", "kaiser_best"),
        )
        for name, preset in entry.presets.items()
    ]
    heads = ("preset", "sampling rate", "window", "leads", "preparation", "resampling")
    scored = entry.alias in {score.model for score in scores()}
    benchmark = (
        "what the benchmark of arXiv 2509.25095 fed, faults\nincluded"
        if scored
        else "for comparisons in the manner of\narXiv 2509.25095, which did not score these weights"
    )
    return (
        f"Unit: {entry.input.unit}. The preset `benchmark` is {benchmark}; `native` is what the authors' own "
        f"pre-training fed.\n\n{table(heads, rows)}"
    )


def head_section(entry: ModelEntry) -> str:
    """Return what the head in the authors' file says, and how it is used; empty where there is none."""
    head = entry.head
    if head is None:
        return ""
    form = "one linear layer on the mean of the tokens" if head.kind == "linear" else "no linear layer"
    about = f"{head.num_labels} outputs (`{head.entries}*`, {form})"
    parts = [f"The authors' file holds a head of {about}. {head.note or ''}"]
    if not entry.keeps_head:
        return f"{parts[0].strip()} The converter takes the encoder alone."
    parts.append(_head_use(entry))
    rule = ", ".join(f"`{label}`" for label in head.maximum)
    largest = f" For {rule} it is the largest of its windows, as the authors do." if rule else ""
    parts.append(
        f"A record longer than the window is cut into windows, and its probability is their mean.{largest} The head is "
        f"fed the preset `{head.preset}`. No thresholds of its authors are known here."
    )
    labels = ", ".join(f"`{label}`" for label in entry.labels)
    parts.append(f"Labels, in the order and words of the authors: {labels}." if labels else "Its labels are not known.")
    return "\n\n".join(part.strip() for part in parts)


def _head_use(entry: ModelEntry) -> str:
    """What of the head can be used, and the commands that do."""
    commands = [f"$ ecg-hub predict {entry.alias} RECORD.hea"]
    text = "The converter keeps it: the labels are those of its authors, and nothing is trained or validated here."
    if entry.labels:
        assert entry.head is not None
        coded = len({coded.label for coded in coded_outputs(str(entry.head.vocabulary))}.intersection(entry.labels))
        text += (
            f" {coded} of them have a code by which a task's labels may be found "
            "(`dataset_scripts/codes/head_labels.csv`); mode `published-head` scores those."
        )
        if coded:
            score = f"$ ecg-eval --model {entry.alias} --tasks ptbxl_all --mode published-head --data-root /data/ecg"
            commands.append(score)
    return "\n".join([text, "", "```console", *commands, "```"])


def _step(step: dict[str, Any]) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in step.items() if key != "name")
    return f"{step['name']} ({settings})" if settings else str(step["name"])


def _pretraining(entry: ModelEntry) -> str:
    if not entry.pretraining_corpora:
        return "None: trained from scratch on each task."
    rows = []
    for name in entry.pretraining_corpora:
        corpus = corpus_of(name)
        rows.append((f"[{corpus.title}]({corpus.page})", records(corpus.records, corpus.approximate), corpus.note))
    if entry.pretraining is None:
        raise EcgHubError(
            f"{entry.home / 'model.yaml'}: pretraining is missing; say how much of "
            f"{', '.join(entry.pretraining_corpora)} the model saw, as in `pretraining: "
            "{recordings: 800000, approximate: true, text: 'about 800,000 recordings'}`, "
            "null where nobody tells."
        )
    return (
        f"{table(('corpus', 'recordings in it', ''), rows)}\n\nThe model saw {entry.pretraining.text}.\n\n"
        f"The data sets of the benchmark, from what the authors declare:\n\n{overlap(entry)}"
    )


def corpus_of(name: str) -> Corpus:
    """Return one corpus; refused while nobody has described it."""
    return looked_up("corpus", name, corpora(), f"New ones are described in {CORPORA} (docs/contributing/model.md).")


def overlap(entry: ModelEntry) -> str:
    """Return the data sets of the benchmark by whether the weights have seen them.

    Named are those that the corpora hold or may hold. The others are not, so that a new data set changes no card.
    """
    states = {dataset: state(entry.corpora, dataset) for dataset in sorted(known_datasets())}
    seen = [dataset for dataset, word in states.items() if word == "seen"]
    lines = (
        [f"- seen in {'training' if entry.finetuning_corpora else 'pre-training'}: {', '.join(seen)}"] if seen else []
    )
    if unlisted := [name for name in entry.corpora if name not in contamination.corpora()]:
        rest = "all others" if lines else "all"
        return "\n".join([*lines, f"- unknown: {rest}, since nobody has listed what {', '.join(unlisted)} holds"])
    doubtful = [dataset for dataset, word in states.items() if word == "unknown"]
    lines += [f"- unknown: {', '.join(doubtful)}"] if doubtful else []
    return "\n".join([*lines, f"- not seen: {'all others' if lines else 'all'}"])


def records(count: int | None, approximate: bool) -> str:
    """Return a number of recordings in words."""
    if count is None:
        return "unknown"
    return f"{'about ' if approximate else ''}{count:,}"


def _parity(entry: ModelEntry) -> str:
    rows = [
        (name, f"{bound.at_most:.0e}", f"{bound.rms:g}", f"{bound.tolerance:.1e}")
        for name, bound in parity(entry).items()
    ]
    heads = ("output", "largest difference, at most", "size of the features (rms)", "tolerance of the test")
    return (
        "The published implementation was run on a state dict filled by a rule, which takes no weights file. The same\n"
        "state dict, in the published names, through this converter and this model gives the same features\n"
        f"(`tests/golden/{entry.model_type}`):\n\n{table(heads, rows)}"
    )


def licence_section(entry: ModelEntry) -> str:
    """Return the licence of the weights in a sentence."""
    shared = "may be shared under it" if entry.licence.redistribution else "are not to be shared; `push` refuses them"
    text = f"Weights: {entry.licence.name}."
    if entry.weights.file is not None:
        text += f" Converted weights {shared}."
    return f"{text} {entry.licence.note or ''}".strip() + " Code of the package: Apache-2.0."


def _windows(preset: Any) -> int:
    rate = preset["sampling_rate"]
    return len(eval_starts(window_length(RECORD_SECONDS, rate), window_length(preset["input_seconds"], rate)))


def _large(count: int) -> str:
    return f"{count / 1e9:.3g} G" if count >= 1e9 else f"{count / 1e6:.3g} M"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def published_section(entry: ModelEntry) -> str:
    """The published scores of a model as Markdown; an empty string if there are none."""
    own = [score for score in scores() if score.model == entry.alias]
    if not own:
        return ""
    modes = [mode for mode in MODES if any(score.mode == mode for score in own)]
    # What holds for every row is said once below, without a letter in each cell.
    common = [flag for flag in _flags(own) if all(flag in score.flags for score in own)]
    letters = {flag.name: _LETTERS[k] for k, flag in enumerate(flag for flag in _flags(own) if flag not in common)}
    cells = {(score.task, score.mode): _cell(score, letters) for score in own}
    lines = [_introduction(), "", f"| task | {' | '.join(modes)} |", f"|---|{'---:|' * len(modes)}"]
    for task, title in study().tasks.items():
        mark = " (error)" if task in study().regression else ""
        lines.append(f"| {title}{mark} | {' | '.join(cells.get((task, mode), '') for mode in modes)} |")
    notes = [f"- {letters.get(flag.name, 'all rows')}: **{flag.severity}**. {flag.text}" for flag in _flags(own)]
    caveats = [f"- all intervals: {caveat}" for caveat in study().caveats]
    return "\n".join([*lines, "", *notes, *caveats])


def _introduction() -> str:
    paper = study()
    return (
        f"Made by the authors of the benchmark, not with these files: {paper.authors},\n"
        f"[{paper.title}]({paper.paper}),\n{paper.venue}; {paper.source}.\n"
        "Macro AUROC, higher is better; tasks marked (error): mean absolute error of z-scores, lower is better;\n"
        "95 % intervals of 1,000 resamples. Letters point to the notes below: **wrong** means that a row is not what\n"
        "its name says, **doubtful** that it may not be."
    )


def _flags(own: list[Score]) -> list[Flag]:
    touched = {flag.name for score in own for flag in score.flags}
    return [flag for flag in study().flags.values() if flag.name in touched]


def _cell(score: Score, letters: dict[str, str]) -> str:
    marks = "".join(f" {letters[flag.name]}" for flag in score.flags if flag.name in letters)
    return f"{score.point:.3f} ({score.low:.3f} to {score.high:.3f}){marks}"
