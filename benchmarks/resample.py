"""Speed of ecg_hub.input.resampling.resample on one core, against the same method evaluated sample by sample in numpy.

    python benchmarks/resample.py

Crops are resampled one at a time the plain way, many per call ours. Where resampy is installed, it is timed as well.
Prints medians of CPU seconds over rounds in which the ways take turns, the ratios, and how far the results differ: ends
with an error where that is more than 2e-5, or where ours is less than 50 times as fast as the fastest other way.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from turns import check, in_turns, load

from ecg_hub.input.resampling import KAISER_BETA, ROLLOFF, TABLE_STEPS, ZERO_CROSSINGS, resample

GOAL = 50.0
TOLERANCE = 2e-5
Crop = NDArray[np.float32]


@cache
def half_window() -> NDArray[np.float64]:
    entries = TABLE_STEPS * ZERO_CROSSINGS
    taper = np.kaiser(2 * entries + 1, KAISER_BETA)[entries:]
    return taper * ROLLOFF * np.sinc(ROLLOFF * np.linspace(0, ZERO_CROSSINGS, entries + 1))


def resample_by_gather(crop: NDArray[np.float32], fs_in: int, fs_out: int) -> NDArray[np.float32]:
    """Windowed-sinc resampling the straightforward way: one gather and one weighted sum per output sample.

    Args:
        crop: (leads, samples).
        fs_in: rate of the crop in Hz.
        fs_out: rate wanted in Hz.
    """
    table = half_window()
    scale = min(1.0, fs_out / fs_in)
    step = int(scale * TABLE_STEPS)
    samples = crop.shape[1]
    out = np.zeros((len(crop), samples * fs_out // fs_in), dtype=np.float32)
    for k in range(out.shape[1]):
        center, rest = divmod(k * fs_in, fs_out)
        near = scale * rest / fs_out
        for fraction, nearest, direction in ((near, center, -1), (scale - near, center + 1, 1)):
            offset = int(fraction * TABLE_STEPS)
            count = (len(table) - offset) // step
            index = offset + step * np.arange(count)
            between = fraction * TABLE_STEPS - offset
            following = table[np.minimum(index + 1, len(table) - 1)]
            weights = table[index] + between * (following - table[index])
            position = nearest + direction * np.arange(count)
            inside = (position >= 0) & (position < samples)
            out[:, k] += scale * crop[:, position[inside]] @ weights[inside]
    return out


def plain_ways() -> dict[str, Callable[[Crop, int, int], Crop]]:
    """How one crop (leads, samples) is resampled elsewhere: sample by sample, and by resampy where it is installed."""
    ways: dict[str, Callable[[Crop, int, int], Crop]] = {"sample by sample": resample_by_gather}
    if find_spec("resampy") is not None:
        resampy = importlib.import_module("resampy")
        ways["resampy"] = lambda crop, fs_in, fs_out: resampy.resample(crop, fs_in, fs_out, axis=-1)
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fs-in", type=int, default=500, help="rate of the crops in Hz")
    parser.add_argument("--fs-out", type=int, default=240, help="rate wanted in Hz")
    parser.add_argument("--samples", type=int, default=1250, help="samples of a crop")
    parser.add_argument("--crops", type=int, default=64, help="crops of 12 leads per call")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--least", type=float, default=GOAL, help="end with an error below this ratio")
    options = parser.parse_args()
    torch.set_num_threads(1)
    crops = np.random.default_rng(0).standard_normal((options.crops, 12, options.samples)).astype(np.float32)
    rates = (options.fs_in, options.fs_out)
    others = plain_ways()
    ours = resample(crops, *rates)
    difference = max(float(np.abs(ours[0] - way(crops[0], *rates)).max()) for way in others.values())
    if difference > TOLERANCE:
        raise SystemExit(f"the results differ by {difference:.1e}")
    few = crops[:4]

    def one_by_one(way: Callable[[Crop, int, int], Crop]) -> Callable[[], list[Crop]]:
        return lambda: [way(crop, *rates) for crop in few]

    calls: dict[str, Callable[[], object]] = {name: one_by_one(way) for name, way in others.items()}
    calls["ours"] = lambda: resample(crops, *rates)
    taken = in_turns(calls, options.repeats)
    speed = {name: (len(crops) if name == "ours" else len(few)) / took for name, took in taken.items()}
    ratio = speed["ours"] / max(speed[name] for name in others)
    report = {
        "rate_in_hz": options.fs_in,
        "rate_out_hz": options.fs_out,
        "samples": options.samples,
        "crops_per_s": {name: round(value, 1) for name, value in speed.items()},
        "ratio": round(ratio, 1),
        "largest_difference": difference,
        "load": load(),
    }
    print(json.dumps(report, indent=1))
    check(ratio, options.least)


if __name__ == "__main__":
    main()
