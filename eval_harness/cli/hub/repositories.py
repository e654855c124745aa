"""`ecg-hub push`, `mirror` and `import`: a model to a hub, repositories to a disk, and from there to another hub."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ecg_hub.errors import ExitCode
from ecg_hub.utils.text import number_of
from eval_harness.cli.common import split_commas

PUSH = """\
Send a model to the hub at $HF_ENDPOINT (the public one, or `ecg-hub serve`): weights as safetensors, config.json,
feature extractor, card. The folder is loaded and run first, and files that are not on this list stay. What is there
already is not sent again. Weights whose licence forbids it, and what was trained from them, are refused."""
MIRROR = """\
Copy repositories of the hub at $HF_ENDPOINT, each at one commit, into plain folders: DIR/models/ORG/NAME/..., with a
manifest of sizes and SHA-256. A short name whose converted weights are on this machine is copied from there. What was
interrupted continues; files that are there are compared by their hash and not fetched again."""
IMPORT = """\
Compare every file of a mirror with its manifest, then send each repository to the hub of your own at $HF_ENDPOINT,
under the same id, with the tags that it had and one for the commit that was mirrored. What is there already is not sent
again."""


def register(verbs: Any) -> None:
    """Add the verbs."""
    _add_push(verbs)
    _add_mirror(verbs)


def _add_push(verbs: Any) -> None:
    verb = verbs.add_parser(
        "push",
        help="publish a model on a hub",
        description=PUSH,
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


def _add_mirror(verbs: Any) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    mirror = verbs.add_parser(
        "mirror", help="copy repositories of a hub into plain folders", description=MIRROR, formatter_class=raw
    )
    mirror.add_argument("ids", nargs="+", metavar="ID", help="ORG/NAME, or a short name; see `ecg-hub ls`")
    mirror.add_argument("--to", required=True, type=Path, metavar="DIR", help="folder, for instance on a disk")
    mirror.add_argument("--revision", metavar="R", help="branch, tag or commit (default: the default branch)")
    mirror.add_argument("--type", choices=("model", "dataset", "space"), default="model", help="default: model")
    mirror.add_argument("--include", action="append", metavar="PATTERN", help="take only such files, e.g. '*.parquet'")
    mirror.add_argument("--exclude", action="append", metavar="PATTERN", help="leave such files, e.g. '*.pt'")
    mirror.add_argument(
        "--internal", action="store_true", help="of a model that may not be passed on; see docs/serve.md"
    )
    mirror.set_defaults(run=run_mirror)
    bring = verbs.add_parser(
        "import", help="send what was mirrored to a hub of your own", description=IMPORT, formatter_class=raw
    )
    bring.add_argument("folder", type=Path, metavar="DIR", help="folder that `ecg-hub mirror` wrote")
    bring.add_argument("--only", action="append", metavar="ID", help="only this repository; may be repeated")
    bring.add_argument("--namespace", metavar="NS", help="put all of them there, instead of where they were")
    bring.add_argument("--internal", action="store_true", help="also what may not be passed on; see docs/serve.md")
    bring.add_argument("--dry-run", action="store_true", help="check everything, say what would be sent, send nothing")
    bring.set_defaults(run=run_import)


def run_push(args: argparse.Namespace) -> int:
    """Look at the model, say what will be sent, send it."""
    from ecg_hub.hub.package import packed
    from ecg_hub.hub.push import Plan, send
    from ecg_hub.names import endpoint

    plan = Plan(args.repo, args.revision, args.create_pr, args.private, args.tag, args.message)
    # Loaded and run before anything is sent, also in a dry run: a folder that does not load helps nobody.
    with packed(args.name, internal=args.internal) as package:
        print("\n".join(package.lines()), flush=True)
        if args.dry_run:
            print(f"nothing was sent to {args.repo} at {endpoint()}")
            return 0
        print("\n".join(send(package, plan).lines()))
    return 0


def run_mirror(args: argparse.Namespace) -> int:
    """Copy one after another."""
    from ecg_hub.hub.mirror import MirrorRequest, mirror_all

    include, exclude = split_commas(args.include), split_commas(args.exclude)
    wishes = [MirrorRequest(id, args.type, args.revision, include, exclude, args.internal) for id in args.ids]
    failed = mirror_all(wishes, args.to.expanduser(), lambda text: print(text, flush=True))
    return ExitCode.of(len(wishes) - failed, failed)


def run_import(args: argparse.Namespace) -> int:
    """Check all, then send one after another."""
    from ecg_hub.hub.mirror_import import bring_in, check_mirror, check_terms, target_id, targets
    from ecg_hub.names import endpoint

    folder = args.folder.expanduser()
    # All files before the first upload: a damaged disk is found while nothing has been sent.
    chosen = check_mirror(folder, split_commas(args.only))
    check_terms(folder, chosen, internal=args.internal)
    for repo, one in targets(chosen, args.namespace).items():
        print(
            f"{repo}: {number_of(len(one.files), 'file')}, {one.size:,} bytes, licence {one.licence or 'not stated'}",
            flush=True,
        )
    if args.dry_run:
        print(f"nothing was sent to {endpoint()}")
        return 0
    for one in chosen:
        print("\n".join(bring_in(folder, one, target_id(one, args.namespace)).lines()), flush=True)
    return 0
