"""`ecg-hub pull`: fetch the authors' file from where they publish it, check it, and convert it.

figshare and Zenodo list name, size and MD5 of every file in a public JSON document; the Hugging Face Hub is asked by
its own client. Some authors only give a page: then the page is named, since no program may follow its links.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError

from ecg_hub import catalog
from ecg_hub.errors import CheckpointError, InputError
from ecg_hub.home import HOME_OPTION, home
from ecg_hub.names import endpoint, model_folder, network_forbidden
from ecg_hub.utils.files import alone, file_matches, unwritable
from ecg_hub.utils.http import (
    FIGSHARE,
    ZENODO,
    HostedFile,
    RemoteFile,
    RetryPolicy,
    download,
    fetch_json,
    figshare_files,
    figshare_list,
    zenodo_files,
    zenodo_record,
)
from ecg_hub.utils.terminal import progress, say
from ecg_hub.weights.conversion import ConversionSummary, convert

_ASKED_ONCE = RetryPolicy(retries=0, timeout_seconds=10.0)
"""With hosts that are only asked for sizes: without a network they must not take minutes to say nothing."""


@dataclass(frozen=True)
class PullSummary:
    """What a pull did.

    Attributes:
        alias: short name of the model.
        output: its folder.
        conversion: what the conversion did; None if the model was there already.
        kept: the authors' file, if it was kept.
    """

    alias: str
    output: Path
    conversion: ConversionSummary | None = None
    kept: Path | None = None

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        if self.conversion is None:
            return [f"{self.alias} is there already: {self.output} (overwrite fetches it again)"]
        return [*self.conversion.lines(), *([f"kept: {self.kept}"] if self.kept else [])]


def pull(
    alias: str,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    keep: bool = False,
    quiet: bool = False,
    wait: bool = False,
    cache_dir: Path | None = None,
    token: str | bool | None = None,
    patience: RetryPolicy | None = None,
    figshare: str = FIGSHARE,
    zenodo: str = ZENODO,
    hub: str | None = None,
) -> PullSummary:
    """Fetch a model's published weights and convert them into a model folder; the licence goes to standard error.

    A download that broke off is continued by the next call. The authors' file lies in $ECG_HUB_HOME/downloads until it
    is converted; `cache_dir` stands in for $ECG_HUB_HOME. With `wait` a second process waits for the first one.
    """
    entry = catalog.get(alias)
    alias = entry.alias
    target = Path(output).expanduser() if output is not None else model_folder(alias, cache_dir)
    if is_there(target, overwrite):
        return PullSummary(alias, target)
    _check_can_be_fetched(entry)
    downloads = (cache_dir or home()) / "downloads"
    option = HOME_OPTION if cache_dir is None else "cache_dir"
    then = "Waiting for it." if wait else "Wait for it."
    busy = CheckpointError(f"Another process is pulling {alias!r} to {downloads / alias}. {then}")
    # Two pulls of one model would write into the same unfinished download.
    with alone(downloads, f".{alias}.lock", busy, option, wait=wait):
        if is_there(target, overwrite):
            return PullSummary(alias, target)  # put there by another process in the meantime
        _check_folder(target, overwrite)
        _announce(entry, target)
        place = Destination(downloads / alias, option)
        if entry.weights.kind == "hf":
            file = _from_hub(entry, place, hub or endpoint(), token)
        else:
            remote = _listed(entry, {"zenodo": zenodo, "figshare": figshare}, patience)
            file = download(remote, place.folder, patience=patience, quiet=quiet, option=option)
        _check_published(entry, file)
        conversion = _converted(alias, file, target, overwrite, option)
        if not keep:
            shutil.rmtree(place.folder, ignore_errors=True)
    return PullSummary(alias, target, conversion, file if keep else None)


def file_sizes(
    entries: Iterable[catalog.ModelEntry], *, figshare: str = FIGSHARE, zenodo: str = ZENODO, hub: str | None = None
) -> dict[str, int | None]:
    """Return the bytes of checkpoints' files by alias: as the catalogue states them, else as their host does.

    None is a size that nobody states, or not now. Nothing is fetched, and a host that does not answer is not asked
    again.
    """
    hosts = {"figshare": figshare, "zenodo": zenodo, "hf": hub or endpoint()}
    silent = set(hosts) if network_forbidden() else set[str]()
    sizes: dict[str, int | None] = {}
    for entry in progress(list(entries), desc="sizes", unit="files", leave=False):
        sizes[entry.alias], kind = entry.weights.size, entry.weights.kind
        if entry.weights.size is None and kind in hosts and kind not in silent:
            try:
                sizes[entry.alias] = _asked_size(entry, hosts)
            except (httpx2.TransportError, CheckpointError, OSError, EntryNotFoundError) as error:
                # An answer that holds no size, of a gated repository for instance, says nothing about other files.
                answered = isinstance(error, HfHubHTTPError) or (
                    isinstance(error, CheckpointError) and not isinstance(error.__cause__, httpx2.TransportError)
                )
                silent |= set() if answered else {kind}
    return sizes


def _asked_size(entry: catalog.ModelEntry, hosts: Mapping[str, str]) -> int | None:
    """The bytes of a file as its host states them."""
    if entry.weights.kind != "hf":
        return _listed(entry, hosts, _ASKED_ONCE).size
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    repo, name, address = str(entry.weights.repo), str(entry.weights.file), hosts["hf"]
    url = hf_hub_url(repo, name, revision=entry.weights.revision, endpoint=address)
    return get_hf_file_metadata(url, timeout=_ASKED_ONCE.timeout_seconds, endpoint=address).size


class Destination(NamedTuple):
    """Where a download goes, and the setting that an error about the place names."""

    folder: Path
    option: str


def is_there(target: str | Path, overwrite: bool) -> bool:
    """Return whether a pull to a folder has nothing to fetch."""
    return (Path(target).expanduser() / "config.json").is_file() and not overwrite


def _check_can_be_fetched(entry: catalog.ModelEntry) -> None:
    """Refuse before anything is touched."""
    if entry.weights.kind == "none":
        raise InputError(f"{entry.alias!r} has no published weights: it is trained from scratch.")
    if entry.embedded:
        raise InputError(entry.how_to_get)
    if not entry.weights.can_be_fetched:
        raise CheckpointError(
            f"The authors of {entry.title} give a page and no address that a program may follow. {entry.by_hand}"
        )
    forbidden = network_forbidden()
    if forbidden:
        raise CheckpointError(f"Nothing is fetched while {forbidden}: unset it.\n{entry.by_hand}")


def _check_folder(target: Path, overwrite: bool) -> None:
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not overwrite):
        raise InputError(f"{str(target)!r} is not an empty folder. Give another output, or overwrite a folder.")


def _announce(entry: catalog.ModelEntry, target: Path) -> None:
    terms = "" if entry.licence.redistribution else " The weights may not be passed on."
    say(f"licence of the weights: {entry.licence}{terms}", important=True)
    say(f"fetching {entry.weights.file} from {entry.weights.page} for {target}")


def _converted(alias: str, file: Path, target: Path, overwrite: bool, option: str) -> ConversionSummary:
    """Convert; a full disk is called that, and the authors' file stays for the next attempt."""
    try:
        return convert(alias, file, target, overwrite=overwrite)
    except SafetensorError as error:
        # It writes the weights, and has no other way to say so.
        number = errno.ENOSPC if f"os error {errno.ENOSPC}" in str(error) else 0
        raise unwritable(target, OSError(number, str(error)), option) from error
    except OSError as error:
        raise unwritable(target, error, option) from error


def _listed(entry: catalog.ModelEntry, hosts: Mapping[str, str], patience: RetryPolicy | None) -> RemoteFile:
    """Look the file up where its authors published it."""
    kind = entry.weights.kind
    return (_on_zenodo if kind == "zenodo" else _on_figshare)(entry, hosts[kind], patience)


def _on_figshare(entry: catalog.ModelEntry, api: str, patience: RetryPolicy | None) -> RemoteFile:
    """Look the file up in a figshare article."""
    article = entry.weights.article
    listing = RemoteFile(f"article {article}", figshare_list(api, article), remedy=entry.by_hand)
    items = fetch_json(listing, patience)
    return _choose(entry, listing, figshare_files(api, items))


def _on_zenodo(entry: catalog.ModelEntry, api: str, patience: RetryPolicy | None) -> RemoteFile:
    """Look the file up in a Zenodo record."""
    record = entry.weights.article
    listing = RemoteFile(f"record {record}", zenodo_record(api, record), remedy=entry.by_hand)
    document = fetch_json(listing, patience)
    items: Any = document.get("files") if isinstance(document, dict) else None
    return _choose(entry, listing, zenodo_files(items))


def _choose(entry: catalog.ModelEntry, listing: RemoteFile, files: Iterable[HostedFile]) -> RemoteFile:
    """Return the one file of a listing that the catalogue names; a lazy listing may still fail here."""
    try:
        remotes = [RemoteFile(*file, remedy=listing.remedy) for file in files]
    except (KeyError, TypeError, ValueError) as error:
        raise listing.error(f"{listing.host} lists its files in a form that is not known: {error!r}.") from error
    chosen = [remote for remote in remotes if remote.name == entry.weights.file]
    if len(chosen) != 1:
        names = ", ".join(remote.name for remote in remotes) or "nothing"
        raise listing.error(f"{listing.name} at {listing.host} has no {entry.weights.file}; it has {names}.")
    return chosen[0]


def _from_hub(entry: catalog.ModelEntry, place: Destination, address: str, token: str | bool | None) -> Path:
    """Fetch the file by the hub's own client, which continues as well, and compare the SHA-256 that the hub states."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    repo, name, revision = str(entry.weights.repo), str(entry.weights.file), entry.weights.revision
    try:
        url = hf_hub_url(repo, name, revision=revision, endpoint=address)
        metadata = get_hf_file_metadata(url, token=token, endpoint=address)
        path = Path(
            hf_hub_download(repo, name, revision=revision, local_dir=place.folder, token=token, endpoint=address)
        )
    except (OSError, httpx2.TransportError, EntryNotFoundError) as error:
        raise _hub_error(entry, place, address, error) from error
    # For large files the hub's ETag is the SHA-256; for small ones it is a Git hash of 40 digits, which nothing
    # compares.
    digest = metadata.etag or ""
    if len(digest) == 64 and not file_matches(path, f"sha256:{digest}"):
        path.unlink()
        raise CheckpointError(
            f"{name} came with another checksum than {address} states, and was deleted. The same command starts over."
        )
    return path


def _hub_error(entry: catalog.ModelEntry, place: Destination, address: str, error: Exception) -> CheckpointError:
    """Put an error of the hub's client into our words."""
    repo, name, page = entry.weights.repo, entry.weights.file, entry.weights.page
    if isinstance(error, GatedRepoError):
        return CheckpointError(f"The authors decide who gets {repo}. Ask on {page}, then run `hf auth login`.")
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled | httpx2.TransportError):
        text = f"No connection to {address} ({str(error) or type(error).__name__})."
    elif isinstance(error, RepositoryNotFoundError | EntryNotFoundError):
        text = f"{address} has no {name} in {repo}: it was moved or withdrawn."
    elif isinstance(error, HfHubHTTPError):
        text = f"{address} gives no {name}: {error}. Try again later."
    else:
        failure = error if isinstance(error, OSError) else OSError(str(error))
        return unwritable(place.folder / str(name), failure, place.option)
    return CheckpointError(f"{text} {entry.by_hand}")


def _check_published(entry: catalog.ModelEntry, file: Path) -> None:
    """Compare with the digest that the catalogue knows, if it knows one."""
    for kind, title in (("sha256", "SHA-256"), ("md5", "MD5")):
        digest = getattr(entry.weights, kind)
        if digest is not None and not file_matches(file, f"{kind}:{digest}"):
            raise CheckpointError(
                f"The authors have replaced {entry.weights.file} since this version of ecg-hub was made: its {title} "
                f"is not {digest}. If you trust the new file, convert it yourself: "
                f"ecg-hub convert {entry.alias} --checkpoint {str(file)!r}"
            )
