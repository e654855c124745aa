"""The help texts of both command lines, as Markdown for the page of commands."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from unittest import mock

from eval_harness.cli.eval import main as evaluate
from eval_harness.cli.hub import main as hub

WIDTH = 90  # columns; what a code block of the site shows without scrolling


def verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command that takes no further verb, with its name."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield parser.prog, parser
    for action in inner:
        for name, below in action.choices.items():
            below.prog = f"{parser.prog} {name}"
            yield from verbs(below)


def page() -> str:
    """Return one section for each program and one for each command."""
    parts = []
    # argparse breaks lines for the terminal that it runs in, and colours them for one.
    with mock.patch.dict(os.environ, {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}):
        for program in (evaluate, hub):
            parser = program.build_parser()
            parts.append(f"\n## {parser.prog}\n")
            parts += [f"\n### {name}\n\n```text\n{one.format_help().strip()}\n```\n" for name, one in verbs(parser)]
    return re.sub(r"[ \t]+$", "", "".join(parts), flags=re.MULTILINE)
