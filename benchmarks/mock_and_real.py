"""The simulator beside real records of PTB-XL: rates, spectra, amplitudes, correlations of leads.

    python benchmarks/mock_and_real.py /data/ecg [--records 200] [--plot docs/pictures/mock_and_real.webp]

The folder holds `ptb-xl`, whole or in part. Training records are taken evenly spaced from it and from simulated
records, brought to 240 Hz and clipped to 3 mV. Prints one row per figure: 10 %, median and 90 % of the records of both.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from dataset_scripts import mock, prepare
from dataset_scripts.reader import SignalReader
from ecg_hub.input.resampling import resample
from ecg_hub.leads import LEADS
from ecg_hub.utils.text import print_table

Array = NDArray[np.float64]
RATE = 240
BANDS_HZ = ((0.3, 1.0), (1.0, 5.0), (5.0, 15.0), (15.0, 40.0), (40.0, 100.0))
POWER_FROM_HZ = 0.3


@dataclass(frozen=True)
class Figures:
    """What is compared, one row per record.

    Attributes:
        scalars: name -> (records,).
        spectrum: (frequencies,) mean over leads of the power density in mV^2/Hz, median of the records.
        amplitudes: (records, 12) from 0.5 % to 99.5 % of the samples, in mV.
        correlations: (12, 12) mean over records.
    """

    scalars: dict[str, Array]
    frequencies: Array
    spectrum: Array
    amplitudes: Array
    correlations: Array


def records(root: Path, count: int, cache: Path) -> Array:
    """Return training records (count, 12, samples) in mV at RATE, clipped to 3 mV."""
    prepared = prepare("ptb-xl", root / "ptb-xl", cache_dir=cache)
    part = prepared.splits["train"]
    reader = SignalReader(part)
    chosen = np.unique(np.linspace(0, len(part) - 1, min(count, len(part))).round().astype(int))
    whole = np.stack([np.nan_to_num(reader.window_mv(int(index))).T for index in chosen])
    return np.clip(resample(whole, prepared.sampling_rate, RATE), -3.0, 3.0).astype(np.float64)


def figures(signals: Array) -> Figures:
    """Return the figures of records (n, 12, samples)."""
    frequencies, power = signal.welch(signals, RATE, nperseg=4 * RATE, axis=-1)
    whole = power[..., frequencies >= POWER_FROM_HZ].sum(axis=(1, 2))
    scalars = dict(zip(("heart rate, 1/min", "variation of RR"), _rhythm(signals[:, 1]), strict=True))
    for low, high in BANDS_HZ:
        inside = (frequencies >= low) & (frequencies < high)
        scalars[f"power in {low:g} to {high:g} Hz"] = power[..., inside].sum(axis=(1, 2)) / whole
    amplitudes = np.subtract(*np.percentile(signals, [99.5, 0.5], axis=-1))
    for number, lead in enumerate(LEADS):
        scalars[f"amplitude of {lead}, mV"] = amplitudes[:, number]
    with np.errstate(invalid="ignore"):  # a flat lead has no correlation
        correlations = np.nanmean([np.corrcoef(one) for one in signals], axis=0)
    return Figures(scalars, frequencies, np.median(power.mean(axis=1), axis=0), amplitudes, correlations)


def _rhythm(lead: Array) -> tuple[Array, Array]:
    """Heart rate and coefficient of variation of the RR intervals, from the steepest places of lead II."""
    rates, variations = [], []
    for one in lead:
        slope = np.convolve(np.gradient(one) ** 2, np.ones(RATE // 10) / (RATE // 10), mode="same")
        peaks, _ = signal.find_peaks(slope, height=0.3 * np.quantile(slope, 0.99), distance=RATE // 4)
        intervals = np.diff(peaks) / RATE
        if len(intervals) > 2:
            rates.append(60.0 / np.median(intervals))
            variations.append(np.std(intervals) / np.mean(intervals))
    return np.array(rates), np.array(variations)


def draw(real: Figures, made: Figures, path: Path) -> None:
    """Draw spectra, amplitudes and differences of correlations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14.3, 4.2), layout="constrained")
    spectra, sizes, pairs = figure.subplots(1, 3)
    for name, one, colour, shift in (("real", real, "#1b5e9f", -0.12), ("mock", made, "#c2540a", 0.12)):
        inside = (one.frequencies > 0) & (one.frequencies <= BANDS_HZ[-1][1])
        spectra.loglog(one.frequencies[inside], one.spectrum[inside], color=colour, label=name)
        low, middle, high = np.percentile(one.amplitudes, [10, 50, 90], axis=0)
        places = np.arange(12) + shift
        sizes.errorbar(places, middle, (middle - low, high - middle), fmt="o", color=colour, label=name)
    spectra.set(title="spectra", xlabel="Hz", ylabel="mV² / Hz, mean of leads, median of records")
    sizes.set(title="amplitudes: median, 10 % to 90 %", ylabel="mV, 0.5 % to 99.5 % of samples", ylim=(0, None))
    sizes.set_xticks(range(12), LEADS, rotation=60)
    image = pairs.imshow(made.correlations - real.correlations, cmap="RdBu", vmin=-0.7, vmax=0.7)
    pairs.set_title("correlation of leads, mock - real")
    pairs.set_xticks(range(12), LEADS, rotation=90)
    pairs.set_yticks(range(12), LEADS)
    figure.colorbar(image, ax=pairs)
    for axes in (spectra, sizes):
        axes.legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Compare; prints a table, and draws if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_root", type=Path, help="folder that holds ptb-xl")
    parser.add_argument("--records", type=int, default=200, metavar="N", help="of each (default: 200)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mock.write("ptb-xl", Path(folder) / "raw" / "ptb-xl", records=round(args.records * 1.4))
        real = figures(records(args.data_root, args.records, Path(folder) / "real"))
        made = figures(records(Path(folder) / "raw", args.records, Path(folder) / "made"))
    rows = []
    for name in real.scalars:
        columns = {side: _quantiles(one.scalars[name]) for side, one in (("real", real), ("mock", made))}
        ratio = np.median(made.scalars[name]) / np.median(real.scalars[name])
        rows.append({"10 %, median, 90 %": name, **columns, "mock / real": f"{ratio:.2f}"})
    print_table(rows, title="figures")
    upper = np.triu_indices(12, 1)
    differences = np.abs(made.correlations - real.correlations)[upper]
    print(f"mean absolute difference of the {len(differences)} correlations of leads: {differences.mean():.2f}")
    for first, second in (("I", "III"), ("III", "V6"), ("I", "II"), ("II", "V2")):
        place = LEADS.index(first), LEADS.index(second)
        print(f"{first} with {second}: real {real.correlations[place]:+.2f}, mock {made.correlations[place]:+.2f}")
    if args.plot is not None:
        draw(real, made, args.plot)


def _quantiles(values: Array) -> str:
    return ", ".join(f"{value:.3g}" for value in np.percentile(values, [10, 50, 90]))


if __name__ == "__main__":
    main()
