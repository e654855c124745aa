"""HTML that is escaped by construction: text becomes markup only through `tag`, and every name passes through it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

VOID = frozenset({"br", "col", "hr", "img", "meta"})
TAG_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9]*")
UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
"""Control characters that HTML forbids, and those that turn the direction of the text around them."""


class Html(str):
    """Markup that is ready: text that was escaped, or elements made by `tag`."""

    __slots__ = ()


def text(value: object) -> Html:
    """Escape a value for element content or an attribute in quotes; markup stays as it is."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(UNSAFE.sub("\ufffd", str(value)), quote=True))


def join(parts: Iterable[object]) -> Html:
    """Concatenate values, text among them escaped; None is left out."""
    return Html("".join(text(part) for part in parts if part is not None))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """Return an element.

    Args:
        name: of the element.
        children: markup, text (escaped), or lists of these, nested or not; None is left out.
        attributes: a trailing underscore is dropped and others become hyphens (`class_`, `stroke_width`); None leaves
            the attribute out, True writes it without a value.

    Raises:
        ValueError: the name is none of an element: names never come from data.
    """
    if not TAG_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an element.")
    written = [
        f" {_attribute(key)}" if value is True else f' {_attribute(key)}="{text(_number(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    ]
    start = f"<{name}{''.join(written)}>"
    if name in VOID:
        return Html(start)
    return Html(f"{start}{join(_flat(children))}</{name}>")


def table(
    head: Iterable[object], rows: Iterable[Iterable[object]], *, caption: object = None, class_: str | None = None
) -> Html:
    """Return a table in a frame that scrolls sideways where the screen is narrow; the first cell of a row heads it.

    Args:
        head: the column headings.
        rows: of cells; a cell that is already a `td` or `th` element is taken as it is.
        caption: shown above, and read out first.
        class_: for the style.
    """
    body = [tag("tr", [_cell(cell, number) for number, cell in enumerate(row)]) for row in rows]
    content = tag(
        "table",
        tag("caption", caption) if caption is not None else None,
        tag("thead", tag("tr", [tag("th", cell, scope="col") for cell in head])),
        tag("tbody", body),
        class_=class_,
    )
    name = re.sub(r"<[^>]*>", "", str(text(caption))) if caption is not None else "table"
    return scroller(content, Html(name))


def scroller(content: Html, name: object) -> Html:
    """Return content in a frame that scrolls sideways by touch, wheel or the arrow keys."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=name)


def details(summary: object, *children: object, open_: bool = False) -> Html:
    """Return content that is folded away until asked for; works without a script and by keyboard."""
    return tag("details", tag("summary", summary), *children, open=open_)


def anchor(name: str) -> str:
    """Return a name as the id of an element."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-").lower() or "part"


def _flat(children: Iterable[object]) -> Iterator[object]:
    for child in children:
        if isinstance(child, list | tuple):
            yield from _flat(child)
        else:
            yield child


def _cell(cell: object, number: int) -> Html:
    if isinstance(cell, Html) and cell.startswith(("<td", "<th")):
        return cell
    return tag("th", cell, scope="row") if number == 0 else tag("td", cell)


def _attribute(name: str) -> str:
    return name if name == "viewBox" else name.rstrip("_").replace("_", "-")


def _number(value: object) -> object:
    """Write coordinates with at most two decimals: they are most of the file."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
