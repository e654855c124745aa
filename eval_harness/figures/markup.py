"""HTML that is escaped by construction, and the style sheet of the report.

Colours of series are darker relatives of those of Okabe and Ito (2008), each at a contrast of 3:1 or more against the
page; marks differ in shape too. Scores are blue where better than chance and orange where worse.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

VOID = frozenset({"br", "col", "hr", "img", "meta"})
TAG_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9]*")
UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
"""Control characters that HTML forbids, and those that turn the direction of the text around them."""


STATES = {
    "clean": "clean",
    "seen-train": "seen in pre-training (training folds only)",
    "seen": "seen in pre-training",
    "unknown": "unknown",
}
"""Contamination of a test set -> its word."""


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
    """Return an element."""
    # Values are escaped, a name is written as it is: so nothing else than a name may come in here.
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
    """Return a table in a frame that scrolls sideways where the screen is narrow; the first cell of a row heads it."""
    body = [tag("tr", [_cell(cell, number) for number, cell in enumerate(row)]) for row in rows]
    content = tag(
        "table",
        tag("caption", caption) if caption is not None else None,
        tag("thead", tag("tr", [tag("th", cell, scope="col") for cell in head])),
        tag("tbody", body),
        class_=class_,
    )
    # An attribute holds no elements: markup of a caption is taken out of the label, its escapes stay.
    name = re.sub(r"<[^>]*>", "", str(text(caption))) if caption is not None else "table"
    return scroller(content, Html(name))


def scroller(content: Html, name: object) -> Html:
    """Return content in a frame that scrolls sideways by touch, wheel or the arrow keys."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=name)


def details(summary: object, *children: object, open_: bool = False) -> Html:
    """Return content that is folded away until asked for; works without a script and by keyboard."""
    return tag("details", tag("summary", summary), *children, open=open_)


def state(name: str) -> Html:
    """Return the contamination state as a coloured word."""
    return tag("span", STATES.get(name, name), class_=f"state {name}")


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
    # A caller that needs classes or a span of columns hands over the whole cell.
    if isinstance(cell, Html) and cell.startswith(("<td", "<th")):
        return cell
    return tag("th", cell, scope="row") if number == 0 else tag("td", cell)


def _attribute(name: str) -> str:
    # SVG tells capitals apart, so its viewBox stays; the other underscores make Python's words (`class_`) names.
    return name if name == "viewBox" else name.rstrip("_").replace("_", "-")


def _number(value: object) -> object:
    """Write coordinates with at most two decimals: they are most of the file."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


LIGHT = """
--page:#ffffff;--ink:#1b1f24;--soft:#59636e;--rule:#d3d9df;--panel:#f5f7f9;--link:#0b5cad;
--s0:#0072b2;--s1:#c2410c;--s2:#00795a;--s3:#a6397f;--s4:#7a6000;--s5:#4b4b9e;
--warn:#8a3b00;--warnpage:#fff4e5;--better:0,98,168;--worse:204,85,0;--best:#0b5cad;
"""
DARK = """
--page:#14181d;--ink:#e6eaee;--soft:#a3adb8;--rule:#38414b;--panel:#1d232a;--link:#7ab8ff;
--s0:#5bb5f0;--s1:#ff8f56;--s2:#3fcf9f;--s3:#f08cc8;--s4:#e3c542;--s5:#b0aeff;
--warn:#ffc48a;--warnpage:#33240f;--better:64,150,220;--worse:240,130,50;--best:#7ab8ff;
"""
RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:auto}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main,header,footer,nav{max-width:1160px;margin:0 auto;padding:0 20px}
h1{font-size:1.75rem;line-height:1.2;margin:1.4em 0 .3em}
h2{font-size:1.35rem;line-height:1.25;margin:2.4em 0 .4em;padding-top:.5em;border-top:2px solid var(--rule)}
h3{font-size:1.05rem;margin:1.8em 0 .3em}
p,ul{margin:.4em 0;max-width:78ch}
a{color:var(--link)}
code,.id{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.9em}
.soft{color:var(--soft)} .small{font-size:.86rem}
.notice{border-left:4px solid var(--warn);background:var(--warnpage);padding:.5em .9em;margin:.7em 0;max-width:none}
.notice strong{color:var(--warn)}
nav ul{columns:2 16em;padding-left:1.1em}
.skip{position:absolute;left:-999px}
.skip:focus{left:8px;top:8px;background:var(--page);padding:.4em .8em;border:2px solid var(--link)}
.scroll{overflow-x:auto;margin:.5em 0}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.2em 0;font-size:.86rem}
th,td{text-align:left;vertical-align:top;padding:.28em .7em .28em 0;border-bottom:1px solid var(--rule)}
thead th{vertical-align:bottom;color:var(--soft);font-weight:600;border-bottom:2px solid var(--rule)}
tbody th{font-weight:500;position:sticky;left:0;background:var(--page);z-index:1}
td.num,th.num{text-align:right;white-space:nowrap}
td.ci{white-space:nowrap} td.ci span{display:block;color:var(--soft);font-size:.92em}
td.best{font-weight:650} td.best span{font-weight:400}
.figures td{white-space:nowrap}
thead th{max-width:13em;overflow-wrap:break-word}
.badge{font-size:.78rem;font-weight:600;color:var(--best);white-space:nowrap}
.state{white-space:nowrap} .state.seen,.state.seen-train,.state.unknown{color:var(--warn);font-weight:600}
.bad{color:var(--warn)}
details{margin:.5em 0} summary{cursor:pointer;color:var(--link);padding:.25em 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15em 1em;margin:.5em 0;font-size:.92rem}
dt{color:var(--soft)} dd{margin:0;overflow-wrap:anywhere}
figure{margin:.8em 0} figcaption{color:var(--soft);font-size:.86rem;max-width:78ch}
svg{max-width:100%;height:auto;display:block}
.key{display:inline-block;max-width:none;vertical-align:-.15em;margin-right:.3em}
.name{white-space:nowrap}
th.name{white-space:normal;min-width:14em;max-width:22em;overflow-wrap:anywhere}
.wide svg{min-width:560px}
.many{display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:1em 1.2em}
.many figure{margin:0}
.many.pair{grid-template-columns:repeat(auto-fit,minmax(320px,480px))}
.legend{display:flex;flex-wrap:wrap;gap:.2em 1.2em;font-size:.86rem;list-style:none;padding:0;max-width:none}
.legend li{display:flex;align-items:center;gap:.4em} .legend svg{flex:none}
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:var(--ink)}
text.tick,text.axis,text.faint{fill:var(--soft)} text.strong{font-weight:650} text.tick{font-size:11px}
.grid{stroke:var(--rule);stroke-width:1;opacity:.65} .chance{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:4 3}
.whisker{fill:none;stroke-width:2} .curve{fill:none;stroke-width:1.8;stroke-linejoin:round}
.curve.dashed{stroke-dasharray:6 4} .shade{opacity:.2}
.cells{fill:rgb(var(--better))} .edge{stroke:var(--ink);stroke-width:1.2} text.oncell{fill:var(--ink)}
text.onfull{fill:var(--page)}
.mark{stroke:var(--page);stroke-width:1} .bar{fill:var(--soft);opacity:.45} .ring{fill:none;stroke-width:1.6}
.band{fill:var(--panel)}
.heat td{padding:.2em .5em;border:1px solid var(--page);white-space:nowrap}
.heat td.num{padding-left:1em} .heat tbody th{border:1px solid var(--page);border-left:0;max-width:22em}
.heat tbody tr:hover{background:var(--panel)}
.heat td.cell span{display:block;font-size:.82em;opacity:.8}
.heat .share{display:block;height:4px;min-width:1px;background:var(--soft);opacity:.7;margin:.25em 0 0 auto}
.ramp{display:inline-block;width:9em;height:.9em;vertical-align:-.1em;border:1px solid var(--rule)}
.ecg{border:1px solid var(--rule);background:#fff} .ecg img{display:block;width:100%;min-width:620px;height:auto}
footer{margin-top:3em;border-top:2px solid var(--rule);padding-top:.6em;padding-bottom:2em;color:var(--soft);
font-size:.86rem}
@media (max-width:600px){body{font-size:15px} main,header,footer,nav{padding:0 12px} h1{font-size:1.4rem}
nav ul{columns:1} dl{grid-template-columns:1fr;gap:0} dd{margin-bottom:.4em}}
@media print{body{font-size:10pt} main,header,footer,nav{max-width:none;padding:0} .skip,nav{display:none}
.scroll{overflow:visible} tbody th{position:static} table{font-size:8pt} a{color:inherit;text-decoration:none}
h2{break-before:page;border:0} h2.first,h3,caption{break-after:avoid} h2.first{break-before:auto}
tr,figure,.ecg{break-inside:avoid} thead{display:table-header-group}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""


def style_sheet() -> str:
    """Return the whole style sheet."""
    series = "".join(
        f".s{k}{{color:var(--s{k})}}.mark.s{k},.shade.s{k}{{fill:var(--s{k})}}.mark.open.s{k}{{fill:var(--page);stroke:var(--s{k});stroke-width:1.8}}"
        f".whisker.s{k},.curve.s{k},.ring.s{k}{{stroke:var(--s{k})}}"
        for k in range(6)
    )
    return (
        f":root{{color-scheme:light dark;{LIGHT}}}"
        # On screen alone: printed, the dark style would be a page of ink.
        f"@media screen and (prefers-color-scheme:dark){{:root{{{DARK}}}}}{RULES}{series}"
    )
