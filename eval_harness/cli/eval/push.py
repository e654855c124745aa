"""`ecg-eval push`: check results, compute them again, and publish them on a leaderboard."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_hub.errors import InputError
from ecg_hub.utils.text import number_of
from eval_harness.cli.common import add_json_flag, split_commas

if TYPE_CHECKING:
    from ecg_hub.hub.client import Repository
    from eval_harness.publish.push import Outcome, Submission


SHOWN = 12


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "push",
        help="check results and publish them on a leaderboard",
        description="Check results, compute every metric again from the predictions, and publish them in one commit. "
        "What is there already stays as it is; a result that does not pass refuses all. See docs/leaderboard.md.",
    )
    parser.add_argument("--results", nargs="+", required=True, metavar="RUN", help="result folders, or folders above")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--repo", metavar="ORG/NAME", help="results dataset on the hub at $HF_ENDPOINT")
    target.add_argument("--folder", type=Path, metavar="DIR", help="results in a plain folder, without a hub")
    parser.add_argument("--create-pr", action="store_true", help="propose a pull request instead of committing")
    parser.add_argument("--dry-run", action="store_true", help="check everything, say what would be sent, send nothing")
    parser.add_argument(
        "--with-predictions",
        action="store_true",
        help="send the predictions along, where the licence of the data allows it: cells become 'recomputed'",
    )
    parser.add_argument("--replace", action="store_true", help="replace entries that are there with another score")
    parser.add_argument("--allow-synthetic", action="store_true", help="take results of simulated data, marked")
    parser.add_argument("--model-repo", metavar="ORG/MODEL", help="write the scores into this model's repository too")
    parser.add_argument("--model-index", action="store_true", help="with --model-repo: also its card's model-index")
    add_json_flag(parser)
    parser.set_defaults(run=run_push)


def run_push(args: argparse.Namespace) -> int:
    """Check, then send."""
    # Before anything is computed again: a wrong option must not cost minutes.
    if args.model_index and not args.model_repo:
        raise InputError("--model-index goes with --model-repo ORG/MODEL.")
    from ecg_hub.hub.client import HubRepository, check_id
    from eval_harness.publish.push import prepare, push
    from eval_harness.publish.repository import FolderRepository
    from eval_harness.results.folders import find_runs
    from eval_harness.tasks.registry import tasks

    for repo in filter(None, (args.repo, args.model_repo)):
        check_id(repo)
    tasks_by_name = tasks()
    runs = find_runs(split_commas(args.results))
    submission = prepare(runs, tasks_by_name, synthetic=args.allow_synthetic, predictions=args.with_predictions)
    repository: Repository = HubRepository(args.repo, "dataset") if args.repo else FolderRepository(args.folder)
    sent = push(
        submission,
        repository,
        tasks_by_name.values(),
        replace=args.replace,
        request=args.create_pr,
        dry_run=args.dry_run,
    )
    # After the leaderboard, to whose entries the scores in the model's repository link.
    of_model = _to_model(args, submission, repository, tasks_by_name) if args.model_repo else None
    if args.json:
        print(json.dumps(_content(submission, sent, of_model, args.dry_run), indent=1, ensure_ascii=False))
    else:
        _say(args, submission, sent, repository.name)
        if of_model is not None:
            _say_files(of_model, args.model_repo, args.dry_run)
    return 0


def _to_model(args: argparse.Namespace, submission: Submission, repository: Repository, tasks_by_name: Any) -> Outcome:
    from ecg_hub.hub.client import HubRepository
    from eval_harness.publish.model_repo import update_model_repo

    return update_model_repo(
        list(submission.results.values()),
        tasks_by_name,
        HubRepository(args.model_repo),
        args.repo or args.folder.name,
        repository.link,
        model_index=args.model_index,
        dry_run=args.dry_run,
    )


def _say(args: argparse.Namespace, submission: Submission, sent: Outcome, name: str) -> None:
    from ecg_hub.utils.text import print_table
    from eval_harness.metrics.registry import main_of
    from eval_harness.results.extent import partial_words
    from eval_harness.results.summary import deviation_parts, score_text

    rows = [
        {
            "entry": path,
            "score": score_text(result.metrics.get(main_of(result.metrics) or "")),
            "state": "there already" if path in sent.unchanged else "new",
            "deviations": deviation_parts(result),
        }
        for path, result in submission.results.items()
    ]
    print_table(rows, title="entries", keep=("entry", "score", "state"), notes=("deviations",))
    for note in submission.notes:
        print(note)
    partial = sum(bool(partial_words(result)) for result in submission.results.values())
    of_part = f", {partial} of them without a rank" if partial else ""
    print(f"{len(rows)} results checked and computed again: all equal{of_part}")
    _say_files(sent, name, args.dry_run)


def _say_files(sent: Outcome, name: str, dry_run: bool) -> None:
    if not sent.written:
        print(f"{name}: nothing to do" + (f", proposed already: {sent.address}" if sent.address else ""))
        return
    verb = "would be written" if dry_run else "written"
    print(f"{name}: {number_of(len(sent.written), 'file')} {verb}" + (f", {sent.address}" if sent.address else ""))
    for path in sent.written[:SHOWN]:
        print(f"  {path}")
    if len(sent.written) > SHOWN:
        print(f"  and {len(sent.written) - SHOWN} more")


def _content(submission: Submission, sent: Outcome, of_model: Outcome | None, dry_run: bool) -> dict[str, Any]:
    return {
        "entries": sorted(submission.results),
        "written": sent.written,
        "unchanged": sent.unchanged,
        "address": sent.address,
        "dry_run": dry_run,
        "notes": submission.notes,
        "model_repo": None if of_model is None else {"written": of_model.written, "address": of_model.address},
    }
