"""ECG paper: scale, layout, missing leads, and one record read without a store."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_scripts.catalog import get
from dataset_scripts.mock import available, write
from dataset_scripts.tools.plot import FOOTER_MM, HEADER_MM, LAYOUT, MOST_GRID_MM, plot_ecg, read_one
from ecg_hub.errors import DataError, InputError
from ecg_hub.leads import LEADS

RATE = 500
MM_PER_INCH = 25.4


def beats(seconds: float = 10.0, height: float = 1.0) -> np.ndarray:
    """Spikes of one sample a second, all leads alike."""
    values = np.zeros((round(seconds * RATE), len(LEADS)), dtype=np.float32)
    values[RATE // 2 :: RATE] = height
    return values


def traces(figure: Any) -> list[Any]:
    """The signals: lines of many points."""
    return [line for line in figure.axes[0].lines if len(line.get_xdata()) > 20]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


class TestPaper:
    @pytest.mark.heavy
    def test_a_second_is_25_mm_and_a_millivolt_10(self) -> None:
        figure = plot_ecg(beats(), RATE)
        width, height = figure.get_size_inches() * MM_PER_INCH
        axes = figure.axes[0]
        assert axes.get_xlim() == pytest.approx((0, width))
        assert axes.get_ylim() == pytest.approx((0, height))
        assert tuple(axes.get_position().bounds) == (0, 0, 1, 1), "data units are millimetres of paper"
        rhythm = traces(figure)[-1]
        x, y = rhythm.get_xdata(), rhythm.get_ydata()
        spikes = x[y > y.min() + 5]
        assert np.diff(spikes) == pytest.approx(np.full(9, 25.0))
        assert y.max() - y.min() == pytest.approx(10.0)
        assert width <= 297
        assert height <= 210

    def test_three_rows_of_four_and_a_rhythm_strip(self) -> None:
        figure = plot_ecg(beats(), RATE)
        names = [text for text in texts(figure) if text in LEADS]
        assert names == [*(name for row in LAYOUT for name in row), "II"]
        lengths = [np.ptp(line.get_xdata()) for line in traces(figure)]
        assert lengths[:12] == pytest.approx([62.5] * 12, abs=0.1)
        assert lengths[12] == pytest.approx(250, abs=0.1)

    def test_each_lead_is_shown_where_its_name_is(self) -> None:
        values = beats() * 0 + np.arange(12, dtype=np.float32) / 10
        figure = plot_ecg(values, RATE)
        zero = {line.get_ydata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 6}
        for number, name in enumerate(name for row in LAYOUT for name in row):
            level = traces(figure)[number].get_ydata()[0]
            expected = LEADS.index(name)  # tenths of a millivolt are millimetres
            assert min(abs(level - base - expected) for base in zero) < 1e-4

    def test_a_pulse_of_one_millivolt_before_each_row(self) -> None:
        pulses = [line for line in plot_ecg(beats(), RATE).axes[0].lines if len(line.get_xdata()) == 6]
        assert len(pulses) == 4
        for pulse in pulses:
            assert np.ptp(pulse.get_ydata()) == pytest.approx(10.0)
            assert pulse.get_xdata()[3] - pulse.get_xdata()[1] == pytest.approx(5.0)

    def test_the_grid_has_lines_every_millimetre_and_thicker_ones_every_five(self) -> None:
        thin, thick = plot_ecg(beats(), RATE).axes[0].collections
        assert thick.get_linewidth()[0] > thin.get_linewidth()[0]
        across = sorted({path.vertices[0, 0] for path in thick.get_paths() if np.ptp(path.vertices[:, 0]) == 0})
        assert np.diff(across) == pytest.approx(np.full(len(across) - 1, 5.0))
        every = sorted({*across, *(p.vertices[0, 0] for p in thin.get_paths() if np.ptp(p.vertices[:, 0]) == 0)})
        assert np.diff(every) == pytest.approx(np.ones(len(every) - 1))

    def test_tall_deflections_get_room_up_to_a_sheet_of_a4(self) -> None:
        low = plot_ecg(beats(), RATE).get_size_inches()[1]
        high = plot_ecg(beats(height=2.4), RATE).get_size_inches()[1]
        assert high > low
        most = plot_ecg(np.sin(np.arange(5000) / 9)[:, None] * np.full(12, 9.0), RATE).get_size_inches()[1]
        assert most * MM_PER_INCH == pytest.approx(HEADER_MM + MOST_GRID_MM + FOOTER_MM)


class TestSection:
    def test_a_part_of_the_recording(self) -> None:
        values = beats(30)
        values[: 20 * RATE] = 3.0
        figure = plot_ecg(values, RATE, start=20, seconds=4)
        assert all(np.ptp(line.get_ydata()) <= 10.001 for line in traces(figure))
        assert any("20 to 24 s" in text for text in texts(figure))

    def test_a_short_recording_leaves_paper_empty(self) -> None:
        figure = plot_ecg(beats(3), RATE)
        assert figure.get_size_inches()[0] == pytest.approx(plot_ecg(beats(), RATE).get_size_inches()[0])
        assert np.ptp(traces(figure)[-1].get_xdata()) == pytest.approx(75, abs=0.1)
        assert "   |   0 to 3 s" in texts(figure)[-1], "and no time that was not recorded"
        assert [np.ptp(line.get_xdata()) for line in traces(figure)[:12]] == pytest.approx([18.75] * 12, abs=0.1)
        plot_ecg(beats(), RATE, start=9.9)

    def test_missing_leads_and_samples(self) -> None:
        values = beats()
        values[:, LEADS.index("V2")] = np.nan
        values[600:700, 0] = np.nan
        assert "V2 (missing)" in texts(plot_ecg(values, RATE))
        assert "I" in texts(plot_ecg(values, RATE))
        plot_ecg(np.full((5000, 12), np.nan), RATE)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"values": np.zeros((12, 5000))}, r"shape \(12, 5000\), not \(samples, 12\)"),
            ({"sampling_rate": 0}, "sampling_rate=0"),
            ({"start": 10.0}, r"start=10\.0 is outside the recording, which lasts 10\.0 s"),
            ({"start": -1.0}, "start=-1.0"),
            ({"seconds": 0.2}, "1 to 60 s"),
            ({"unit": "uV"}, "unit='uV'; known: mV, zscore"),
        ],
    )
    def test_requests_that_cannot_be(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            plot_ecg(**{"values": beats(), "sampling_rate": RATE, **change})

    def test_z_scores_are_said_to_be_no_millivolts(self) -> None:
        footer = texts(plot_ecg(beats(), RATE, unit="zscore"))[-1]
        assert "z-scored, no physical unit" in footer
        assert "mV" not in footer
        figure = plot_ecg(beats(), RATE, unit="zscore")
        assert np.ptp(traces(figure)[-1].get_ydata()) == pytest.approx(5.0)

    def test_a_long_line_is_cut(self) -> None:
        figure = plot_ecg(beats(), RATE, title="record", lines=["word " * 100])
        assert any(text.endswith("…") for text in texts(figure))


class TestFiles:
    def test_a_pdf_is_as_large_as_the_paper(self, tmp_path: Path) -> None:
        figure = plot_ecg(beats(), RATE)
        figure.savefig(tmp_path / "a.pdf")
        box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+) ([\d.]+)", (tmp_path / "a.pdf").read_bytes())
        assert box is not None
        assert float(box[1]) / 72 * MM_PER_INCH == pytest.approx(280, abs=0.1)

    def test_without_matplotlib_the_command_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ImportError, match="pip install matplotlib"):
            plot_ecg(beats(), RATE)


class TestOneRecord:
    @pytest.mark.heavy
    def test_signal_person_and_labels(self, awkward_ptb_xl: Path) -> None:
        record = read_one(get("ptb-xl"), awkward_ptb_xl, "3")
        assert record.record_id == "3"
        assert record.values.shape == (5000, 12)
        assert record.synthetic
        assert record.unit == "mV"
        stored = np.fromfile(awkward_ptb_xl / "records500/00000/00003_hr.dat", "<i2").reshape(-1, 12)
        assert record.values == pytest.approx(stored / 1000.0)
        assert set(record.labels) == set(get("ptb-xl").label_columns)
        assert record.labels["label_all"]

    def test_leading_zeros_do_not_matter(self, awkward_ptb_xl: Path) -> None:
        assert read_one(get("ptb-xl"), awkward_ptb_xl, "00003").record_id == "3"

    def test_missing_samples_are_nan(self, awkward_ptb_xl: Path) -> None:
        record = read_one(get("ptb-xl"), awkward_ptb_xl, "36")
        assert np.isnan(record.values[:, 11]).all()
        assert np.isnan(record.values[200:260, 7]).all()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("999", r"no record '999' in this folder\..* named like 1, 2, 3"),
            ("38", "'38' .* cannot be read: .*missing"),
            ("39", "'39' of PTB-XL is not used: scp_codes"),
        ],
    )
    def test_records_that_cannot_be_shown(self, name: str, message: str, awkward_ptb_xl: Path) -> None:
        with pytest.raises(DataError, match=message):
            read_one(get("ptb-xl"), awkward_ptb_xl, name)


@pytest.mark.parametrize("name", available())
def test_a_record_of_every_dataset_can_be_drawn(name: str, tmp_path: Path) -> None:
    dataset = get(name)
    folder = write(name, tmp_path / name, records=30, seed=1)
    table = dataset.scan(folder, dataset.sampling_rate).table
    record = read_one(dataset, folder, str(table["record_id"].iloc[1]))
    assert set(record.labels) == set(dataset.label_columns)
    figure = plot_ecg(record.values, record.sampling_rate, unit=record.unit)
    assert len(traces(figure)) >= 4
