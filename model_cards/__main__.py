"""Write all cards: `python -m model_cards`; count multiply-accumulates and tokens again first: `--measure`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry
from ecg_hub.errors import InputError
from model_cards.card import MEASURED, complete_card, measured
from model_cards.checkpoint import checkpoint_card


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the cards."""
    parser = argparse.ArgumentParser(prog="python -m model_cards", description="Write all model cards.")
    parser.add_argument("--measure", action="store_true", help="count multiply-accumulates and tokens again (a minute)")
    parser.add_argument("--output", type=Path, help="write ALIAS.md there instead of the models' folders")
    options = parser.parse_args(arguments)
    if options.measure:
        write_measured(MEASURED)
        # The cards below are made of what was just written.
        measured.cache_clear()
    for entry in catalog.built_in().values():
        path = options.output / f"{entry.alias}.md" if options.output else entry.card
        path.write_text(complete_card(entry) if entry.is_default else checkpoint_card(entry), encoding="utf-8")


def write_measured(path: Path) -> None:
    """Count multiply-accumulates and tokens of all models, and write them beside the bounds of parity."""
    text = path.read_text(encoding="utf-8")
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    # Bounds of parity are measured elsewhere, and the comments at the head are written by hand: both stay.
    before = yaml.safe_load(text)
    lines = [head]
    for entry in (entry for entry in catalog.built_in().values() if entry.is_default):
        if entry.alias not in before:
            raise InputError(
                f"{entry.alias!r} is not in {path}: add its bounds of parity first (docs/contributing/model.md)."
            )
        macs, tokens = count(entry)
        facts = {"parity": before[entry.alias]["parity"], "macs": macs, "tokens": tokens}
        lines.append(f"{entry.alias}:\n")
        for name, value in facts.items():
            flow = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=200).strip()
            lines.append(f"  {name}: {flow}\n")
    path.write_text("".join(lines), encoding="utf-8")


def count(entry: ModelEntry) -> tuple[dict[str, int], dict[str, int]]:
    """Return multiply-accumulates and tokens of one window of the full-size model, by preset."""
    import torch

    import ecg_hub
    from ecg_hub.inference.bench import count_macs

    model = ecg_hub.AutoModel.from_pretrained(f"random:{entry.alias}").eval()
    extractor = ecg_hub.AutoFeatureExtractor.from_pretrained(f"random:{entry.alias}")
    macs, tokens = {}, {}
    for preset in entry.presets:
        spec = extractor.spec(preset)
        # Seeded and of the size of an ECG in mV; the numbers of operations do not depend on values.
        x = 0.3 * torch.randn(1, len(spec.lead_names), spec.samples, generator=torch.Generator().manual_seed(0))
        macs[preset] = count_macs(model, x)
        with torch.no_grad():
            tokens[preset] = model(x).last_hidden_state.shape[1]
    return macs, tokens


if __name__ == "__main__":
    main()
