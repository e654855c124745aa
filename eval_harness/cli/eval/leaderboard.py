"""`ecg-eval leaderboard`: check a results repository and build its page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ecg_hub.errors import InputError
from ecg_hub.utils.remote import bring, place, publish
from ecg_hub.utils.terminal import say
from eval_harness.cli.common import add_json_flag

if TYPE_CHECKING:
    from eval_harness.leaderboard.site import Site


SHOWN = 30


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "leaderboard",
        help="check published results and build the leaderboard page",
        description="Read a results repository, check every entry, compute again what has predictions, and write one "
        "static page with its numbers as JSON. See docs/leaderboard.md.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--repo", metavar="ORG/NAME", help="results dataset on the hub at $HF_ENDPOINT")
    source.add_argument("--folder", type=Path, metavar="DIR", help="the same files in a folder; asks no network")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder of the page")
    parser.add_argument("--check", action="store_true", help="exit with 1 when an entry is refused; needs no --output")
    parser.add_argument("--space", metavar="ORG/NAME", help="send the page to this static Space")
    parser.add_argument("--title", default="ECG leaderboard", help="heading of the page (default: %(default)s)")
    parser.add_argument("--no-published", action="store_true", help="without the rows of the paper")
    parser.add_argument("--again", action="store_true", help="compute everything again, not only what is new")
    parser.add_argument(
        "--memory", type=Path, metavar="FILE", help="what was computed before (default: below $ECG_HUB_HOME)"
    )
    add_json_flag(parser)
    parser.set_defaults(run=run_leaderboard)


def run_leaderboard(args: argparse.Namespace) -> int:
    """Read, check, build, send."""
    if args.output is None and (not args.check or args.space):
        raise InputError("--output DIR says where the page goes; only --check alone needs none.")
    from ecg_hub.hub.client import HubRepository, check_id

    # Before minutes of computing scores again.
    for repo in filter(None, (args.repo, args.space)):
        check_id(repo)
    with TemporaryDirectory(prefix="ecg-leaderboard-") as scratch:
        site = _build(args, Path(scratch))
        publish(site.folder)
        sent = None
        if args.space:
            from eval_harness.leaderboard.site import publish_space

            sent = publish_space(site, HubRepository(args.space, "space"))
    _say(args, site, sent)
    return int(args.check and bool(site.problems))


def _build(args: argparse.Namespace, scratch: Path) -> Site:
    from ecg_hub.home import home
    from eval_harness.leaderboard.entries import RecomputeCache, open_recompute_cache
    from eval_harness.leaderboard.site import build
    from eval_harness.publish.repository import HubModels

    path = args.memory or home() / "leaderboard" / "computed.json"
    # With the path: --again forgets what was computed, and keeps what it computes for the next build.
    memory = RecomputeCache(path) if args.again else open_recompute_cache(path)
    options: dict[str, Any] = {"published": not args.no_published, "memory": memory, "title": args.title, "told": _told}
    output = place(args.output) if args.output else scratch / "page"
    if args.folder:
        # A folder is built without asking anybody; --check also asks for the revisions.
        models = HubModels() if args.check else None
        return build(bring(place(args.folder)), output, models=models, **options)
    from eval_harness.publish.repository import download

    copy = download(args.repo, scratch / "results-repository")
    return build(copy.folder, output, source=copy.name, link=copy.link, models=HubModels(), **options)


def _told(text: str) -> None:
    say(text)


def _say(args: argparse.Namespace, site: Site, sent: str | None) -> None:
    if args.json:
        said = {
            "entries": site.entries,
            "recomputed": site.recomputed,
            "refused": dict(site.problems),
            "notes": list(site.notes),
            "page": None if args.output is None else str(site.folder / site.files[0]),
            "space": sent,
        }
        print(json.dumps(said, indent=1, ensure_ascii=False))
        return
    print(f"{site.entries} entries, {site.recomputed} of them computed again from their predictions: equal")
    for note in site.notes:
        print(note)
    for path, problem in list(site.problems.items())[:SHOWN]:
        print(f"refused {path}: {problem}")
    if len(site.problems) > SHOWN:
        print(f"and {len(site.problems) - SHOWN} more refused")
    if args.output is not None:
        print(site.folder / site.files[0])
    if args.space:
        print(f"{args.space}: {sent or 'nothing changed'}")
