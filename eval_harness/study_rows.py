"""The tables of both studies, one dictionary per row: printed by the command lines, shown by the report."""

from __future__ import annotations

from typing import Any

from eval_harness.studies import fraction_name, shown


def ablation_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """The table: scores, and the paired difference to plain fine-tuning from the same weights."""
    words = {True: "on", False: "off"}
    return [
        {
            "task": row["task"],
            "model": row["model"],
            "fraction": fraction_name(row["fraction"]),
            "records": f"{row['records']:g}",
            "weights": "pretrained" if row["pretrained"] else "random",
            "preview": words[row["preview"]],
            "depth": words[row["stochastic_depth"]],
            "runs": str(row["runs"]),
            "macro AUROC": shown(row["macro_auroc"]),
            "macro AUPRC": shown(row["macro_auprc"]),
            "AUPRC minus plain": shown(row["minus_plain"]["macro_auprc"]) if row["minus_plain"] else "-",
        }
        for row in content["rows"]
    ]


def point_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """The scores of a label-efficiency study at every fraction."""
    return [
        {
            **_about(entry),
            "fraction": fraction_name(point["fraction"]),
            "records": f"{point['records']:g}",
            "runs": str(len(point["macro_auroc_by_run"])),
            "macro AUROC": shown(point["macro_auroc"]),
            "macro AUPRC": shown(point["macro_auprc"]),
        }
        for entry in content["entries"]
        for point in entry["points"]
    ]


def curve_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """The parameters of the fitted curves, or why there is none."""
    rows = []
    for entry in content["entries"]:
        curve = entry["curve"]
        if "reason" in curve:
            rows.append({**_about(entry), "C": "-", "alpha": "-", "L0": "-", "note": curve["reason"]})
            continue
        note = "" if curve["falls"] else "the loss does not fall with more records"
        note = "alpha is at the end of its range" if curve["alpha_at_bound"] else note
        rows.append({**_about(entry), **{name: shown(curve[name]) for name in ("C", "alpha", "L0")}, "note": note})
    return rows


def ratio_rows(content: dict[str, Any]) -> list[dict[str, str]]:
    """r(N) at every number of records of the baseline."""
    rows = []
    for entry in content["ratios"]:
        for row in entry["at"]:
            note = row.get("reason") or ("" if row["within_measured"] else "beyond the measured sizes")
            number = "-" if row["records"] is None else f"{row['records']:g}"
            value = shown(row["r"]) if "r" in row else "-"
            rows.append({**_about(entry), "N of the baseline": number, "r(N)": value, "note": note})
    return rows


def _about(entry: dict[str, Any]) -> dict[str, str]:
    return {"task": entry["task"], "model": entry["model"], "mode": entry["mode"]}
