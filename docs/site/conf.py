"""Sphinx's configuration: the Markdown pages as they lie in the repository, and the docstrings of the public names.

The site has the layout of the repository (README.html, docs/running.html), so that a relative link that works on a git
host works here. `make docs` builds it into build/site, with warnings as errors.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from ecg_hub import __version__  # noqa: E402
from eval_harness.cli.eval import main as evaluate  # noqa: E402
from eval_harness.cli.hub import main as hub  # noqa: E402

project, author, copyright = "ecg-hub", "The ecg-hub authors", "The ecg-hub authors, Apache-2.0"
version = release = __version__
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "ecg_hub/models/*/card.md"]
exclude_patterns = ["build", "results", ".venv", "mutants"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
nitpicky = False

COMMANDS = "docs/reference/commands"
WIDTH = 90  # columns of help texts; what a code block of the site shows without scrolling

# The anchors that a git host gives to headings.
myst_heading_anchors = 4
highlight_language = "text"
# A copied command has no prompt and none of its output.
copybutton_prompt_text, copybutton_copy_empty_lines = "$ ", False
copybutton_only_copy_prompt_lines = True

# Docstrings write code as Markdown does, in single backticks.
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"

html_theme, html_title = "furo", "ecg-hub"
html_static_path, html_css_files = [str(HERE / "style.css")], ["style.css"]
html_copy_source = html_show_sourcelink = html_show_sphinx = False
html_domain_indices = False


def navigation() -> dict[str, list[tuple[str, str | None]]]:
    """Return the groups: (page, pattern of the pages below it)."""
    groups = yaml.safe_load((HERE / "navigation.yaml").read_text())
    return {
        title: [next(iter(entry.items())) if isinstance(entry, dict) else (entry, None) for entry in entries]
        for title, entries in groups.items()
    }


def _toctree(pages: list[str], caption: str = "") -> str:
    head = f":caption: {caption}\n" if caption else ""
    return "\n".join(["\n```{toctree}", f"{head}:hidden:", ":glob:", "", *(f"/{page}" for page in pages), "```\n"])


def _verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command that takes no further verb, with its name."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield parser.prog, parser
    for action in inner:
        for name, below in action.choices.items():
            below.prog = f"{parser.prog} {name}"
            yield from _verbs(below)


def _help_texts() -> str:
    """Return one section for each program and one for each command, as Markdown."""
    parts = []
    # argparse breaks lines for the terminal that it runs in, and colours them for one.
    with mock.patch.dict(os.environ, {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}):
        for program in (evaluate, hub):
            parser = program.build_parser()
            parts.append(f"\n## {parser.prog}\n")
            parts += [f"\n### {name}\n\n```text\n{one.format_help().strip()}\n```\n" for name, one in _verbs(parser)]
    return re.sub(r"[ \t]+$", "", "".join(parts), flags=re.MULTILINE)


def _add_navigation(app: Sphinx, page: str, content: list[str]) -> None:
    """Append the page's part of the navigation, which a git host would show as code."""
    groups = navigation()
    if page == root_doc:
        content[0] += "".join(_toctree([name for name, _ in group], title) for title, group in groups.items())
    if page == COMMANDS:
        content[0] += _help_texts()
    content[0] += "".join(
        _toctree([below]) for group in groups.values() for name, below in group if name == page and below
    )


def _hide_signature(app: Sphinx, what: str, *_: object) -> tuple[str, str] | None:
    """Leave a class without its arguments, which its attributes say again, one by one and with their meaning."""
    return ("", "") if what == "class" else None


def _mark_up(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Add what readers without a mouse or without sight need and theme and writer leave out."""
    if "furo_navigation_tree" in context:
        tree = context["furo_navigation_tree"]
        context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')
    if "body" in context:
        # A block wider than the page is scrolled with the keys; a list of arguments is no list of definitions.
        body = context["body"].replace("<pre>", '<pre tabindex="0">')
        body = body.replace('class="table-wrapper', 'tabindex="0" class="table-wrapper')
        lists = re.compile(r"<dl>\s*(<dd>.*?)</dl>", re.DOTALL)
        context["body"] = lists.sub(lambda found: f"<div>{found[1].replace('dd>', 'div>')}</div>", body)


def _add_index(app: Sphinx, error: Exception | None) -> None:
    """Give the front page the name that servers look for; README.html stays, pages link to it."""
    if error is None and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> None:
    """Connect what the build calls."""
    app.connect("source-read", _add_navigation)
    app.connect("autodoc-process-signature", _hide_signature)
    # After the theme's own, which makes the tree.
    app.connect("html-page-context", _mark_up, priority=900)
    app.connect("build-finished", _add_index)
