"""`ecg-hub pull` against figshare, Zenodo and a hub on this machine: from the authors' file to a model that loads."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from filelock import FileLock

import ecg_hub
from ecg_hub import catalog
from ecg_hub.catalog import ModelEntry, Weights
from ecg_hub.errors import CheckpointError, InputError, UnknownNameError
from ecg_hub.home import home
from ecg_hub.names import model_folder
from ecg_hub.utils.http import RetryPolicy
from ecg_hub.weights import pull as module
from ecg_hub.weights.pull import PullSummary, file_sizes, pull
from eval_harness.cli.hub.main import main
from tests.support.fill import published_state, read_case
from tests.support.hosts import Host, md5, running

FILE = "merl.pth"
PAGE = "https://example.org/page"
Pull = Callable[..., PullSummary]


@pytest.fixture(scope="module")
def published() -> bytes:
    """The published file of MERL, filled by rule."""
    buffer = io.BytesIO()
    manifest, arrays = read_case(Path(__file__).parents[2] / "golden" / "merl")
    torch.save(published_state(manifest, arrays), buffer)
    return buffer.getvalue()


@pytest.fixture
def host(published: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setattr(huggingface_hub.constants, name, name != "HF_HUB_OFFLINE")
    with running(Host()) as running_host:
        running_host.files = {
            "/figshare/file/download/77": published,
            "/zenodo/records/12/files/merl.pth/content": published,
            "/hub/org/merl/resolve/main/merl.pth": published,
        }
        other = {"id": 76, "name": "README.md", "size": 3, "computed_md5": "0", "supplied_md5": ""}
        checksum = {"size": len(published), "computed_md5": md5(published), "supplied_md5": ""}
        running_host.documents = {
            "/figshare/articles/12/files": [other, {"id": 77, "name": FILE, **checksum}],
            "/zenodo/records/12": {
                "files": [
                    {
                        "key": FILE,
                        "size": len(published),
                        "checksum": f"md5:{md5(published)}",
                        "links": {"self": f"{running_host.url}/zenodo/records/12/files/merl.pth/content"},
                    }
                ]
            },
        }
        running_host.etag = f'"{hashlib.sha256(published).hexdigest()}"'
        yield running_host


@pytest.fixture
def pulls(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pull]:
    """MERL as if its weights were on a host of this kind, and `pull` with the addresses of this machine."""

    def on(kind: str, **changes: Any) -> Pull:
        known = catalog.get("merl")
        facts = {"kind": kind, "page": PAGE, "file": FILE, "article": 12, "repo": "org/merl", **changes}
        entry = replace(known, weights=Weights(**facts))
        monkeypatch.setattr(catalog, "get", lambda alias: entry if alias == "merl" else known)
        addresses = {"figshare": f"{host.url}/figshare", "zenodo": f"{host.url}/zenodo", "hub": f"{host.url}/hub"}
        return functools.partial(pull, patience=RetryPolicy(retries=1, wait_seconds=0), quiet=True, **addresses)

    return on


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["figshare", "zenodo", "hf"])
def test_from_the_host_to_a_model(kind: str, pulls: Callable[..., Pull], host: Host, published: bytes) -> None:
    summary = pulls(kind)("merl")
    assert summary.conversion is not None
    assert summary.conversion.sha256 == hashlib.sha256(published).hexdigest()
    assert summary.output == model_folder("merl")
    model = ecg_hub.AutoModel.from_pretrained("merl")
    assert model.config.source["page"] == PAGE
    assert model(torch.zeros(1, 12, 1250)).pooler_output.shape == (1, 512)
    assert not (home() / "downloads" / "merl").exists()
    before = len(host.requests)
    again = pulls(kind)("merl")
    assert again.conversion is None
    assert "is there already" in again.lines()[0]
    assert len(host.requests) == before


@pytest.mark.parametrize("kind", ["zenodo", "hf"])
def test_a_cut_connection_is_taken_up_again(
    kind: str, pulls: Callable[..., Pull], host: Host, published: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    host.cuts = [12_000_000]
    summary = pulls(kind)("merl", tmp_path / "out", keep=True)
    assert summary.kept == home() / "downloads" / "merl" / FILE
    assert summary.kept.read_bytes() == published
    assert f"kept: {summary.kept}" in summary.lines()
    spans = [span for method, path, span in host.requests if method == "GET" and FILE in path]
    assert spans[0] is None
    assert spans[1] is not None
    assert len(spans) == 2


def entries_on(kind: str, *aliases: str, **changes: Any) -> list[ModelEntry]:
    facts = {"kind": kind, "page": PAGE, "file": FILE, "article": 12, "repo": "org/merl", **changes}
    return [replace(catalog.get("merl"), alias=alias, weights=Weights(**facts)) for alias in aliases]


@pytest.fixture
def sizes(host: Host) -> Callable[[list[ModelEntry]], dict[str, int | None]]:
    """`file_sizes` with the addresses of this machine."""
    addresses = {"figshare": f"{host.url}/figshare", "zenodo": f"{host.url}/zenodo", "hub": f"{host.url}/hub"}
    return functools.partial(file_sizes, **addresses)


@pytest.mark.parametrize("kind", ["figshare", "zenodo", "hf"])
def test_sizes_before_anything_is_fetched(
    kind: str, sizes: Callable[[list[ModelEntry]], dict[str, int | None]], host: Host, published: bytes
) -> None:
    asked = [*entries_on(kind, "one"), *entries_on(kind, "stated", size=7), *entries_on(kind, "gone", file="x.pth")]
    assert sizes([*asked, *entries_on("manual", "page"), *entries_on(kind, "last")]) == {
        "one": len(published),
        "stated": 7,
        "gone": None,
        "page": None,
        "last": len(published),
    }
    assert not host.asked("/hub/org/merl/resolve/main/merl.pth")
    assert len(host.requests) == 3
    assert not (home() / "downloads").exists()


@pytest.mark.parametrize("kind", ["figshare", "zenodo", "hf"])
def test_a_host_that_is_silent_is_asked_once(
    kind: str, sizes: Callable[[list[ModelEntry]], dict[str, int | None]], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    asked_size = module._asked_size

    def counted(entry: ModelEntry, hosts: Any) -> int | None:
        tried.append(entry.alias)
        return asked_size(entry, dict.fromkeys(hosts, "http://127.0.0.1:9"))

    monkeypatch.setattr(module, "_asked_size", counted)
    assert sizes(entries_on(kind, "one", "two")) == {"one": None, "two": None}
    assert tried == ["one"]
    monkeypatch.setenv("ECG_HUB_OFFLINE", "1")
    assert sizes(entries_on(kind, "three")) == {"three": None}
    assert tried == ["one"], "nothing is asked where the network is forbidden"


@pytest.mark.heavy
def test_overwrite(pulls: Callable[..., Pull], tmp_path: Path) -> None:
    first = pulls("figshare")("merl", tmp_path / "out")
    again = pulls("figshare")("merl", tmp_path / "out", overwrite=True)
    assert first.conversion is not None
    assert again.conversion is not None
    assert [path.name for path in tmp_path.glob("out*")] == ["out"]


def test_an_output_that_is_in_use(pulls: Callable[..., Pull], host: Host, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for output in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InputError, match="not an empty folder"):
            pulls("figshare")("merl", output)
    assert host.requests == []


@pytest.mark.parametrize("kind", ["figshare", "zenodo", "hf"])
def test_a_file_that_is_gone(kind: str, pulls: Callable[..., Pull], host: Host) -> None:
    host.files.clear()
    with pytest.raises(
        CheckpointError, match=r"moved or withdrawn(?s:.)*ecg-hub convert merl --checkpoint FILE"
    ) as error:
        pulls(kind)("merl")
    assert PAGE in str(error.value)
    assert not model_folder("merl").exists()


@pytest.mark.parametrize("kind", ["figshare", "zenodo"])
def test_listings(kind: str, pulls: Callable[..., Pull], host: Host) -> None:
    with pytest.raises(CheckpointError, match=r"has no other\.pth; it has (README\.md, )?merl\.pth"):
        pulls(kind, file="other.pth")("merl")
    for path in list(host.documents):
        host.documents[path] = {"files": [{"new": "form"}]} if kind == "zenodo" else [{"new": "form"}]
    with pytest.raises(CheckpointError, match="in a form that is not known"):
        pulls(kind)("merl")
    host.documents.clear()
    with pytest.raises(CheckpointError, match=r"has no (article|record) 12 \(404"):
        pulls(kind)("merl")


def test_a_changed_checksum(pulls: Callable[..., Pull], host: Host) -> None:
    path = "/figshare/file/download/77"
    host.files[path] = host.files[path][:-1] + b"x"
    with pytest.raises(CheckpointError, match="another checksum than"):
        pulls("figshare")("merl")
    assert not (home() / "downloads" / "merl" / FILE).exists()
    assert not model_folder("merl").exists()


def test_a_changed_checksum_on_the_hub(pulls: Callable[..., Pull], host: Host) -> None:
    host.etag = f'"{"0" * 64}"'
    with pytest.raises(CheckpointError, match="another checksum than"):
        pulls("hf")("merl")
    assert not (home() / "downloads" / "merl" / FILE).exists()


def test_a_file_that_the_authors_replaced(pulls: Callable[..., Pull]) -> None:
    with pytest.raises(
        CheckpointError, match=r"have replaced merl\.pth (?s:.)*ecg-hub convert merl --checkpoint '.*merl"
    ):
        pulls("zenodo", sha256="0" * 64)("merl")
    with pytest.raises(CheckpointError, match="its MD5 is not 000"):
        pulls("zenodo", md5="0" * 32)("merl")


def test_a_file_of_an_older_revision(pulls: Callable[..., Pull], host: Host) -> None:
    host.files["/hub/org/merl/resolve/0ld/merl.pth"] = host.files.pop("/hub/org/merl/resolve/main/merl.pth")
    assert pulls("hf", revision="0ld")("merl").conversion is not None


@pytest.mark.heavy
def test_a_file_of_another_model(pulls: Callable[..., Pull], host: Host) -> None:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    host.files["/hub/org/merl/resolve/main/merl.pth"] = buffer.getvalue()
    host.etag = '"1"'
    with pytest.raises(CheckpointError, match="not the published model"):
        pulls("hf")("merl")
    assert not model_folder("merl").exists()


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (403, {"X-Error-Code": "GatedRepo"}, "The authors decide who gets org/merl. Ask on https://example.org/page"),
        (404, {"X-Error-Code": "RepoNotFound"}, "has no merl.pth in org/merl"),
        (500, {}, "gives no merl.pth: .*500"),
    ],
)
def test_a_hub_that_refuses(
    pulls: Callable[..., Pull], host: Host, status: int, headers: dict[str, str], message: str
) -> None:
    host.statuses = [(status, headers)] * 9
    with pytest.raises(CheckpointError, match=message):
        pulls("hf")("merl")


def test_no_connection(pulls: Callable[..., Pull]) -> None:
    nowhere = "http://127.0.0.1:9"
    for kind in ("figshare", "zenodo", "hf"):
        with pytest.raises(
            CheckpointError, match=r"No connection to (http://)?127\.0\.0\.1(?s:.)*ecg-hub convert merl"
        ):
            pulls(kind)("merl", figshare=nowhere, zenodo=nowhere, hub=nowhere)


def test_offline(pulls: Callable[..., Pull], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for kind in ("hf", "figshare", "zenodo"):
        with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set: unset it"):
            pulls(kind)("merl")


def test_a_full_disk_on_the_way_from_the_hub(pulls: Callable[..., Pull], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(CheckpointError, match="The disk is full"):
        pulls("hf")("merl")


def test_two_at_once(pulls: Callable[..., Pull], host: Host) -> None:
    folder = home() / "downloads" / "merl"
    folder.mkdir(parents=True)
    with (
        FileLock(folder.with_name(".merl.lock")),
        pytest.raises(CheckpointError, match="Another process is pulling 'merl'"),
    ):
        pulls("figshare")("merl")
    assert host.requests == []


def test_a_page_only() -> None:
    with pytest.raises(CheckpointError, match=r"give a page(?s:.)*res18_best_encoder\.pth(?s:.)*drive\.google\.com"):
        pull("merl")


def test_models_without_weights_and_unknown_ones() -> None:
    with pytest.raises(InputError, match="trained from scratch"):
        pull("s4")
    with pytest.raises(UnknownNameError, match="Did you mean 'merl'"):
        pull("mrel")


@pytest.mark.parametrize("entry", catalog.checkpoints().values(), ids=lambda entry: entry.alias)
def test_the_catalogue_says_where(entry: catalog.ModelEntry) -> None:
    weights = entry.weights
    if weights.kind == "embedded":
        assert entry.embedded is not None
        assert (entry.embedded / "config.json").is_file()
    elif weights.kind != "none":
        assert weights.file
        assert weights.page
        assert weights.page.startswith("https://")
    assert (weights.article is not None) == (weights.kind in ("figshare", "zenodo"))
    assert (weights.repo is not None) == (weights.kind == "hf")


def test_the_command(
    pulls: Callable[..., Pull], host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "pull", pulls("zenodo"))
    host.cuts = [1000]
    assert main(["pull", "merl", "--keep"]) == 0
    printed = capsys.readouterr()
    assert "120 entries converted" in printed.out
    assert f"kept: {home()}" in printed.out
    assert printed.err.startswith("licence of the weights: ")
    assert main(["pull", "merl"]) == 0
    assert "is there already" in capsys.readouterr().out


def test_the_command_names_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "merl"]) == 1
    assert "https://drive.google.com/" in capsys.readouterr().err
    assert main(["pull", "mrel"]) == 2
