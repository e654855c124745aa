"""`ecg-hub data plot`: one record on ECG paper."""

from __future__ import annotations

import argparse
from pathlib import Path

from dataset_scripts.catalog import get
from dataset_scripts.core.spec import ECGDataset
from dataset_scripts.tools.plot import Record, plot_ecg, read_one
from ecg_hub.errors import InputError
from ecg_hub.utils.files import atomic_path
from eval_harness.cli.hub.data import require_folder

FORMATS = (".png", ".pdf", ".svg")
NOTICE = "research software, not a medical device"


def run_plot(args: argparse.Namespace) -> int:
    """Draw a record and print the name of the file."""
    dataset = get(args.name, args.data_dir)
    default = f"{dataset.name}-{args.record.replace('/', '_')}.png"
    target = Path(args.output or default).expanduser()
    if target.suffix.lower() not in FORMATS:
        raise InputError(f"--output {str(target)!r}: the file must end in {', '.join(FORMATS)}.")
    folder = require_folder(args, dataset)
    record = read_one(dataset, folder, args.record, args.sampling_rate)
    try:
        figure = plot_ecg(
            record.values,
            record.sampling_rate,
            title=f"{dataset.title}, record {record.record_id}",
            lines=heading(dataset, record),
            start=args.start,
            seconds=args.seconds,
            unit=record.unit,
            footnote=NOTICE,
        )
    except ImportError as error:
        raise InputError(str(error)) from error
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format=target.suffix.lower().lstrip("."))
    print(target)
    return 0


def heading(dataset: ECGDataset, record: Record) -> list[str]:
    """Return the lines above the paper: who, and the labels of the published target list."""
    age = None if record.age is None or record.age != record.age else f"{record.age:.3g} years"
    person = ", ".join(part for part in (age, record.sex) if part) or "age and sex unknown"
    patient = f"   patient {record.patient_id}" if record.patient_id else ""
    synthetic = "   SYNTHETIC: simulated signal, invented patient" if record.synthetic else ""
    column = dataset.label_columns[0] if dataset.label_columns else ""
    labels = "; ".join(record.labels.get(column, ())) or "none"
    return [f"{person}{patient}{synthetic}", f"labels: {labels}"]
