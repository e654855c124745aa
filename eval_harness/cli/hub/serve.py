"""`ecg-hub serve`: a self-hosted hub, for places without internet."""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Serve models, datasets and spaces from a folder, by the Hugging Face Hub's HTTP API: huggingface_hub, transformers and
datasets work against it with HF_ENDPOINT set to its address and HF_HUB_DISABLE_XET=1. No request leaves the machine.

A token file has one token a line: [read:]TOKEN [NAME] [until=YYYY-MM-DD]; `read:` allows reading only, and sha256=HEX
may stand for the token. Its mode must be 600. It is read again when it changes."""

_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def register(verbs: Any) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "serve",
        help="a self-hosted hub: models, datasets and spaces from a folder",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("--root", metavar="DIR", type=Path, help="folder of the hub; made if it is missing")
    verb.add_argument("--host", metavar="H", default="127.0.0.1", help="name or address (default: 127.0.0.1)")
    verb.add_argument("--port", metavar="P", type=int, default=8000, help="default: 8000; 0 takes a free one")
    verb.add_argument("--token-file", metavar="F", type=Path, help="who may read and write; needed beyond loopback")
    verb.add_argument("--open-read", action="store_true", help="public repositories are read without a token")
    verb.add_argument(
        "--namespace", metavar="NAME", default="local", help="of ids without one, such as ecg-cpc (default: local)"
    )
    verb.add_argument(
        "--docs", metavar="DIR", type=Path, help="built documentation site (`make docs`: build/site), shown at /docs/"
    )
    verb.add_argument("--public-url", metavar="URL", help="address that clients use, behind a proxy")
    verb.add_argument("--max-file", metavar="SIZE", default="50GB", help="largest file (default: 50GB)")
    verb.add_argument("--min-free", metavar="SIZE", default="1GB", help="space that uploads leave free (default: 1GB)")
    verb.add_argument(
        "--timeout", metavar="S", type=float, default=20.0, help="seconds in which a client must get on (default: 20)"
    )
    verb.add_argument(
        "--max-connections", metavar="N", type=int, default=500, help="more are answered 503 (default: 500)"
    )
    verb.add_argument(
        "--max-per-address", metavar="N", type=int, default=100, help="of one address; not of loopback (default: 100)"
    )
    once = verb.add_argument_group("instead of serving").add_mutually_exclusive_group()
    once.add_argument("--new-token", metavar="NAME", help="append a new token to --token-file and print it")
    once.add_argument("--check", action="store_true", help="read everything and compare it with its SHA-256")
    once.add_argument("--collect", action="store_true", help="remove content that no revision refers to")
    once.add_argument(
        "--backup", metavar="DIR", type=Path, help="copy the hub, which may run meanwhile; again: only what is new"
    )
    verb.add_argument("--read-only", action="store_true", help="with --new-token: the token may not write")
    verb.set_defaults(run=run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """Serve, or do the one thing asked for."""
    from ecg_hub.errors import InputError
    from ecg_hub.server.serve import Address, log_to_standard_error, open_hub, require_packages, serve

    if args.new_token is not None:
        return _new_token(args)
    if args.read_only:
        raise InputError("--read-only goes with --new-token NAME.")
    if args.root is None:
        raise InputError("--root DIR is needed: the folder of the hub.")
    require_packages()
    root, options = args.root.expanduser(), _options(args)
    # A misspelt folder would be made, and an empty hub be called whole.
    if (args.check or args.collect) and not (root / "FORMAT").is_file():
        raise InputError(f"--root {str(root)!r} is not the folder of a hub.")
    if args.backup:
        return _backup(root, args.backup.expanduser())
    if args.check or args.collect:
        with open_hub(root, options) as hub:
            return _check(hub) if args.check else _collect(hub)
    # The socket would raise OverflowError, which says nothing of the option.
    if not 0 <= args.port < 65536:
        raise InputError(f"--port takes 0 to 65535, not {args.port}.")
    with log_to_standard_error():
        return serve(root, Address(args.host, args.port), options, args.token_file and args.token_file.expanduser())


def parse_size(text: str) -> int:
    """Return bytes for a size such as 500MB or 2.5GB."""
    from ecg_hub.errors import InputError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?B)?", text.strip())
    if not match:
        raise InputError(f"{text!r} is not a size; write 500MB or 2GB.")
    return int(float(match[1]) * _UNITS.get(match[2] or "", 1))


def _options(args: argparse.Namespace) -> Any:
    from ecg_hub.errors import InputError
    from ecg_hub.server.calls import Options
    from ecg_hub.server.naming import RequestError, check_name

    try:
        check_name(args.namespace, "namespace")
    except RequestError as error:
        raise InputError(f"--namespace: {error.message}") from None
    if args.public_url and not re.match(r"https?://[^/\s]+/?\Z", args.public_url):
        raise InputError(f"--public-url takes an address such as https://hub.example.org, not {args.public_url!r}.")
    if not (1 <= args.timeout < math.inf and args.max_connections >= 1 and args.max_per_address >= 1):
        given = f"{args.timeout:g}, {args.max_connections} and {args.max_per_address}"
        raise InputError(
            f"--timeout, --max-connections and --max-per-address take finite numbers from 1 up, not {given}."
        )
    return Options(
        args.namespace,
        args.open_read,
        args.public_url,
        parse_size(args.max_file),
        parse_size(args.min_free),
        page_command,
        _site(args.docs),
        args.timeout,
        args.max_connections,
        args.max_per_address,
    )


def _site(folder: Path | None) -> Path | None:
    """Return the folder of a built site."""
    from ecg_hub.errors import InputError

    if folder is not None and not (folder.expanduser() / "index.html").is_file():
        raise InputError(f"--docs {str(folder)!r} holds no index.html; `make docs` builds the site into build/site.")
    return folder.expanduser() if folder is not None else None


def page_command(results: Path, output: Path, memory: Path, title: str) -> list[str]:
    """Return the command that makes the leaderboard page of a folder of results; see `boards.PageCommand`."""
    options = {"--folder": results, "--output": output, "--memory": memory, "--title": title}
    arguments = [f"{option}={value}" for option, value in options.items()]
    return [sys.executable, "-m", "eval_harness", "leaderboard", *arguments]


def _new_token(args: argparse.Namespace) -> int:
    from ecg_hub.errors import InputError
    from ecg_hub.server.auth import new_token

    if args.token_file is None:
        raise InputError("--new-token needs --token-file F.")
    print(new_token(args.token_file.expanduser(), args.new_token, write=not args.read_only))
    return 0


def _backup(root: Path, target: Path) -> int:
    from ecg_hub.server.audit import backup
    from ecg_hub.utils.files import write_error
    from ecg_hub.utils.text import number_of

    try:
        count, size = backup(root, target)
    except OSError as error:
        raise write_error(target, error) from error
    print(f"copied {number_of(count, 'new file')}, {size:,} bytes, to {target}")
    return 0


def _check(hub: Any) -> int:
    from ecg_hub.server.audit import audit

    report = audit(hub)
    print("\n".join(report.lines()))
    return 1 if report.problems else 0


def _collect(hub: Any) -> int:
    from ecg_hub.errors import DataError
    from ecg_hub.server.audit import audit, collect

    # Without reading content: the references alone decide what may go.
    if problems := audit(hub, content=False).problems:
        # What refers to a damaged revision cannot be known, and removing is for good.
        raise DataError("Nothing was removed, since the hub is not whole:\n  " + "\n  ".join(problems))
    count, size = collect(hub)
    print(f"removed {count:,} files, {size:,} bytes")
    return 0
