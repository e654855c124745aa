"""The page: one HTML file with everything in it, readable without a script, on a phone and by keyboard."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files

from ecg_hub.utils.text import number_of
from eval_harness.figures.markup import Html, join, tag, text
from eval_harness.leaderboard import phrases
from eval_harness.leaderboard.board import Board, Tab
from eval_harness.leaderboard.plots import places_chart, size_chart
from eval_harness.leaderboard.ranking import Ranks
from eval_harness.leaderboard.table import View, table

NOT_A_DEVICE = "Research software, not a medical device: no number here says that a model is fit for use with patients."
NO_PLACES = tag("p", "No two rows computed here are complete in two categories: no places to draw.", class_="soft")
SIZES = {"": "any size", "-10": "up to 10 M", "-50": "up to 50 M", "-100": "up to 100 M", "100": "over 100 M"}


def page(board: Board, ranks: Ranks, link: Callable[[str], str], title: str = "ECG leaderboard") -> str:
    """Return the page."""
    view = View(board, ranks, link)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="description", content=f"{title}. {NOT_A_DEVICE}"),
        tag("title", title),
        tag("style", Html(_asset("page.css"))),
        # In the head: what works only with the script is hidden or shown before anything is drawn.
        tag("script", Html("document.documentElement.className='js'")),
    )
    body = tag(
        "body",
        tag("a", "Skip to the scores", href="#scores", class_="skip"),
        tag("header", tag("h1", title), _summary(board), _warnings(board)),
        tag(
            "main",
            _tabs(board),
            _filters(board),
            [_section(view, tab) for tab in board.tabs],
            _legend(board),
            _published(board),
            _problems(board),
            id="scores",
        ),
        tag("footer", tag("p", NOT_A_DEVICE), tag("p", f"Built from {board.source}. The same numbers as JSON: ",
            tag("a", "leaderboard.json", href="leaderboard.json"), ".")),
        tag("div", id="tip", role="tooltip", hidden=True),
        tag("script", _sets(board), type="application/json", id="sets"),
        tag("script", Html(_asset("page.js"))),
    )  # fmt: skip
    return f"<!doctype html>\n{tag('html', head, body, lang='en', class_='no-js')}\n"


@cache
def _asset(name: str) -> str:
    """A file of the package that is put into the page as it is."""
    return (files("eval_harness.leaderboard") / "assets" / name).read_text(encoding="utf-8")


def _sets(board: Board) -> Html:
    """Set -> numbers of its columns. Names of suites and numbers only, so that nothing in it can end the element."""
    number_of = {column.name: number for number, column in enumerate(board.columns)}
    return Html(json.dumps({tasks.name: sorted(number_of[name] for name in tasks.tasks) for tasks in board.sets}))


def _summary(board: Board) -> Html:
    own = [row for tab in board.tabs for row in tab.rows if not row.published]
    # Published rows are not counted: nobody computed them again.
    cells = [cell for row in own for cell in row.cells.values()]
    again = sum(cell.state == "recomputed" for cell in cells)
    # The first set is the paper's count; which one a reader chooses later changes no sentence here.
    counted = board.sets[0]
    categories = len({column.category for column in board.columns})
    # By weights, so that one id with two revisions is two models.
    models = len({(row.id, row.revision, row.weights_sha256) for row in own})
    return tag(
        "p",
        f"Encoders of 12-lead ECGs on {len(counted.tasks)} tasks in {categories} categories. {models} "
        f"{'model' if models == 1 else 'models'}, {len(cells):,} scores; {again:,} of them were computed again from "
        "their predictions when this page was built. ",
        tag("a", "How to read it", href="#legend"),
        ".",
        class_="lead",
    )


def _warnings(board: Board) -> Html:
    head, _, rest = NOT_A_DEVICE.partition(":")
    parts = [tag("p", tag("strong", f"{head}:"), rest, class_="notice")]
    if board.synthetic:
        said = (
            "Every score computed here is of simulated data: this page is a test, and its ranks say nothing of models."
        )
        parts.append(tag("p", tag("strong", said), class_="notice"))
    if board.problems:
        count = len(board.problems)
        said = f"{count} {'file is' if count == 1 else 'files are'} refused and not shown: "
        parts.append(tag("p", said, tag("a", "see why", href="#refused"), ".", class_="notice"))
    return join(parts)


def _tabs(board: Board) -> Html:
    links = [tag("a", tab.mode, href=f"#mode-{tab.mode}", title=tab.title) for tab in board.tabs]
    return tag("nav", links, id="tabs", aria_label="Training mode")


def _filters(board: Board) -> Html:
    """The controls; they do nothing without the script and are hidden then."""
    rows = [row for tab in board.tabs for row in tab.rows]
    licences = sorted({row.licence or "" for row in rows if not row.baseline})
    form = tag(
        "form",
        tag("label", tag("span", "Find"), tag("input", type="search", name_="find", placeholder="model")),
        _select("Tasks", "set", {tasks.name: tasks.title for tasks in board.sets}),
        _select("Size", "size", SIZES),
        _select("Licence", "licence", {"": "any licence"} | {name: name for name in licences}),
        tag(
            "fieldset",
            tag("legend", "Rows"),
            _check("clean", "data sets not in the pre-training", False),
            _check("complete", "complete", False),
            _check("plain", "protocol unchanged", False),
            _check("baselines", "with baselines", True),
            _check("published", "with published rows", True),
        ),
        tag("button", "Reset", type="reset"),
        id="filters",
        aria_label="Filters",
    )
    return tag("details", tag("summary", "Filters"), form, id="controls", open=True, hidden=True)


def _select(title: str, name: str, options: dict[str, str]) -> Html:
    listed = [tag("option", shown, value=value) for value, shown in options.items()]
    return tag("label", tag("span", title), tag("select", listed, name_=name))


def _check(name: str, title: str, on: bool) -> Html:
    return tag("label", tag("input", type="checkbox", name_=name, checked=on), title)


def _section(view: View, tab: Tab) -> Html:
    figures = [
        tag("div", size_chart(tab, tasks, view.ranks), class_="figures", data_set=tasks.name, hidden=number > 0)
        for number, tasks in enumerate(view.board.sets)
    ]
    # Apart, because published rows have places among themselves only.
    places = [places_chart(view.board, tab, view.ranks, published) for published in (False, True)]
    ranked = view.ranks.counts.get((tab.mode, view.board.sets[0].name, False), 0)
    own = number_of(sum(not row.published for row in tab.rows), "row")
    return tag(
        "section",
        tag("h2", tab.mode),
        tag("p", f"{tab.title[:1].upper()}{tab.title[1:]}.", class_="soft"),
        tag(
            "p",
            f"{own} computed here, {ranked} complete and ranked.",
            class_="count",
            aria_live="polite",
        ),
        table(view, tab),
        tag("div", tag("div", figures), tag("div", places[0] or NO_PLACES), class_="charts"),
        tag("details", tag("summary", "Places of the published rows"), places[1], class_="pub") if places[1] else None,
        id=f"mode-{tab.mode}",
        class_="tab",
    )


def _legend(board: Board) -> Html:
    marks = [(tag("b", sign), f"{meaning[:1].upper()}{meaning[1:]}.") for sign, meaning in phrases.MARKS.values()]
    parts = [(tag("b", word, class_="part"), f"{meaning}.") for word, meaning, _ in phrases.PARTS.values()]
    terms: list[tuple[object, object]] = [
        *marks,
        *parts,
        ("–", "Not scored. A gap is a gap: nothing is filled in, and a row with one is neither ranked nor averaged."),
        (
            tag("b", "bold"),
            "The best score computed here in its column; its details say which others tie with it. Darker cells are "
            "better in their column.",
        ),
        (
            "Interval",
            "Point at a score, or go to it with the arrow keys, for its 95 % interval, the ties, and "
            "everything that differs from the protocol. A score leads to its file.",
        ),
        (
            "Ties",
            "Two models tie on a task when their difference, on the same records and resamples, is not distinguished "
            "from 0: p (Holm), adjusted for all pairs of the task, is 0.05 or more. So of equal models any two are "
            "distinguished on at most 5 % of tasks, however many models there are; without the adjustment, as "
            "published, the best of eight would be on half of them. Patients are drawn where one has several test "
            "records, otherwise records. All that takes the predictions of both. Where they are missing no tie is "
            "claimed: overlapping intervals are no proof of one, and intervals apart are no proof of the contrary.",
        ),
        (
            "Rank",
            "The place by mean rank over the chosen tasks, among complete rows. On a task the best and all that tie "
            "with it share a rank where all complete rows can be paired; elsewhere the order of the points counts, "
            "which says nothing of chance. The place is an order and no test: of equal models one comes first. "
            "Published rows have places of their own, in brackets, among themselves.",
        ),
        ("Mean", "Over complete rows only; AUROC and MAE apart, since an error of z-scores is no area."),
        (
            tag("span", "baseline", class_="badge b-baseline"),
            "No pre-training: random weights, age, sex and amplitudes alone (trivial), or a supervised model trained "
            "from scratch. Those of another mode stand beside for comparison and are not ranked.",
        ),
        (
            tag("span", "published", class_="badge b-published"),
            "Copied from the tables of the paper, with what is known to be wrong about them; computed by others.",
        ),
    ]
    if any(row.synthetic for tab in board.tabs for row in tab.rows):
        shown = tag("span", "simulated data", class_="badge b-simulated")
        terms.append((shown, "A test with simulated ECGs; says nothing of the model, never ranked with real data."))
    listed = [join([tag("dt", term), tag("dd", meaning)]) for term, meaning in terms]
    return tag("section", tag("h2", "How to read this"), tag("dl", listed, class_="legend"), id="legend")


def _published(board: Board) -> Html | None:
    if not any(row.published for tab in board.tabs for row in tab.rows):
        return None
    from eval_harness.results.published import study

    paper = study()
    flags = [
        tag("li", tag("b", f"{phrases.SEVERITIES[flag.severity]}: "), _whom(flag), flag.text)
        for flag in paper.flags.values()
    ]
    return tag(
        "section",
        tag("h2", "The published rows"),
        tag("p", f"{paper.authors}: ", tag("a", paper.title, href=paper.paper), f" ({paper.venue})."),
        tag("ul", [tag("li", caveat) for caveat in paper.caveats], flags),
        id="published",
    )


def _whom(flag: object) -> str:
    models = ", ".join(sorted(getattr(flag, "models", ())))
    modes = ", ".join(sorted(getattr(flag, "modes", ())))
    return f"{models}{f' ({modes})' if modes else ''}. " if models else ""


def _problems(board: Board) -> Html | None:
    if not board.problems and not board.notes:
        return None
    refused = [
        # A repository full of damaged files must not make a page of many megabytes.
        join([tag("dt", tag("code", path)), tag("dd", problem)])
        for path, problem in list(board.problems.items())[:200]
    ]
    more = len(board.problems) - len(refused)
    return tag(
        "section",
        tag("h2", "Refused"),
        tag("p", "Files of the repository that contradict themselves or their predictions; they count nowhere.")
        if refused
        else None,
        tag("dl", refused),
        tag("p", f"And {more} more.") if more > 0 else None,
        tag("ul", [tag("li", text(note)) for note in board.notes]) if board.notes else None,
        id="refused",
    )
