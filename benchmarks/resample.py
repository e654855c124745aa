"""Speed of ecg_hub.signal.resample on one core, against the same method evaluated sample by sample in numpy.

    OMP_NUM_THREADS=1 python benchmarks/resample.py

Prints medians over repeats that alternate between the two, their ratio, and how far the results differ.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from ecg_hub.signal import KAISER_BETA, ROLLOFF, TABLE_STEPS, ZERO_CROSSINGS, resample


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


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fs-in", type=int, default=500, help="rate of the crops in Hz")
    parser.add_argument("--fs-out", type=int, default=240, help="rate wanted in Hz")
    parser.add_argument("--samples", type=int, default=1250, help="samples of a crop")
    parser.add_argument("--crops", type=int, default=64, help="crops of 12 leads per call")
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    crops = np.random.default_rng(0).standard_normal((options.crops, 12, options.samples)).astype(np.float32)
    rates = (options.fs_in, options.fs_out)
    difference = np.abs(resample(crops[0], *rates) - resample_by_gather(crops[0], *rates)).max()
    fast, plain = [], []
    for repeat in range(options.repeats):
        fast.append(seconds(lambda: resample(crops, *rates)) / options.crops)
        if repeat % 10 == 0:
            plain.append(seconds(lambda: resample_by_gather(crops[0], *rates)))
    speed, baseline = 1 / statistics.median(fast), 1 / statistics.median(plain)
    print(
        f"{options.fs_in} -> {options.fs_out} Hz, crops of 12 x {options.samples}, {options.crops} per call, one thread"
    )
    print(f"ecg_hub.signal.resample  {speed:10,.0f} crops/s")
    print(f"sample by sample         {baseline:10,.1f} crops/s")
    print(f"ratio                    {speed / baseline:10,.0f}")
    print(f"largest difference       {difference:10.1e}")


if __name__ == "__main__":
    main()
