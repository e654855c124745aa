"""`ecg-hub serve` as a process: start, stop, refusals, and looking after its folder."""

from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, close_session

from ecg_hub.errors import DataError, InputError
from ecg_hub.server.calls import Options
from ecg_hub.server.naming import Address, RequestError, parse, revision_and_rest
from ecg_hub.server.serve import check_exposure, in_background, open_hub
from eval_harness.cli.hub.main import main
from eval_harness.cli.hub.serve import parse_size
from tests.support.hub import MB, TestHub, write_tokens


@contextmanager
def _process(root: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "eval_harness.cli.hub", "serve", "--root", str(root), "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert " at http://" in first, first
            yield process, first.split()[-1]
        finally:
            process.kill()


def test_it_says_how_to_use_it_and_stops_in_good_order(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    words = ("--token-file", str(tokens), "--min-free", "1MB")
    with _process(tmp_path / "hub", *words) as (process, url):
        assert httpx2.get(f"{url}/healthz").text == "ok\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert process.stdout is not None
        assert process.stderr is not None
        out, log = process.stdout.read(), process.stderr.read()
    assert f"export HF_ENDPOINT={url}" in out
    assert "export HF_HUB_DISABLE_XET=1" in out
    assert re.search(r"INFO 127\.0\.0\.1 - GET /healthz 200 3 \d+ ms", log)


def test_an_answer_that_a_stop_cuts_off_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ecg_hub.server.serve.GRACE", 1)
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_bytes(b"x" * 30_000_000)
    caplog.set_level(logging.INFO)
    options = Options(min_free=MB, docs=site)
    with socket.socket() as slow, in_background(tmp_path / "hub", options) as running:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", int(running.url.rpartition(":")[2])))
        slow.sendall(b"GET /docs/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
        running.stop()
    told = [record for record in caplog.records if record.levelno >= logging.WARNING and record.exc_info is None]
    assert any("cut off" in record.getMessage() for record in told)
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


@pytest.mark.heavy
def test_a_stop_lets_an_upload_finish(tmp_path: Path) -> None:
    import hashlib
    import time

    content = b"\0" * 3_000_000
    oid = hashlib.sha256(content).hexdigest()
    with _process(tmp_path / "hub", "--min-free", "1MB") as (process, url):
        httpx2.post(f"{url}/api/repos/create", json={"name": "m"})
        body = {"operation": "upload", "objects": [{"oid": oid, "size": len(content)}]}
        batch = httpx2.post(f"{url}/m.git/info/lfs/objects/batch", json=body).json()

        def slowly() -> Iterator[bytes]:
            for start in range(0, len(content), MB):
                yield content[start : start + MB]
                if start == 0:
                    process.send_signal(signal.SIGTERM)
                time.sleep(0.2)

        assert httpx2.put(batch["objects"][0]["actions"]["upload"]["href"], content=slowly()).status_code == 200
        assert process.wait(timeout=30) == 0
    assert (tmp_path / "hub" / "blobs" / oid[:2] / oid).read_bytes() == content


def test_only_one_process_serves_a_folder(hub: TestHub) -> None:
    with pytest.raises(InputError, match="Another process"), open_hub(hub.root, Options()):
        pass


def test_folders_that_are_not_a_hub(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="neither empty"), open_hub(tmp_path / "data", Options()):
        pass
    with pytest.raises(InputError, match="cannot be used"), open_hub(tmp_path / "data" / "notes.txt", Options()):
        pass
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "FORMAT").write_text("ecg-hub 9\n")
    with pytest.raises(DataError, match="ecg-hub 9"), open_hub(tmp_path / "new", Options()):
        pass


def test_a_network_is_let_in_with_tokens_only(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    for host in ("0.0.0.0", "192.168.1.5", "hub.example.org", "::"):
        with pytest.raises(InputError, match="token file is needed"):
            check_exposure(host, None, Options())
        check_exposure(host, tokens, Options())
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        check_exposure(host, None, Options())
    with pytest.raises(InputError, match="public-url"):
        check_exposure("127.0.0.1", None, Options(public_url="https://hub.example.org"))


def test_the_verb_refuses_what_makes_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["serve", "--root", str(tmp_path / "hub")]
    for words, message in (
        (["serve"], "--root DIR is needed"),
        ([*root, "--host", "0.0.0.0"], "token file is needed"),
        ([*root, "--max-file", "big"], "'big' is not a size"),
        ([*root, "--namespace", "a/b"], "cannot name a namespace"),
        ([*root, "--public-url", "hub.example.org"], "takes an address"),
        ([*root, "--port", "99999"], "--port takes"),
        ([*root, "--read-only"], "goes with --new-token"),
        ([*root, "--token-file", str(tmp_path / "absent")], "cannot be read"),
        (["serve", "--new-token", "x"], "needs --token-file"),
        ([*root, "--new-token", ""], "needs --token-file"),
        ([*root, "--timeout", "inf"], "finite numbers"),
        ([*root, "--check"], "is not the folder of a hub"),
        ([*root, "--collect"], "is not the folder of a hub"),
    ):
        assert main(words) == 1
        assert message in capsys.readouterr().err
    assert [parse_size(text) for text in ("7", "1.5kB", "2 GB")] == [7, 1500, 2 * 10**9]
    log = logging.getLogger("ecg_hub.hub")
    assert (log.propagate, log.handlers) == (True, []), "a program finds its own log as it was"


def test_tokens_are_made_and_the_folder_is_checked_and_collected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens, root = tmp_path / "tokens", tmp_path / "hub"
    assert main(["serve", "--token-file", str(tokens), "--new-token", "ward"]) == 0
    token = capsys.readouterr().out.strip()
    assert tokens.stat().st_mode & 0o777 == 0o600
    assert token not in tokens.read_text()
    with pytest.MonkeyPatch.context() as patch:
        from tests.support.hub import point_libraries

        with in_background(root, Options(min_free=MB), tokens) as running:
            hub = TestHub(running.url, root, tokens, tmp_path / "home", write_token=token)
            point_libraries(patch, hub)
            api = hub.api()
            for name in ("ward/a", "ward/b"):
                api.create_repo(name)
                adds = [CommitOperationAdd("same.txt", b"same"), CommitOperationAdd("own.txt", name.encode())]
                api.create_commit(name, adds, commit_message="files")
            api.delete_repo("ward/b")
            api.delete_file("own.txt", "ward/a")
            api.super_squash_history("ward/a")
            close_session()
    assert main(["serve", "--root", str(root), "--check"]) == 0
    assert "1 repository, 1 commit, 1 file, 4 bytes" in capsys.readouterr().out
    assert main(["serve", "--root", str(root), "--collect"]) == 0
    assert "removed 2 files, 12 bytes" in capsys.readouterr().out
    (blob,) = [path for path in (root / "blobs").rglob("*") if path.is_file()]
    blob.write_bytes(b"SAME")
    assert main(["serve", "--root", str(root), "--check"]) == 1
    assert "is damaged" in capsys.readouterr().out
    blob.unlink()
    assert main(["serve", "--root", str(root), "--collect"]) == 1
    assert "not whole" in capsys.readouterr().err


@pytest.mark.heavy
def test_the_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from eval_harness.cli.hub.main import build_parser\n"
        "build_parser().format_help()\n"
        "heavy = {'torch', 'transformers', 'datasets', 'huggingface_hub'}\n"
        "print(sorted((heavy | {'uvicorn', 'starlette'}) & set(sys.modules)))\n"
        "import ecg_hub.server.serve, ecg_hub.server.app\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", Address("site")),
        ("/api/whoami-v2", Address("site", tail=("api", "whoami-v2"))),
        ("/api/models", Address("api", "models")),
        ("/api/models/ecg-cpc", Address("api", "models", "ecg-cpc")),
        ("/api/models/a/b", Address("api", "models", "a/b")),
        ("/api/models/b/tree/main/x", Address("api", "models", "b", "tree", ("main", "x"))),
        ("/api/datasets/a/b/tree/refs%2Fpr%2F1/x%2Fy", Address("api", "datasets", "a/b", "tree", ("refs/pr/1", "x/y"))),
        ("/a/b/resolve/main/x/y.txt", Address("web", "models", "a/b", "resolve", ("main", "x", "y.txt"))),
        ("/b/resolve/v1/c", Address("web", "models", "b", "resolve", ("v1", "c"))),
        ("/datasets/a/b.git/info/lfs/objects/batch", Address("web", "datasets", "a/b", "lfs-batch")),
        ("/b.git/info/lfs/objects/batch", Address("web", "models", "b", "lfs-batch")),
        ("/spaces", Address("web", "spaces")),
    ],
)
def test_addresses(path: str, expected: Address) -> None:
    assert parse(path) == expected
    assert parse(path + "/") == expected


def test_revisions_in_addresses() -> None:
    assert revision_and_rest(("refs/pr/1", "a", "b")) == ("refs/pr/1", "a/b")
    assert revision_and_rest(("refs", "pr", "1", "a")) == ("refs/pr/1", "a")
    assert revision_and_rest(()) == ("main", "")
    with pytest.raises(RequestError, match="UTF-8"):
        parse("/a/%ff")
