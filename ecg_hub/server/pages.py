"""The hub's pages: plain HTML, no script, everything of others escaped; and the tags of a README.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from html import escape
from typing import Any

from starlette.responses import Response

# No script runs on the hub's own pages, whatever slips into them.
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
STYLE = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --paper: #fff; --ink: #1a1a1a; --link: #0b57a8; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e8e8e8; --link: #8ab8f0; } }
html { background: var(--paper); color: var(--ink); }
a { color: var(--link); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 0 1rem 3rem; }
header { display: flex; flex-wrap: wrap; gap: 1rem; padding: 1rem 0; border-bottom: 1px solid var(--line); }
header strong { margin-right: auto; }
table { border-collapse: collapse; display: block; max-width: 100%; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code, pre { background: var(--soft); border-radius: 4px; font-size: .9em; padding: .1em .3em; }
pre { overflow-wrap: anywhere; padding: .8rem; white-space: pre-wrap; }
pre code { background: none; padding: 0; }
img { max-width: 100%; }
.tags span { background: var(--soft); border-radius: 1em; font-size: .85em; margin-right: .4em; padding: .1em .7em; }
.muted { opacity: .85; }
article { border-top: 1px solid var(--line); margin-top: 1.5rem; }
input { font: inherit; padding: .2rem .5rem; }
"""
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")


def page(title: str, body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a whole page."""
    content = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><link rel="stylesheet" href="/static/hub.css"></head><body>
<header><strong><a href="/">ECG hub</a></strong><a href="/models">Models</a><a href="/datasets">Datasets</a>
<a href="/spaces">Spaces</a></header><main>
{body}
</main></body></html>
"""
    security = {"Content-Security-Policy": CSP, "Referrer-Policy": "same-origin", "Cache-Control": "private, no-cache"}
    return Response(
        content.encode("utf-8", "replace"),
        status,
        {**security, **(headers or {})},
        media_type="text/html; charset=utf-8",
    )


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], numbers: Iterable[int] = ()) -> str:
    """Return a table; the cells are HTML, the column names plain text."""
    right, names = set(numbers), list(columns)
    kind = [' class="number"' if index in right else "" for index in range(len(names))]
    head = "".join(f'<th scope="col"{kind[index]}>{escape(name)}</th>' for index, name in enumerate(names))
    lines = [
        "<tr>" + "".join(f"<td{kind[index]}>{cell}</td>" for index, cell in enumerate(row)) + "</tr>" for row in rows
    ]
    return f'<table tabindex="0"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def link(href: str, text: str) -> str:
    """Return a link; both are plain text."""
    return f'<a href="{escape(href)}">{escape(text)}</a>'


def tags(words: Iterable[str]) -> str:
    """Return tags as a line."""
    return f'<p class="tags">{"".join(f"<span>{escape(word)}</span> " for word in words)}</p>'


def size_text(size: int) -> str:
    """Return a size in bytes as people read it: 1.4 MB."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def render_markdown(text: str, files: str, images: str) -> str:
    """Return Markdown as HTML: HTML inside it is shown as text, scripts are impossible."""
    tokens = _markdown().parse(text)
    for token in tokens:
        # Columns to the right; the page's policy lets no style attribute through.
        if "right" in str(token.attrs.pop("style", "")):
            token.attrSet("class", "number")
        if token.type == "table_open":
            token.attrSet("tabindex", "0")  # wide ones scroll, by keyboard as well
        for child in token.children or ():
            for name, base in (("href", files), ("src", images)):
                target = child.attrGet(name)
                if isinstance(target, str) and target and not _SCHEME.match(target) and target[0] not in "/#":
                    child.attrSet(name, base + target.removeprefix("./"))
            if child.type == "link_open":
                # A page that somebody's README links to learns nothing of this one and cannot steer it.
                child.attrSet("rel", "nofollow noopener noreferrer")
    return str(_markdown().renderer.render(tokens, _markdown().options, {}))


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


MAX_CARD = 1 << 19  # bytes of a README.md that are read


def card_tags(card: dict[str, Any], kind: str) -> list[str]:
    """Return the tags that a repository is listed and filtered by."""
    tags = [*_texts(card.get("tags"))]
    if kind == "models":
        tags += [*_texts(card.get("library_name")), *_texts(card.get("pipeline_tag"))]
    prefixes = ("license", "datasets", "base_model", "task_categories", "task_ids", "size_categories", "language")
    for key in prefixes:
        prefix = {"datasets": "dataset"}.get(key, key)
        bare = key == "language" and kind == "models"
        tags += [text if bare else f"{prefix}:{text}" for text in _texts(card.get(key))]
    return list(dict.fromkeys(tags))


def _texts(value: Any) -> Iterator[str]:
    items: Iterable[Any] = value if isinstance(value, list) else [value]
    return (str(item) for item in items if isinstance(item, str | int | float) and not isinstance(item, bool))
