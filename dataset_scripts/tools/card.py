"""Dataset cards, generated from what the datasets declare about themselves.

`python docs/pages.py` writes `docs/datasets/<name>.md` for every dataset and the table in `docs/datasets.md`. The front
matter is that of dataset cards on the Hugging Face Hub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dataset_scripts.core.spec import ECGDataset, Release
from dataset_scripts.tools.download import instructions
from ecg_hub.packages import OWN
from ecg_hub.utils.text import number_of

TAGS = ("ecg", "electrocardiography", "12-lead", "time-series", "biosignals", "medical")
TASKS = ("other",)
"""The hub has no category for classifying time series."""

HUB_LICENCES = {
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "CC-BY-ND-4.0": "cc-by-nd-4.0",
    "CC-BY-NC-ND-4.0": "cc-by-nc-nd-4.0",
    "CC0-1.0": "cc0-1.0",
    "ODC-By-1.0": "odc-by",
    "ODbL-1.0": "odbl",
    "PDDL-1.0": "pddl",
}
"""SPDX identifier -> name on the hub; any other licence is "other" with its own name."""

FOLDER = "FOLDER"
"""What a card of Parquet files calls its own folder; `ecg-hub data push` writes the repository's name there."""

_FED = """\
print(record["record_id"], len(record["signal"]), "samples at", record["sampling_rate"], "Hz")

extractor = ecg_hub.AutoFeatureExtractor.from_pretrained("random:ecg-cpc")  # or any other model
inputs = extractor(record, window="all", nan="zero", return_tensors="pt")
print(inputs["input_values"].shape)  # (windows, leads, samples)
```"""

ACCESS = {
    "open": "open to everybody",
    "restricted": "restricted: the data use agreement has to be signed",
    "credentialed": "credentialed: training in human subjects research and a signed data use agreement",
}
SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
)
BEGIN, END = "<!-- table: begin (python docs/pages.py) -->", "<!-- table: end -->"


def dataset_card(dataset: ECGDataset) -> str:
    """Return the card of a dataset as Markdown with YAML front matter."""
    # The hub reads the front matter in this order, and people do too: not sorted.
    front = yaml.safe_dump(front_matter(dataset), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{card_body(dataset)}"


def front_matter(dataset: ECGDataset) -> dict[str, Any]:
    """Return the metadata that the hub indexes."""
    licence = HUB_LICENCES.get(dataset.licence)
    named = {"license": licence} if licence else _other_licence(dataset)
    size = {"size_categories": [size_category(dataset.releases[0].records)]} if dataset.releases else {}
    return {
        **named,
        "pretty_name": dataset.title,
        "task_categories": list(TASKS),
        **size,
        "tags": [*TAGS, *(["multi-label-classification"] if dataset.label_columns else [])],
    }


def _other_licence(dataset: ECGDataset) -> dict[str, str]:
    # The hub takes such a name only in lower case and without blanks.
    name = re.sub(r"[^a-z0-9.]+", "-", short_licence(dataset).lower()).strip("-.")
    return {"license": "other", "license_name": name, "license_link": dataset.page}


def short_licence(dataset: ECGDataset) -> str:
    """Return the first words of a licence, up to where its conditions begin."""
    return re.split(r"[;:,(]|\. |\.$", dataset.licence)[0].strip()


def size_category(records: int) -> str:
    """Return the hub's name for a number of records."""
    return next((name for limit, name in SIZES if records < limit), "10M<n<100M")


def card_body(dataset: ECGDataset, code: str | None = None) -> str:
    """Return the card without its front matter; `code` loads a record, by default from the raw folder."""
    sections = [
        f"# {dataset.title}",
        dataset.description,
        _glance(dataset),
        _get_it(dataset),
        f"## Use\n\n{code or raw_code(dataset)}",
        _layout(dataset),
        _splits(dataset),
        _derivation(dataset),
        _targets(dataset),
        _problems(dataset),
        _labels(dataset),
        _releases(dataset),
        f"## Licence\n\n{_licence(dataset)}",
        f"## Citation\n\n{dataset.citation}",
    ]
    return "\n\n".join(section.strip() for section in sections if section.strip()) + "\n"


def _glance(dataset: ECGDataset) -> str:
    unit = "mV (int16 with gain and baseline per lead)" if dataset.unit == "mV" else "none: z-scored as published"
    rows = {
        "name": f"`{dataset.name}`",
        "records": f"{dataset.releases[0].records:,}" if dataset.releases else "not stated here",
        "sampling rate": ", ".join(f"{rate} Hz" for rate in dataset.sampling_rates),
        "unit": unit,
        "label columns": ", ".join(f"`{column}`" for column in dataset.label_columns) or "none",
        "access": ACCESS[dataset.access],
        "page": f"<{dataset.page}>",
    }
    return table(("", ""), list(rows.items()))


def _get_it(dataset: ECGDataset) -> str:
    first, *rest = instructions(dataset)
    if dataset.access == "open" and dataset.sources:
        body = (
            f"```console\n$ {first}\n```\n\nfetches the files, compares their checksums and prepares them; an "
            f"interrupted download continues. By hand: <{dataset.page}>"
        )
    else:
        commands = "".join(f"\n\n```console\n$ {line}\n```" for line in rest)
        body = first + commands
    after = f"```console\n$ ecg-hub data verify {dataset.name} --data-dir DIR\n$ ecg-hub data prepare {dataset.name} " \
            f"--data-dir DIR\n```"  # fmt: skip
    trial = f"Without the data, a synthetic tree in the same format: `ecg-hub data prepare {dataset.name} --mock`."
    return f"## Get it\n\n{body}\n\nThen\n\n{after}\n\n{trial}"


def raw_code(dataset: ECGDataset) -> str:
    """Return code that loads a record from the raw folder and brings it into the form that a model takes."""
    load = f'ecg_hub.load_dataset("{dataset.name}", data_dir="DIR")'
    return f"""```python
import ecg_hub

data = {load}  # mock=True in place of data_dir: simulated records
record = data["train"][0]
{_FED}"""


def parquet_code(name: str = FOLDER) -> str:
    """Return code that loads a record of a folder or repository of Parquet files, and does the same."""
    return f"""```python
import ecg_hub
from datasets import load_dataset

data = load_dataset("{name}")
record = data["train"][0]
{_FED}"""


def _layout(dataset: ECGDataset) -> str:
    lines = ["## Raw folder", ""]
    lines += [f"- `{name}`" for name in dataset.table_files]
    lines += [f"- `{name}` (used where it is there)" for name in dataset.optional_files]
    endings = ", ".join(f"`{suffix}`" for suffix in dataset.signal_suffixes)
    for rate in dataset.sampling_rates:
        for folder in dataset.signal_folders(rate):
            where = "in the folder itself or below" if folder == "." else f"below `{folder}/`"
            lines.append(f"- signals at {rate} Hz {where}: {endings}")
    lines += ["", f"Releases that are read: {', '.join(dataset.versions)}."]
    return "\n".join(lines)


def _splits(dataset: ECGDataset) -> str:
    text = f"## Folds and splits\n\n{dataset.folds[0].upper()}{dataset.folds[1:]}."
    sizes = dataset.releases[0].fold_sizes if dataset.releases else ()
    if sizes:
        shown = ", ".join(f"{size:,}" for size in sizes[:20])
        text += f" Records per fold: {shown}{' ...' if len(sizes) > 20 else ''}."
    rows = [(f"`{name}`", f"`{value!r}`") for name, value in dataset.thresholds.items()]
    rules = table(("threshold", "published value"), rows)
    about = "What decides which labels and records take part; another value is listed in every result:"
    return f"{text}\n\n{about}\n\n{rules}"


def _derivation(dataset: ECGDataset) -> str:
    if not dataset.derivation:
        return ""
    steps = (f"{number}. {step}" for number, step in enumerate(dataset.derivation, start=1))
    return "\n".join(["## How labels and targets come about", "", *steps])


def _targets(dataset: ECGDataset) -> str:
    """Return the groups of targets with their names, as far as they are known without the data."""
    if not dataset.target_groups:
        return ""
    rows = []
    for name, group in dataset.target_groups.items():
        named = [f"{target} ({unit})" if unit else target for target, unit in group.targets.items()]
        kind = "classes" if group.kind == "multi_label_classification" else "z-scores"
        rows.append((f"`{name}`", group.title, kind, f"{group.published:,}", "; ".join(named) or "named by the data"))
    text = "Units are those before the z-score; errors are given in them as well, where the data tell the unit."
    return f"## Targets\n\n{table(('group', 'what', 'kind', 'number', 'targets'), rows)}\n\n{text}"


def _problems(dataset: ECGDataset) -> str:
    if not dataset.problems:
        return ""
    return "\n".join(["## Known problems", "", *(f"- {problem}" for problem in dataset.problems)])


def _labels(dataset: ECGDataset) -> str:
    """Return the labels of each column with meaning and number of records, as far as they are known."""
    release = dataset.releases[0] if dataset.releases else None
    parts = ["## Labels"]
    for column in dataset.label_columns:
        counts = dict(release.label_counts.get(column, {})) if release else {}
        number = _label_number(dataset, release, column, counts)
        parts.append(f"### `{column}`" + (f": {number_of(number, 'label')}" if number else ""))
        if counts:
            parts.append(_label_table(dataset, column, counts))
    if len(parts) > 1:
        parts.insert(1, "Counts are occurrences over all records of the release; a label below the count filter is not "
                     "predicted.")  # fmt: skip
    return "\n\n".join(parts) if len(parts) > 1 else ""


def _label_number(dataset: ECGDataset, release: Release | None, column: str, counts: Mapping[str, int]) -> int | None:
    if release is not None and column in release.label_numbers:
        return release.label_numbers[column]
    return sum(count >= dataset.thresholds["min_count"] for count in counts.values()) or None


def _label_table(dataset: ECGDataset, column: str, counts: Mapping[str, int]) -> str:
    titles = {label: dataset.label_title(column, label) for label in counts}
    # Ties by name, so that a page written anew shows no difference.
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if all(title == label for label, title in titles.items()):
        return table(("label", "count"), [(f"`{label}`", f"{count:,}") for label, count in ordered])
    rows = [(f"`{label}`", titles[label], f"{count:,}") for label, count in ordered]
    return table(("label", "meaning", "count"), rows)


def _releases(dataset: ECGDataset) -> str:
    if not dataset.releases:
        return ""
    lines = ["## What `ecg-hub data verify` compares", ""]
    for release in dataset.releases:
        facts = [f"{release.records:,} records"]
        facts += [f"counts of {len(c)} labels in `{name}`" for name, c in release.label_counts.items() if c]
        facts += [f"a hash of all labels in `{name}`" for name in release.label_hashes]
        facts += [f"sizes of {len(release.fold_sizes)} folds"] if release.fold_sizes else []
        facts += ["a hash of all folds"] if release.fold_sha256 else []
        facts += [f"records of the splits ({release.split_text})"]
        facts += [f"checksums of {number_of(len(release.files), 'file')}"] if release.files else []
        lines.append(f"- Release {release.version}: {', '.join(facts)}.")
    return "\n".join(lines)


def _licence(dataset: ECGDataset) -> str:
    passing = (
        "Signals and labels may be passed on under these terms."
        if dataset.redistribution
        else "Signals and labels may not be passed on; `ecg-hub data push` refuses to."
    )
    return f"{dataset.licence.rstrip('.')}. {passing}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; bars inside cells are escaped."""
    # A bar in a cell would begin a new one.
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def index_table(datasets: Sequence[ECGDataset]) -> str:
    """Return the table of all datasets with links to their cards."""
    rows = [
        (
            f"[{dataset.title}](datasets/{dataset.name}.md)",
            f"`{dataset.name}`",
            f"{dataset.releases[0].records:,}" if dataset.releases else "",
            f"{dataset.sampling_rate} Hz",
            dataset.access,
            short_licence(dataset),
        )
        for dataset in datasets
    ]
    return table(("dataset", "name", "records", "rate", "access", "licence"), rows)


def replace_table(page: str, content: str) -> str:
    """Return a page with the part between the two markers replaced."""
    head, opened, rest = page.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not opened or not closed:
        raise ValueError(f"the page lacks {BEGIN!r} or {END!r}")
    return f"{head}{BEGIN}\n\n{content}\n\n{END}{tail}"


def own_datasets() -> list[ECGDataset]:
    """Return the datasets of this package, without those of other installed ones."""
    from dataset_scripts.catalog import datasets, package_of

    return [dataset for dataset in datasets().values() if package_of(dataset.name) == OWN]


def pages(docs: Path) -> dict[Path, str]:
    """Return the card of every dataset of this package, and the index page with its table, below a docs folder."""
    index = docs / "datasets.md"
    written = replace_table(index.read_text(encoding="utf-8"), index_table(own_datasets()))
    return {**{docs / "datasets" / f"{one.name}.md": dataset_card(one) for one in own_datasets()}, index: written}
