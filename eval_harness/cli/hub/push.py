"""`ecg-hub push`: a model on the hub at $HF_ENDPOINT."""

from __future__ import annotations

import argparse
from typing import Any

DESCRIPTION = """\
Send a model to the hub at $HF_ENDPOINT (the public one, or `ecg-hub serve`): weights as safetensors, config.json,
feature extractor, card. The folder is loaded and run first, and files that are not on this list stay. What is there
already is not sent again. Weights whose licence forbids it, and what was trained from them, are refused."""


def register(verbs: Any) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "push",
        help="publish a model on a hub",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument(
        "name",
        metavar="NAME_OR_FOLDER",
        help="short name of a converted model, a model folder (also from --save-model), or random:NAME",
    )
    verb.add_argument("--repo", required=True, metavar="ORG/NAME", help="repository; made if it is not there")
    verb.add_argument("--revision", metavar="BRANCH", help="branch to commit to; made if it is not there")
    verb.add_argument("--tag", metavar="TAG", help="name for the commit, such as v1.0")
    verb.add_argument("--message", metavar="TEXT", help="title of the commit")
    verb.add_argument("--create-pr", action="store_true", help="propose a pull request instead of committing")
    verb.add_argument("--private", action="store_true", help="the repository has to be private; one that is made is")
    verb.add_argument(
        "--internal",
        action="store_true",
        help="of weights that may not be passed on: a private copy on a hub of your own, if the terms let you",
    )
    verb.add_argument("--dry-run", action="store_true", help="check everything, say what would be sent, send nothing")
    verb.set_defaults(run=run_push)


def run_push(args: argparse.Namespace) -> int:
    """Look at the model, say what will be sent, send it."""
    from ecg_hub.hub.package import packed
    from ecg_hub.hub.push import Plan, send
    from ecg_hub.names import endpoint

    plan = Plan(args.repo, args.revision, args.create_pr, args.private, args.tag, args.message)
    with packed(args.name, internal=args.internal) as package:
        print("\n".join(package.lines()), flush=True)
        if args.dry_run:
            print(f"nothing was sent to {args.repo} at {endpoint()}")
            return 0
        print("\n".join(send(package, plan).lines()))
    return 0
