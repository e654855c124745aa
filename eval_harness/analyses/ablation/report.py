"""How an ablation is shown: differences to plain fine-tuning, scores by fraction, validation curves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from eval_harness.analyses.ablation.schema import RESULT_FILE, AblationResult, AblationRow, ablation_rows
from eval_harness.analyses.registry import AnalysisKind
from eval_harness.analyses.studies import METRICS, Interval, distinct_names, fraction_name, reasons
from eval_harness.figures.charts import LEFT, Chart, Forest, Line, Trace, forest, names_legend, trace_chart
from eval_harness.figures.markup import Html, details, scroller, table, tag
from eval_harness.figures.plots import draw_chart, new_figure, write_figure
from eval_harness.figures.svg import NamedAxis, axis
from eval_harness.metrics.registry import MACRO_AUPRC, title_of
from eval_harness.results.schema import Estimate

INTRODUCTION = (
    "Mode post_train with and without its parts: the preview (a linear head is trained first, on the fixed encoder), "
    "and stochastic depth in fine-tuning. Both off is plain fine-tuning from a fresh head. Scores are means over runs "
    "with other seeds; intervals are over test records and runs together, differences are paired."
)
SWITCHES = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}
RIGHT = 372.0


def ablation_part(result: AblationResult, tasks: Collection[str] | None) -> list[Html]:
    """Return the charts and tables of every task and model of an ablation."""
    keys = list(dict.fromkeys((row.task, row.model) for row in result.rows if tasks is None or row.task in tasks))
    names = distinct_names(list(dict.fromkeys(row.model for row in result.rows)))
    # Unset fields stay away: `reason` is there only where an interval is missing.
    why = reasons([row.model_dump(exclude_unset=True) for row in result.rows])
    parts: list[Html | None] = [tag("p", text, class_="soft") for text in (INTRODUCTION, *why)]
    parts.append(tag("p", _settings(result), class_="soft small"))
    for task, model in keys:
        rows = [row for row in result.rows if (row.task, row.model) == (task, model)]
        name = f"{task}, {names[model]}"
        of_metrics = [by_fraction(name, rows, metric, result.fractions) for metric in METRICS]
        parts += [
            tag("h3", name),
            _differences(name, rows),
            names_legend(of_metrics[0].traces),
            tag("div", [_figure(chart) for chart in of_metrics], class_="many pair"),
            details("Validation curves", _curves(name, rows, result.fractions)),
            details("All numbers", _numbers(name, result, task, model)),
        ]
    return [part for part in parts if part is not None]


def _settings(result: AblationResult) -> str:
    protocol: Any = result.settings.get("deviations") or {}
    limit = result.settings.get("limit")
    stages = result.post_training
    return (
        f"{stages.get('stage1_epochs')} + {stages.get('stage2_epochs')} epochs, batch {stages.get('batch_size')}, "
        f"stochastic depth {stages.get('depth_rate')}; seeds {', '.join(map(str, result.seeds))}; "
        f"{100 * result.confidence:g} % intervals of {result.resamples:,} resamples "
        "(of patients, where one has several test records)"
        f"{f'; limit={limit}' if limit else ''}"
        f"{''.join(f'; {name}={value}' for name, value in protocol.items())}."
    )


def _differences(name: str, rows: Sequence[AblationRow]) -> Html | None:
    """Differences to plain fine-tuning in macro AUPRC, by fraction and weights."""
    groups: dict[str, list[Line]] = {}
    for row in rows:
        if row.minus_plain is not None:
            part = "all" if row.fraction == 1 else f"{fraction_name(row.fraction)} of the"
            heading = f"{part} records ({row.records:,.0f}), {_weights(row)} weights"
            difference = estimate(row.minus_plain[MACRO_AUPRC])
            groups.setdefault(heading, []).append(Line(_switches(row), difference, _index(row)))
    if not groups:
        return None
    title = f"{name}: macro AUPRC minus that of plain fine-tuning"
    drawn = forest(Forest(title, "difference of macro AUPRC", list(groups.items()), 0.0))
    caption = "Paired differences with intervals; dashed: no difference. Many are shown and none is adjusted for that."
    return tag("figure", scroller(drawn, title), tag("figcaption", caption), class_="wide")


def _figure(described: Chart, caption: str | None = None) -> Html:
    return tag("figure", trace_chart(described), None if caption is None else tag("figcaption", caption))


def by_fraction(name: str, rows: Sequence[AblationRow], metric: str, fractions: Sequence[float]) -> Chart:
    """Return a score by fraction of the training records."""
    names = tuple(fraction_name(fraction) for fraction in fractions)
    last = len(fractions) - 1
    across = NamedAxis(-0.4, last + 0.4, LEFT, RIGHT, tuple(float(k) for k in range(last + 1)), names)
    title = f"{name}: test {title_of(metric)} by fraction of the training records"
    traces = _traces(rows, metric, fractions)
    caption = f"{name}\ntest {title_of(metric)}"
    return Chart(title, across, "fraction of the training records", title_of(metric), traces, caption=caption)


def _traces(rows: Sequence[AblationRow], metric: str, fractions: Sequence[float]) -> list[Trace]:
    arms = list(dict.fromkeys(row.arm for row in rows))
    traces = []
    for k, arm in enumerate(arms):
        mine = [row for row in rows if row.arm == arm]
        # Arms stand a little apart, or their intervals would cover each other.
        aside = 0.06 * (k - (len(arms) - 1) / 2)
        points = [(fractions.index(row.fraction) + aside, estimate(getattr(row, metric))) for row in mine]
        names = [fraction_name(row.fraction) for row in mine]
        traces.append(Trace(_name(mine[0]), _index(mine[0]), points, dashed=not mine[0].pretrained, point_names=names))
    return traces


def _curves(name: str, rows: Sequence[AblationRow], fractions: Sequence[float]) -> list[Html]:
    charts = [_figure(curves(name, rows, fraction), f"fraction {fraction_name(fraction)}") for fraction in fractions]
    about = "Means over the runs, without intervals, on the records that also chose the epoch. Marks: stage 2 begins."
    return [tag("p", about, class_="soft small"), tag("div", charts, class_="many pair")]


def curves(name: str, rows: Sequence[AblationRow], fraction: float) -> Chart:
    """Return the validation AUPRC by epoch at one fraction; where stage 2 begins is marked."""
    most = max((step.epoch for row in rows for step in row.curve), default=1)
    traces = []
    for row in (row for row in rows if row.fraction == fraction):
        steps = [step for step in row.curve if step.validation_auprc is not None]
        path = [(float(step.epoch), float(step.validation_auprc or 0.0)) for step in steps]
        # Without the preview all epochs are of stage 2, and nothing begins there.
        second = [step for step in steps if step.stage == 2][:1] if row.preview else []
        begins = [(float(step.epoch), Estimate(point=step.validation_auprc)) for step in second]
        said = [f"stage 2 from epoch {step.epoch}" for step in second]
        traces.append(Trace(_name(row), _index(row), begins, path, dashed=not row.pretrained, point_names=said))
    values = [value for trace in traces for _, value in trace.path or ()]
    # A single epoch would make an axis without length.
    across = axis([1.0, float(max(most, 2))], LEFT, RIGHT, room=0.0, whole=True)
    title = f"{name}: macro AUPRC of validation by epoch, fraction {fraction_name(fraction)}"
    upward = axis(values, 210.0, 10.0, count=5)
    caption = f"validation AUPRC\nfraction {fraction_name(fraction)}"
    return Chart(title, across, "epoch", "validation macro AUPRC", traces, upward, caption=caption)


def _numbers(name: str, result: AblationResult, task: str, model: str) -> Html:
    # As in the file: fields that nobody set (`reason`) would become columns without a value.
    content = result.model_dump(exclude_unset=True)
    rows = [row for row in ablation_rows(content) if (row["task"], row["model"]) == (task, model)]
    shown = [[value for key, value in row.items() if key not in ("task", "model")] for row in rows]
    head = [key for key in rows[0] if key not in ("task", "model")]
    return table(head, shown, caption=f"{name}: scores and paired differences, with intervals", class_="figures")


def estimate(interval: Interval) -> Estimate:
    """Return an interval of a study as an estimate."""
    return Estimate(point=interval.point, low=interval.low, high=interval.high)


def _switches(row: AblationRow) -> str:
    parts = [word for word, on in (("preview", row.preview), ("stochastic depth", row.stochastic_depth)) if on]
    return " + ".join(parts) or "plain fine-tuning"


def _weights(row: AblationRow) -> str:
    return "pretrained" if row.pretrained else "random"


def _name(row: AblationRow) -> str:
    return f"{_switches(row)}, {_weights(row)} weights"


def _index(row: AblationRow) -> int:
    return SWITCHES[row.preview, row.stochastic_depth]


def write_plot(result: AblationResult, path: Path) -> None:
    """Draw a result, one row of charts per task and model, and write it as PNG."""
    keys = list(dict.fromkeys((row.task, row.model) for row in result.rows))
    columns = len(METRICS) + len(result.fractions)
    figure = new_figure(4.2 * columns, 4.4 * max(len(keys), 1))
    grid = figure.subplots(max(len(keys), 1), columns, squeeze=False)
    names = distinct_names(list(dict.fromkeys(model for _, model in keys)))
    for axes, (task, model) in zip(grid, keys, strict=False):
        rows = [row for row in result.rows if (row.task, row.model) == (task, model)]
        name = f"{task}, {names[model]}"
        charts = [by_fraction(name, rows, metric, result.fractions) for metric in METRICS]
        for panel, described in zip(axes, charts + [curves(name, rows, f) for f in result.fractions], strict=True):
            draw_chart(panel, described, legend=panel is axes[0])
    figure.supxlabel("\n".join(reasons(result.model_dump(exclude_unset=True))), fontsize=8)
    write_figure(figure, path.with_suffix(""), ("png",))


ANALYSIS = AnalysisKind(
    RESULT_FILE,
    AblationResult,
    lambda result: "Ablation of post-training",
    ablation_part,
    lambda result: {row.task for row in result.rows},
)
