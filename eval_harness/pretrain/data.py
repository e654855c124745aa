"""From the names that a user gives to the batches of one process.

From what a user names to a source of records: a dataset, a description, a folder of shards, a hub id.

Records of validation and test folds are scored later, so they are read only under `all_records`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dataset_scripts import catalog
from dataset_scripts.core.fingerprint import content_fingerprint
from dataset_scripts.core.spec import is_mock
from dataset_scripts.core.walk import folder_of
from dataset_scripts.tools.export import MANIFEST_FILE, Manifest, parse_manifest
from ecg_hub.errors import DataError, InputError
from ecg_hub.renamed import renamed_argument
from ecg_hub.spelling import registered
from ecg_hub.utils.remote import is_url, listing, place
from ecg_hub.utils.stores import opened
from eval_harness.config.options import default_data_root
from eval_harness.models.loading import UNDECLARED
from eval_harness.pretrain.config import DataOptions, PretrainConfig
from eval_harness.pretrain.reader import ReaderOptions, StreamingReader
from eval_harness.pretrain.sources import (
    AGAIN,
    TRAIN,
    FileSource,
    RecordSource,
    ShardFile,
    StoreSource,
    index_arrow,
    index_parquet,
    local_size,
)
from eval_harness.runner.preflight import require_all

HUB = "hf://"
_SPLIT_NAME = re.compile(r"(train|validation|test|unsplit)(?=[-_.])")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_READERS = 8


@renamed_argument("max_loss", "max_unreadable")
def open_source(
    name: str,
    *,
    data_root: str | Path = "",
    cache_dir: Path | None = None,
    all_records: bool = False,
    max_unreadable: float = 0.01,
    num_proc: int | None = None,
) -> RecordSource:
    """Return the source that a name stands for."""
    path = Path(name).expanduser()
    if catalog.is_path(name) or name in catalog.datasets():
        return _prepared(name, data_root, cache_dir, all_records, max_unreadable, num_proc)
    if is_url(name) and not name.startswith(HUB):
        return open_url(name, all_records=all_records)
    if path.is_dir():
        return open_folder(path, all_records=all_records)
    if name.startswith(HUB) or (_HUB_ID.fullmatch(name) and not name.startswith((".", "/", "~"))):
        return open_hub(name, all_records=all_records)
    # Last, since a folder wins over another spelling of a dataset.
    remedy = "Or give a folder of shards, a YAML description, or ORG/NAME on a hub."
    found = registered("data", name, catalog.datasets(), remedy)
    return _prepared(found, data_root, cache_dir, all_records, max_unreadable, num_proc)


def _prepared(
    name: str,
    data_root: str | Path,
    cache_dir: Path | None,
    all_records: bool,
    max_unreadable: float,
    num_proc: int | None,
) -> RecordSource:
    from dataset_scripts.load import prepare
    from dataset_scripts.mock import mock_root
    from ecg_hub.home import home

    folder: Path | None = None
    data_root = str(data_root) or default_data_root()
    if catalog.is_path(name):
        from dataset_scripts.custom import open_custom

        root = place(data_root) if data_root not in ("", "mock") else None
        folder = open_custom(name).find_folder(root)
    elif data_root == "mock":
        folder = mock_root(home() if cache_dir is None else cache_dir, name) / name
    else:
        folder = folder_of(name, place(data_root))
    stores = None if cache_dir is None else cache_dir / "datasets"
    prepared = prepare(name, folder, cache_dir=stores, max_unreadable=max_unreadable, num_proc=num_proc)
    source = StoreSource(prepared, all_records)
    if not source.usable:
        raise DataError(f"{prepared.dataset.title} has no training record here; pass --all-records to use the others.")
    return source


def open_folder(folder: Path, *, all_records: bool = False) -> FileSource:
    """Return a folder of shards as a source: our own, `datasets`' Parquet or Arrow files, or a record store."""
    listed = folder / MANIFEST_FILE
    if listed.is_file():
        manifest = parse_manifest(listed.read_text(encoding="utf-8"), str(listed))
        for entry in manifest.files:
            # Sizes tell a copy that was cut off without opening a file; pages carry checksums of their own.
            _check_size(str(folder / entry.file), local_size(folder / entry.file), entry.size)
        return _listed(manifest, str(folder), all_records)
    parquet = sorted(folder.rglob("*.parquet"))
    # datasets puts caches of its own, e.g. of a shuffle, beside Arrow files.
    arrow = [path for path in sorted(folder.rglob("*.arrow")) if not path.name.startswith("cache-")]
    # Both together are two copies of the same rows as often as not.
    if bool(parquet) == bool(arrow):
        what = "both Parquet and Arrow files" if parquet else "neither Parquet nor Arrow files"
        raise InputError(f"{str(folder)!r} holds {what}; name a folder that `ecg-hub data prepare --shards` wrote.")
    paths = _of_split([str(path) for path in parquet or arrow], all_records)
    files, named = _index_all(paths, None, all_records)
    _require_split(str(folder), paths, named, all_records)
    # Relative: a folder that was moved holds the same data.
    content = [[Path(f.path).relative_to(folder).as_posix(), Path(f.path).stat().st_size, f.groups] for f in files]
    # A record store of simulated records is marked as their raw folder is.
    simulated = is_mock(folder)
    corpus = _undeclared(folder.resolve().name)
    return _source(corpus, content_fingerprint(content), files, all_records, None, simulated)


def open_url(url: str, *, all_records: bool = False) -> FileSource:
    """Return shards in a store of objects as a source: row groups are fetched when they are needed, nothing is kept."""
    filesystem, root = opened(url.rstrip("/"))
    sizes = {name: size for name, (size, _) in listing(url.rstrip("/")).items()}
    if MANIFEST_FILE in sizes:
        manifest = parse_manifest(filesystem.cat_file(f"{root}/{MANIFEST_FILE}").decode("utf-8"), url)
        for entry in manifest.files:
            _check_size(f"{url}/{entry.file}", sizes.get(entry.file, 0), entry.size)
        return _listed(manifest, root, all_records, filesystem)
    names = _of_split([name for name in sorted(sizes) if name.endswith(".parquet")], all_records)
    if not names:
        raise InputError(f"{url!r} holds no Parquet file; `ecg-hub data prepare NAME --shards URL` writes some.")
    files, named = _index_all([f"{root}/{name}" for name in names], filesystem, all_records)
    _require_split(url, names, named, all_records)
    # As of the same files in a folder here: their places and sizes.
    content = [[name, sizes[name], file.groups] for name, file in zip(names, files, strict=True)]
    return _source(_undeclared(root), content_fingerprint(content), files, all_records, filesystem)


def open_hub(name: str, *, all_records: bool = False, filesystem: Any = None) -> FileSource:
    """Return a dataset on a hub as a source: its row groups are fetched when they are needed, nothing is kept."""
    from huggingface_hub import HfApi, HfFileSystem
    from huggingface_hub.errors import HfHubHTTPError

    repo, _, revision = name.removeprefix(HUB).removeprefix("datasets/").partition("@")
    hub = HfFileSystem() if filesystem is None else filesystem
    try:
        info = HfApi(endpoint=hub.endpoint, token=hub.token).dataset_info(repo, revision=revision or None)
    except (HfHubHTTPError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise InputError(
            f"The hub at {hub.endpoint} has no dataset {repo!r} for you: {first} Run `hf auth login` if it is private."
        ) from error
    # The commit of this moment: a repository that changes under a run would change its order.
    root = f"datasets/{repo}@{info.sha}"
    names = [file.rfilename for file in info.siblings or []]
    if MANIFEST_FILE in names:
        path = f"{root}/{MANIFEST_FILE}"
        manifest = parse_manifest(hub.cat_file(path).decode("utf-8"), HUB + path)
        for entry in manifest.files:
            if entry.file not in names:
                raise DataError(f"{HUB}{root}/{entry.file} is missing. Upload the folder again.")
        return _listed(manifest, root, all_records, hub)
    paths = _of_split([f"{root}/{file}" for file in sorted(names) if file.endswith(".parquet")], all_records)
    if not paths:
        raise InputError(f"The dataset {repo!r} on {hub.endpoint} holds no Parquet file to read.")
    files, named = _index_all(paths, hub, all_records)
    _require_split(repo, paths, named, all_records)
    return _source(repo, content_fingerprint([repo, info.sha]), files, all_records, hub)


def _undeclared(path: str) -> str:
    """Return the name of a corpus whose files do not say which data set they are of.

    That of the folder alone could be a published one's, and then decide which test sets count as seen.
    """
    return f"{UNDECLARED}:{path.rpartition('/')[2]}"


def _listed(manifest: Manifest, root: str, all_records: bool, filesystem: Any = None) -> FileSource:
    """Return shards that their manifest describes, without opening one."""
    if not manifest.complete:
        raise DataError(
            f"The shards in {root!r} are not complete: give `ecg-hub data prepare {manifest.dataset} --shards DIR` "
            "again, it continues where it stopped."
        )
    entries = [entry for entry in manifest.files if all_records or entry.split == TRAIN]
    # Of other splits not even the footer is read.
    files = [ShardFile(f"{root}/{entry.file}", entry.groups) for entry in entries]
    if not files:
        raise DataError(f"The shards in {root!r} hold no training record; pass --all-records to use the others.")
    return _source(manifest.dataset, manifest.fingerprint, files, all_records, filesystem, manifest.synthetic)


def _source(
    corpus: str,
    fingerprint: str,
    files: list[ShardFile],
    all_records: bool,
    filesystem: Any,
    simulated: bool = False,
) -> FileSource:
    source = FileSource(corpus, fingerprint, files, None if all_records else TRAIN, filesystem, simulated)
    if not source.usable:
        raise DataError(f"The shards of {corpus!r} hold no record.")
    return source


def _of_split(paths: list[str], all_records: bool) -> list[str]:
    """Leave out files whose names say that they hold another split than training."""
    if all_records:
        return paths
    return [path for path in paths if _split_of(path) in (None, TRAIN)]


def _split_of(path: str) -> str | None:
    match = _SPLIT_NAME.match(path.rpartition("/")[2])
    return match.group(1) if match else None


def _require_split(where: str, paths: Iterable[str], named: bool, all_records: bool) -> None:
    """Refuse files of which nobody can say whether test records are among them."""
    if not all_records and not named and not all(_split_of(path) for path in paths):
        raise InputError(
            f"The files of {where!r} do not say which split their records are in, by a column 'split' or by names such "
            "as train-00000.parquet. Pass --all-records to use every record."
        )


def _index_all(paths: list[str], filesystem: Any, all_records: bool) -> tuple[list[ShardFile], bool]:
    """Read what files say of their row groups, several at once; also tells whether all have a column `split`."""
    # Footers over a network: waiting for them one after the other would be most of the start.
    with ThreadPoolExecutor(_READERS) as pool:
        indexed = list(pool.map(lambda path: _index(path, filesystem, all_records), paths))
    return [file for file, _ in indexed], all("split" in schema.names for _, schema in indexed)


def _index(path: str, filesystem: Any, all_records: bool) -> tuple[ShardFile, Any]:
    # Where its name says the split, a file need not be opened to count those of others.
    count = not all_records and _split_of(path) is None
    return index_arrow(path, count) if path.endswith(".arrow") else index_parquet(path, filesystem, count)


def _check_size(path: str, size: int, expected: int) -> None:
    if size != expected:
        raise DataError(f"{path!r} is cut off or was changed: {size:,} bytes instead of {expected:,}. {AGAIN}")


PRESET = "pretraining"


def open_data(data: DataOptions, config: PretrainConfig, model: Any, rank: int, world: int) -> StreamingReader:
    """Return the batches of a process."""
    require_all((), [name for name in data.names if name in catalog.datasets()], data.data_root)
    sources = [
        open_source(
            name,
            data_root=data.data_root,
            cache_dir=data.cache_dir,
            all_records=data.all_records,
            max_unreadable=data.max_unreadable,
            num_proc=data.num_proc,
        )
        for name in data.names
    ]
    _refuse_repeated(data.names, sources)
    options = ReaderOptions(
        seed=config.seed,
        batch_size=config.batch_size,
        lanes=config.lanes,
        rank=rank,
        world=world,
        shuffle_records=config.shuffle_records,
        max_unreadable=data.max_unreadable,
        prefetch=data.prefetch,
        workers=data.num_workers,
        augment=config.augment,
    )
    return StreamingReader(sources, options, window_extractor(model, config.seconds))


def _refuse_repeated(names: Sequence[str], sources: Sequence[RecordSource]) -> None:
    """Refuse records that were named twice: counts and an epoch would be of more records than there are."""
    seen: dict[tuple[str, str], str] = {}
    for name, source in zip(names, sources, strict=True):
        first = seen.get(records := (source.corpus, source.fingerprint))
        if first is not None:
            raise InputError(f"--data {first} and --data {name} are the same records of {source.corpus}: name one.")
        seen[records] = name


def window_extractor(model: Any, seconds: float) -> Any:
    """What prepares windows: the preset `native` of the model's checkpoint, with windows of `seconds`."""
    from ecg_hub import ECGFeatureExtractor
    from ecg_hub.catalog import of_config

    entry = of_config(model)
    assert entry is not None
    preset = {**entry.presets["native"], "input_seconds": seconds}
    return ECGFeatureExtractor(len(model.lead_names), preset["sampling_rate"], presets={PRESET: preset}, preset=PRESET)
