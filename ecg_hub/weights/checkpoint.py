"""Reading published checkpoint files without running anything that they name.

safetensors, PyTorch's zip format, its older pickle format, and any of these inside a zip archive. The pickles are read
by an unpickler of our own: it imports nothing, knows ordered dicts and the recipe of a dense tensor, and puts an inert
object in place of everything else (Lightning's hyper-parameters, omegaconf objects, optimiser states). A file that
names something only an attack would name, such as os.system, is refused.
"""

from __future__ import annotations

import reprlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_hub.errors import CheckpointError, EcgHubError, did_you_mean
from ecg_hub.utils.files import file_sha256
from ecg_hub.utils.untrusted import reason
from ecg_hub.weights.bounds import Room

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors", ".tar")
STATE_KEYS = ("state_dict", "model", "model_state_dict", "module", "net")


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a checkpoint file and where they came from.

    Attributes:
        state: tensors by name, contiguous, on the CPU.
        file: name of the file.
        size: its size in bytes.
        sha256: its digest.
        container: "safetensors", "torch zip" or "torch pickle".
        member: name inside a zip archive, if it was one.
        key: where in the file the tensors were found; None is the top.
        unread: classes in the file that were not looked into.
        not_tensors: names in the state dict that hold something else.
    """

    state: dict[str, Tensor]
    file: str
    size: int
    sha256: str
    container: str
    member: str | None
    key: str | None
    unread: tuple[str, ...]
    not_tensors: tuple[str, ...]


def read_checkpoint(
    path: str | Path, key: str | None = None, member: str | None = None, usual_key: str | None = None
) -> Checkpoint:
    """Read the state dict of a checkpoint file; CheckpointError for whatever is wrong with it."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"There is no file {str(path)!r}. Give the checkpoint file as it was downloaded.")
    try:
        return _read(path, key, member, usual_key)
    except (EcgHubError, MemoryError):
        raise
    except Exception as error:  # a damaged file may provoke anything in zipfile, safetensors and torch
        said = f"{type(error).__name__}: {reason(error)}"
        raise CheckpointError(f"{path.name} cannot be read ({said}): it is damaged. Download it again.") from error


def _read(path: Path, key: str | None, member: str | None, usual_key: str | None) -> Checkpoint:
    with _unpacked(path, member) as (inner, inner_name), ExitStack() as opened:
        room = Room(inner, path.name)
        container, tree, unread = _read_tree(inner, room, opened)
        stored, at = _find_state(tree, key, usual_key, path.name)
        # Here, while a file that was unpacked still exists: until now the tensors are places in it.
        state, others = _materialise(stored, room)
    return Checkpoint(
        state=state,
        file=path.name,
        size=path.stat().st_size,
        sha256=file_sha256(path),
        container=container,
        member=inner_name,
        key=at,
        unread=tuple(sorted(unread)),
        not_tensors=tuple(others),
    )


@contextmanager
def _unpacked(path: Path, member: str | None) -> Iterator[tuple[Path, str | None]]:
    """Yield the checkpoint itself: the file, or a temporary copy of the one inside a zip archive."""
    if not _is_zip(path):
        yield path, None
        return
    with _open_zip(path, Room(path, path.name)) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        # torch.save writes a zip archive too, and names its pickle so.
        if any(name.split("/")[-1] == "data.pkl" for name in names):
            yield path, None
            return
        chosen = _choose_member(names, member, path.name)
        with tempfile.TemporaryDirectory() as folder:
            inner = Path(folder) / "checkpoint"
            try:
                with archive.open(chosen) as source, inner.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                raise CheckpointError(f"{path.name}: cannot unpack {chosen!r} ({error}). Download it again.") from error
            yield inner, chosen


def _is_zip(path: Path) -> bool:
    # By its first bytes. zipfile.is_zipfile looks for the end of an archive, which other files may contain.
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _open_zip(path: Path, room: Room) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path.name} begins as a zip archive but has no end ({error}): it is truncated. Download it again."
        ) from error
    try:
        room.check_zip(archive)
    except CheckpointError:
        archive.close()
        raise
    return archive


def _choose_member(names: list[str], member: str | None, file: str) -> str:
    # macOS packs the attributes of every file as a second file with the same ending.
    candidates = [name for name in names if name.endswith(SUFFIXES) and not name.startswith("__MACOSX")]
    if member is not None:
        wanted = [name for name in candidates if name == member or name.split("/")[-1] == member]
        if len(wanted) == 1:
            return wanted[0]
        if len(candidates) != 1:
            hint = did_you_mean(member, candidates)
            raise CheckpointError(f"{file} holds no {member!r}.{hint} It holds: {', '.join(names[:20]) or 'nothing'}.")
    if len(candidates) != 1:
        raise CheckpointError(
            f"{file} is a zip archive with {len(candidates)} checkpoints ({', '.join(SUFFIXES)}), not one: "
            f"{', '.join(names[:20]) or 'it is empty'}. Unpack it and give the checkpoint itself."
        )
    return candidates[0]


def _read_tree(path: Path, room: Room, opened: ExitStack) -> tuple[str, Any, set[str]]:
    """Return container, content with unread tensors, and the classes left unread."""
    name = room.name
    from ecg_hub.weights.unpickling import read_torch_pickle, read_torch_zip

    with path.open("rb") as file:
        head = file.read(64)
    if head[:4] == b"PK\x03\x04":
        # Opened once: its directory of a thousand entries takes longer to read than a tensor.
        tree, unread = read_torch_zip(opened.enter_context(_open_zip(path, room)), name, room)
        return "torch zip", tree, unread
    # safetensors: eight bytes with the length of a JSON header, then the header.
    if head[8:9] == b"{":
        return "safetensors", _read_safetensors(path, name), set()
    # The opcode with which a pickle of protocol 2 or higher begins.
    if head[:1] == b"\x80":
        tree, unread = read_torch_pickle(path, name, room)
        return "torch pickle", tree, unread
    raise CheckpointError(f"{name} is not a checkpoint: {_guess(head)} Known: safetensors, torch zip, torch pickle.")


def _guess(head: bytes) -> str:
    text = head.lstrip().lower()
    if not head:
        return "it is empty. Download it again."
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, saved in place of the download. Open the page and download the file itself."
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer. Run `git lfs pull`, or download the file itself."
    return f"it begins with {head[:8]!r}."


def _read_safetensors(path: Path, name: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{name} is not a whole safetensors file ({error}). Download it again.") from error
    return loaded


def _find_state(tree: Any, key: str | None, usual_key: str | None, name: str) -> tuple[Mapping[Any, Any], str | None]:
    if key is not None:
        if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping):
            return tree[key], key
        raise CheckpointError(f"{name} has no state dict at {key!r}; it holds: {_keys(tree)}.")
    if isinstance(tree, Mapping):
        # Where the catalogue says, first: "model" in ECGFM-KED's file is the query network, not the encoder.
        usual = tree.get(usual_key)
        if isinstance(usual, Mapping) and _holds_tensors(usual):
            return usual, usual_key
        if _holds_tensors(tree):
            return tree, None
        keys = [usual for usual in STATE_KEYS if isinstance(tree.get(usual), Mapping) and _holds_tensors(tree[usual])]
        if len(keys) == 1:
            return tree[keys[0]], keys[0]
        if keys:
            raise CheckpointError(f"{name} has several state dicts: {', '.join(keys)}. Give one as key.")
    raise CheckpointError(f"{name} has no state dict: neither at the top nor at {', '.join(STATE_KEYS)}. {_keys(tree)}")


def _holds_tensors(tree: Mapping[Any, Any]) -> bool:
    import torch

    from ecg_hub.weights.unpickling import StoredTensor

    return any(isinstance(value, torch.Tensor | StoredTensor) for value in tree.values())


def _materialise(stored: Mapping[Any, Any], room: Room) -> tuple[dict[str, Tensor], list[str]]:
    import torch

    from ecg_hub.weights.unpickling import StoredTensor, brief

    state: dict[str, Tensor] = {}
    others: list[str] = []
    names = {key: key if isinstance(key, str) else brief(key) for key in stored}
    # All of them before the first is read: together they may not be larger than the file can be.
    for key, value in stored.items():
        if isinstance(value, StoredTensor):
            room.take(value.size(f"{room.name}: {names[key]}"), "for tensors that repeat their values")
    for key, value in stored.items():
        if isinstance(value, StoredTensor):
            state[names[key]] = value.load(f"{room.name}: {names[key]}")
        elif isinstance(value, torch.Tensor):
            state[names[key]] = value
        else:
            others.append(names[key])
    return state, others


def _keys(tree: Any) -> str:
    if isinstance(tree, Mapping):
        return f"It holds {', '.join(reprlib.repr(key) for key in list(tree)[:12]) or 'nothing'}."
    return f"It holds a {type(tree).__name__}."
