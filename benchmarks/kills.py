"""Every command, ended at a random moment, then given again: it goes on and ends as if nothing had been.

    python benchmarks/kills.py [--kills 200] [--seed 1] [--only embed --only run]

Each command first runs undisturbed. Then one of SIGKILL, SIGINT and SIGTERM ends it at a random moment of that time,
in a folder and home of its own, and the same command is given again. Held against the undisturbed run are its exit
code, the files that it leaves and, where their content follows from what was asked, every byte of them; of what is
sent to a hub, one of our own on this machine, its files there, its tags and the number of its commits. An interrupt
ends with 130 and a sentence, none with a trace.

A process is forked for each run from one that has imported everything, so that the moments fall into the work and not
into seconds of imports; ends while modules are imported have a test of their own (tests/eval_harness/cli).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
ENDS = {signal.SIGKILL: (-9,), signal.SIGINT: (130,), signal.SIGTERM: (-15,)}
LIMIT, SLOW = 300, 8  # s
# @ stands for the folder of what the commands read.
TINY, RECORDS, PTBXL = "random:ecg-cpc-tiny", "@/records/r0.hea @/records/r1.hea", "ptb-xl --data-dir @/data/ptb-xl"
FOLDER = "random__ecg-cpc-tiny/finetune"
RUN = "--tasks ptbxl_super --data-root @/data --limit 24 --epochs 1 --resamples 20"


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
        words: program and arguments; relative paths lie in the run's own folder.
        same: patterns of files that hold the same bytes however often the command was ended.
        codes: exit codes of an undisturbed run.
        hub: whether it talks to the hub of the benchmark; others have no network.
        sends: repositories that it makes there, as "models/ORG/NAME".
    """

    words: tuple[str, ...]
    same: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0,)
    hub: bool = False
    sends: tuple[str, ...] = ()


def case(text: str, *same: str, codes: tuple[int, ...] = (0,), hub: bool = False, sends: tuple[str, ...] = ()) -> Case:
    return Case(tuple(text.split()), same, codes, hub or bool(sends), sends)


CASES = {
    "ls": case("ecg-hub ls"),
    "info": case("ecg-hub info ecg-cpc"),
    "embed": case(f"ecg-hub embed {TINY} {RECORDS} -o features.parquet", "features.parquet"),
    "predict": case(f"ecg-hub predict @/model {RECORDS} -o scores.csv", "scores.csv"),
    "bench": case(f"ecg-hub bench {TINY} --threads 1"),
    "pretrain": case(
        "ecg-hub pretrain --model ecg-cpc-tiny --data ptb-xl --data-root @/data --steps 6 --batch-size 4 --lanes 2 "
        "--output runs", "runs/**/model.safetensors",
    ),
    "convert": case(
        # --overwrite: ended after the folder stands, the same words would be refused.
        "ecg-hub convert ecg-cpc --checkpoint @/authors/ecg-cpc/published.ckpt --output converted --overwrite",
        "converted/model.safetensors",
    ),
    "validate-model": case(f"ecg-hub validate-model {TINY}"),
    "hub push dry": case(f"ecg-hub push {TINY} --repo ward/m --dry-run"),
    "hub push": case("ecg-hub push @/model --repo ward/sent --tag v1", sends=("models/ward/sent",)),
    "mirror": case("ecg-hub mirror ward/there --to disk", "disk/**/*", hub=True),
    "import": case(
        "ecg-hub import @/disk --namespace brought", sends=("models/brought/there", "datasets/brought/tables")
    ),
    "pull": case("ecg-hub pull ecg-cpc -o pulled", "pulled/model.safetensors", hub=True),
    "data ls": case("ecg-hub data ls"),
    "data info": case("ecg-hub data info ptb-xl"),
    "data prepare": case(f"ecg-hub data prepare {PTBXL}", "home/**/*.arrow", "home/**/report.csv"),
    "data verify": case(f"ecg-hub data verify {PTBXL}", codes=(1,)),
    "data plot": case("ecg-hub data plot ptb-xl 1 --data-dir @/data/ptb-xl -o ecg.png", "ecg.png"),
    "data export": case("ecg-hub data export ptb-xl --format croissant -o croissant.json", "croissant.json"),
    "data shards": case(f"ecg-hub data prepare {PTBXL} --shards shards", "shards/**/*.parquet"),
    "run": case(f"ecg-eval run {RUN} --model {TINY} --mode linear -o out", "out/**/*.parquet"),
    "compare": case("ecg-eval compare @/results", codes=(1,)),
    "verify": case("ecg-eval verify @/results"),
    "report": case("ecg-eval report @/results --data-root @/data --resamples 20 -o report.html"),
    "export": case("ecg-eval export @/results -o scores.csv", "scores.csv"),
    "cka": case(f"ecg-eval cka --model {TINY} --dataset ptb-xl --data-root @/data --records 16 -o out"),
    "robustness": case(
        f"ecg-eval robustness @/results/{FOLDER} --corruptions lead_loss --resamples 20 --records 16 "
        "--data-root @/data -o out"
    ),
    "label-efficiency": case(
        f"ecg-eval label-efficiency --model {TINY} --mode linear --baseline random:s4-tiny --baseline-mode linear "
        f"{RUN} --fractions 1,1/2 -o out"
    ),
    "reproduce": case(f"ecg-eval reproduce @/results/{FOLDER} --data-root @/data"),
    "leaderboard": case("ecg-eval leaderboard --folder @/board -o site"),
    "eval push": case("ecg-eval push --results @/results --folder pushed --allow-synthetic"),
    "eval push to a hub": case(
        "ecg-eval push --results @/results --repo ward/board --allow-synthetic", sends=("datasets/ward/board",)
    ),
    "leaderboard of a hub": case("ecg-eval leaderboard --repo ward/results -o site", hub=True),
    "data push": case(f"ecg-hub data push {PTBXL} --repo ward/ptb-xl", sends=("datasets/ward/ptb-xl",)),
    "eval ls": case("ecg-eval ls tasks"),
    "describe": case("ecg-eval describe ptbxl_super"),
}  # fmt: skip


def is_unfinished(path: Path) -> bool:
    return re.fullmatch(r"\..+\.\d+-[0-9a-f]{8}\.tmp", path.name) is not None


def _placed(words: Sequence[str], given: Path) -> list[str]:
    return [word.replace("@", str(given)) for word in words]


def prepare(given: Path) -> None:
    """Write what commands read: records, a mock tree, results, a classifier, a board; on the hub repositories."""
    import numpy as np

    from dataset_scripts.mock import write
    from ecg_hub.leads import LEADS
    from eval_harness.cli.eval.main import main as ecg_eval
    from eval_harness.cli.hub.main import main as ecg_hub
    from tests.support.board import made_up, write_board
    from tests.support.checkpoints import convert_filled
    from tests.support.records import write_record

    for number in range(6):
        (given / "records").mkdir(parents=True, exist_ok=True)
        signals = np.random.default_rng(number).normal(0, 0.2, (12, 5000))
        write_record(given / "records" / f"r{number}", signals, 500, LEADS)
    write("ptb-xl", given / "data" / "ptb-xl", records=64)
    convert_filled("ecg-cpc", given / "authors" / "ecg-cpc")
    words = f"run {RUN} --model {TINY} --mode finetune --save-model -o @/results".split()
    assert ecg_eval(_placed(words, given)) == 0
    (model,) = {path.parent for path in (given / "results").rglob("model/*/config.json")}
    shutil.copytree(model, given / "model")
    write_board(given / "board", [made_up("ecg-cpc", "ptbxl_super")])
    from huggingface_hub import HfApi

    for id, kind, folder in (("ward/tables", "dataset", "data"), ("authors/cpc", "model", "authors/ecg-cpc")):
        HfApi().create_repo(id, repo_type=kind)
        HfApi().upload_folder(repo_id=id, repo_type=kind, folder_path=given / folder)
    for words in (
        f"ecg-hub push {TINY} --repo ward/there --tag v1", "ecg-hub mirror ward/there --to @/disk",
        "ecg-hub mirror ward/tables --type dataset --to @/disk",
        "ecg-eval push --results @/results --repo ward/results --allow-synthetic",
    ):  # fmt: skip
        program, *others = _placed(words.split(), given)
        assert {"ecg-eval": ecg_eval, "ecg-hub": ecg_hub}[program](others) == 0, words


@contextmanager
def hub(root: Path) -> Iterator[None]:
    """A hub of our own, to which the libraries of this process and its children are pointed."""
    command = [sys.executable, "-m", "eval_harness.cli.hub", "serve", "--root", str(root), "--port", "0"]
    server = subprocess.Popen([*command, "--min-free", "1MB"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert server.stdout is not None
        os.environ["HF_ENDPOINT"] = server.stdout.readline().decode().split()[-1]
        yield
    finally:
        server.terminate()
        server.wait()
    # What was cut off has left nothing by half.
    checked = subprocess.run([*command[:-2], "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def asked(method: str, address: str, **content: str) -> Any:
    """Ask the hub, without a client that the forked processes would share; None where there is no such thing."""
    body = json.dumps(content).encode() if content else None
    url, headers = f"{os.environ['HF_ENDPOINT']}/api/{address}", {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=60) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None


def on_hub(repo: str) -> tuple[list[str], dict[str, str]]:
    """Return tags and number of commits of a repository, and its files with their digests."""
    files = asked("GET", f"{repo}/tree/main?recursive=true") or ()
    tags = [one["name"] for one in (asked("GET", f"{repo}/refs") or {"tags": ()})["tags"]]
    commits = len(asked("GET", f"{repo}/commits/main") or ())
    digests = {f"{repo}/{one['path']}": (one.get("lfs") or one)["oid"] for one in files if one["type"] == "file"}
    return [f"{repo}: {commits} commits, tags {sorted(tags)}", *sorted(digests)], digests


def fetched_from_the_hub() -> None:
    """Let the published file of ECG-CPC lie on the hub of the benchmark."""
    from ecg_hub import catalog

    entry = catalog.get("ecg-cpc")
    there = replace(entry, weights=catalog.Weights("hf", "https://example.org", "published.ckpt", repo="authors/cpc"))
    catalog.get = lambda alias: there


def forked(words: list[str], folder: Path, home: Path, online: bool) -> int:
    """Start a command in a process of its own; returns its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    # Until the command itself has begun: before, there is nobody yet who could say how to go on.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    number = os.fork()
    if number:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        return number
    code, begun = 70, False
    try:
        os.chdir(folder)
        os.environ.update(ECG_HUB_HOME=str(home), ECG_HUB_OFFLINE="" if online else "1")
        if words[1] == "pull":
            fetched_from_the_hub()
        for stream, name in ((1, "out.txt"), (2, "err.txt")):
            os.dup2(os.open(folder.parent / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        from eval_harness.cli.eval.main import main as ecg_eval
        from eval_harness.cli.hub.main import main as ecg_hub

        sys.argv = words
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        begun = True
        code = {"ecg-eval": ecg_eval, "ecg-hub": ecg_hub}[words[0]](None)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not begun:
            code = 130
            print("the same command goes on", file=sys.stderr)
        else:
            traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(number: int) -> int:
    """Return how a process ended, as `subprocess` says it."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    raise TimeoutError(f"no end within {LIMIT} s")


@contextmanager
def place(base: Path, case: Case) -> Iterator[Path]:
    """Give an empty folder, of one name for all runs: the names of some locks are made of it; and an empty hub."""
    for repo in case.sends:
        kind, organization, name = repo.split("/")
        asked("DELETE", "repos/delete", type=kind.removesuffix("s"), organization=organization, name=name)
    folder = base / "place"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "work").mkdir(parents=True)
    (folder / "err.txt").touch()  # a process may be ended before it writes one
    try:
        yield folder / "work"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def left(work: Path, case: Case) -> tuple[list[str], dict[str, str]]:
    """Return what a run leaves, here and on the hub, and digests of what has a fixed content."""
    # A process that is killed leaves the hidden file that it was writing, which nothing reads (`replacing`).
    names = sorted(
        str(path.relative_to(work)) for path in work.rglob("*") if path.is_file() and not is_unfinished(path)
    )
    fixed = {path for pattern in case.same for path in work.glob(pattern) if path.is_file()}
    digests = {str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest() for path in fixed}
    for repo in case.sends:
        there, content = on_hub(repo)
        names, digests = names + there, digests | content
    return names, digests


def complaints(work: Path, ended: int, how: signal.Signals, case: Case) -> list[str]:
    """Return what is wrong with how a run ended."""
    said = (work.parent / "err.txt").read_text(errors="replace")
    wrong = [] if ended in (*ENDS[how], *case.codes) else [f"{how.name} ended with {ended}"]
    if "Traceback" in said:
        wrong.append(f"{how.name} left a trace: {said[-600:]}")
    if ended == 130 and "the same command goes on" not in said:
        wrong.append(f"{how.name}: nothing says how to go on")
    return wrong


@dataclass(frozen=True)
class Reference:
    """How a command ends undisturbed: after how many seconds, with which files, and the digests of those compared."""

    seconds: float
    names: list[str]
    digests: dict[str, str]


def undisturbed(name: str, given: Path, base: Path) -> Reference:
    """Run a command to its end."""
    case = CASES[name]
    with place(base, case) as work:
        began = time.monotonic()
        code = wait(forked(_placed(case.words, given), work, work / "home", case.hub))
        took = time.monotonic() - began
        if code not in case.codes:
            raise SystemExit(f"{name} ended with {code}: {(work.parent / 'err.txt').read_text()[-1500:]}")
        names, digests = left(work, case)
    if case.same and not digests:
        raise SystemExit(f"{name} left nothing that could be compared, of {names}")
    return Reference(took, names, digests)


def disturb(
    name: str, how: signal.Signals, after: float, given: Path, base: Path, whole: Reference
) -> tuple[str, list[str]]:
    """End a command after so many seconds and give it again; returns how it ended and what was wrong."""
    case = CASES[name]
    words = _placed(case.words, given)
    with place(base, case) as work:
        child = forked(words, work, work / "home", case.hub)
        time.sleep(after)
        os.kill(child, how)
        ended = wait(child)
        wrong = complaints(work, ended, how, case)
        if ended == 130 and (unfinished := [str(path) for path in work.rglob("*") if is_unfinished(path)]):
            wrong.append(f"{how.name} left {unfinished}")
        again = wait(forked(words, work, work / "home", case.hub))
        if again not in case.codes:
            wrong.append(f"after {how.name} it ended with {again}: {(work.parent / 'err.txt').read_text()[-600:]}")
            return how.name, wrong
        names, digests = left(work, case)
    if names != whole.names:
        wrong.append(f"after {how.name} other files: {sorted({*names} ^ {*whole.names})[:8]}")
    if digests != whole.digests:
        other = [path for path in {*digests, *whole.digests} if digests.get(path) != whole.digests.get(path)]
        wrong.append(f"after {how.name} other bytes: {other[:8]}")
    return "finished before" if ended in case.codes else how.name, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10_000, help="no further one begins after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=list(CASES), metavar="COMMAND")
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="0", HF_HUB_DISABLE_XET="1", NO_PROXY="127.0.0.1")
    warnings.simplefilter("ignore")
    # In the background of a shell Ctrl-C is ignored, by what is started there as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = args.only or list(CASES)
    with tempfile.TemporaryDirectory() as name, hub(Path(name) / "hub"):
        base, rng = Path(name), random.Random(args.seed)
        os.environ["HF_HOME"] = str(base / "hf")
        # In a process of its own: threads that the work starts would not survive the forks.
        child = os.fork()
        if not child:
            os.environ["ECG_HUB_HOME"] = str(base / "home")
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
            prepare(base / "given")
            os._exit(0)
        assert wait(child) == 0
        import accelerate  # noqa: F401
        import datasets  # noqa: F401
        import matplotlib  # noqa: F401
        import pandas  # noqa: F401
        import torch
        import transformers  # noqa: F401

        torch.set_num_threads(1)
        references: dict[str, Reference] = {}
        for command in chosen:
            references[command] = undisturbed(command, base / "given", base)
            print(f"{command}: {references[command].seconds:.1f} s", file=sys.stderr, flush=True)
        # Every command once, the rest for those that are quick.
        quick = [command for command in chosen if references[command].seconds < SLOW] or chosen
        order = (chosen + quick * (args.kills // len(quick) + 1))[: args.kills]
        rng.shuffle(order)
        until = time.monotonic() + 60 * args.minutes
        ends: Counter[str] = Counter()
        faults: dict[str, list[str]] = {}
        counts: Counter[str] = Counter()
        for number, command in enumerate(order):
            if time.monotonic() > until:
                break
            how = SIGNALS[number % len(SIGNALS)]
            counts[command] += 1
            after = references[command].seconds * rng.random()
            end, wrong = disturb(command, how, after, base / "given", base, references[command])
            ends[end] += 1
            for one in wrong:
                print(f"{command}, after {after:.2f} s: {one}", file=sys.stderr, flush=True)
                faults.setdefault(command, []).append(one)
    shown = {
        "commands": len(chosen),
        "kills": sum(counts.values()),
        "ends": dict(ends),
        "each": dict(counts),
        "wrong": faults,
    }
    print(json.dumps(shown, indent=1))
    if faults:
        sys.exit("not as promised")


if __name__ == "__main__":
    main()
