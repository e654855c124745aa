"""Write all cards; count multiply-accumulates and tokens again first: `python -m model_cards --measure`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from model_cards.card import MEASURED, Measured, complete_card, measured
from model_cards.checkpoint import checkpoint_card


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the cards."""
    parser = argparse.ArgumentParser(prog="python -m model_cards", description="Write all model cards.")
    parser.add_argument("--measure", action="store_true", help="count multiply-accumulates and tokens again (a minute)")
    parser.add_argument("--output", type=Path, help="write ALIAS.md there instead of the models' folders")
    options = parser.parse_args(arguments)
    if options.measure:
        write_measured(MEASURED, {})
    else:
        count_new()
    for path, text in cards(options.output).items():
        path.write_text(text, encoding="utf-8")


def cards(output: Path | None = None) -> dict[Path, str]:
    """Return the text of every card; all are made before one is written, so an error leaves the files as they were."""
    return {
        output / f"{entry.alias}.md" if output else entry.card: (
            complete_card(entry) if entry.is_default else checkpoint_card(entry)
        )
        for entry in catalog.built_in().values()
    }


def count_new() -> bool:
    """Count the operations of models that have no numbers yet, drop those of models that are no more; whether any."""
    if set(measured()) == {entry.alias for entry in catalog.built_in().values() if entry.is_default}:
        return False
    write_measured(MEASURED, measured())
    return True


def write_measured(path: Path, known: Mapping[str, Measured]) -> None:
    """Write multiply-accumulates and tokens of all models, counted where they are not known."""
    head = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
    lines = [head]
    for entry in (entry for entry in catalog.built_in().values() if entry.is_default):
        numbers = known.get(entry.alias) or Measured(*count(entry))
        lines.append(f"{entry.alias}:\n")
        for name, value in (("macs", numbers.macs), ("tokens", numbers.tokens)):
            flow = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=200).strip()
            lines.append(f"  {name}: {flow}\n")
    path.write_text("".join(lines), encoding="utf-8")
    # The cards are made of what was just written.
    measured.cache_clear()


def count(entry: ModelEntry) -> tuple[dict[str, int], dict[str, int]]:
    """Return multiply-accumulates and tokens of one window of the full-size model, by preset."""
    import torch

    import ecg_hub
    from ecg_hub.inference.bench import count_macs

    model = ecg_hub.AutoModel.from_pretrained(f"random:{entry.alias}").eval()
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(f"random:{entry.alias}")
    macs: dict[str, int] = {}
    tokens: dict[str, int] = {}
    sizes: list[int] = []
    # Of the passes that are counted anyway: a full-size model is slow.
    model.register_forward_hook(lambda *called: sizes.append(called[-1].last_hidden_state.shape[1]))
    for preset in entry.presets:
        spec = extractor.spec(preset)
        # Seeded and of the size of an ECG in mV; the numbers of operations do not depend on values.
        x = 0.3 * torch.randn(1, len(spec.lead_names), spec.samples, generator=torch.Generator().manual_seed(0))
        macs[preset] = count_macs(model, x)
        tokens[preset] = sizes[-1]
    return macs, tokens


if __name__ == "__main__":
    main()
