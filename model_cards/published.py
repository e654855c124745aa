"""The section of a card that quotes the published scores, with what is known about them."""

from __future__ import annotations

from ecg_hub.catalog import ModelEntry
from eval_harness.results.published import Flag, Score, scores, study

MODES = ("linear", "frozen", "finetune", "scratch")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def published_section(entry: ModelEntry) -> str:
    """Return the published scores of a model as Markdown, or an empty string if there are none.

    Args:
        entry: catalogue entry of the model.
    """
    own = [score for score in scores() if score.model == entry.alias]
    if not own:
        return ""
    modes = [mode for mode in MODES if any(score.mode == mode for score in own)]
    common = [flag for flag in _flags(own) if all(flag in score.flags for score in own)]
    letters = {flag.name: _LETTERS[k] for k, flag in enumerate(flag for flag in _flags(own) if flag not in common)}
    cells = {(score.task, score.mode): _cell(score, letters) for score in own}
    lines = [_introduction(), "", f"| task | {' | '.join(modes)} |", f"|---|{'---:|' * len(modes)}"]
    for task, title in study().tasks.items():
        mark = " (error)" if task in study().regression else ""
        lines.append(f"| {title}{mark} | {' | '.join(cells.get((task, mode), '') for mode in modes)} |")
    notes = [f"- {letters.get(flag.name, 'all rows')}: **{flag.severity}**. {flag.text}" for flag in _flags(own)]
    caveats = [f"- all intervals: {caveat}" for caveat in study().caveats]
    return "\n".join([*lines, "", *notes, *caveats])


def _introduction() -> str:
    paper = study()
    return (
        f"Made by the authors of the benchmark, not with these files: {paper.authors},\n"
        f"[{paper.title}]({paper.paper}),\n{paper.venue}; {paper.source}.\n"
        "Macro AUROC, higher is better; tasks marked (error): mean absolute error of z-scores, lower is better;\n"
        "95 % intervals of 1,000 resamples. Letters point to the notes below: **wrong** means that a row is not what\n"
        "its name says, **doubtful** that it may not be."
    )


def _flags(own: list[Score]) -> list[Flag]:
    touched = {flag.name for score in own for flag in score.flags}
    return [flag for flag in study().flags.values() if flag.name in touched]


def _cell(score: Score, letters: dict[str, str]) -> str:
    marks = "".join(f" {letters[flag.name]}" for flag in score.flags if flag.name in letters)
    return f"{score.point:.3f} ({score.low:.3f} to {score.high:.3f}){marks}"
