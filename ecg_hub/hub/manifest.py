"""The manifest of a folder of mirrored repositories: what lies there, where it came from, and what it must hash to.

The folder is plain: `models/ORG/NAME/...`, `datasets/...`, `spaces/...`, and beside them `ecg-hub-mirror.json`. The
manifest travels on a disk, so it is read as something that a stranger wrote: bounded in size, strict in form, and no
path in it leads out of its repository.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecg_hub.errors import DataError, EcgHubError
from ecg_hub.hub.client import Kind
from ecg_hub.names import PUBLIC_HUB
from ecg_hub.utils import __version__
from ecg_hub.utils.files import replacing
from ecg_hub.utils.repo_names import check_name, check_path, check_ref

FILE = "ecg-hub-mirror.json"
MAX_BYTES = 64 << 20
_SHOWN = 5


def check_repository(text: str) -> str:
    """Return the id of a repository."""
    parts = text.split("/")
    if len(parts) != 2:
        raise ValueError(f"{text[:200]!r} is no repository ORG/NAME")
    return "/".join(check_name(part) for part in parts)


def check_tag(text: str) -> str:
    """Return the name of a tag."""
    return check_ref(text, "tag")


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MirroredFile(_Checked):
    """A file.

    Attributes:
        path: inside its repository.
        size: in bytes.
        sha256: 64 hexadecimal digits.
    """

    path: Annotated[str, AfterValidator(check_path)]
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MirroredRepository(_Checked):
    """A repository at one commit.

    Attributes:
        kind: "model", "dataset" or "space".
        id: "ORG/NAME".
        commit: the commit it was read at; None for a converted model, which was on no hub.
        revision: what the user asked for: branch, tag or commit.
        tags: tags that stood for the commit.
        origin: the public hub, or None: the address of a hub inside an institution does not travel.
        private: whether only some may see it, or get its files.
        internal: whether its licence keeps it inside one institution.
        licence: as its card or our catalogue states it.
        left_out: files that were not mirrored, because the user asked so.
        files: all others.
    """

    kind: Kind
    id: Annotated[str, AfterValidator(check_repository)]
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None
    revision: Annotated[str, Field(max_length=250)]
    tags: tuple[Annotated[str, AfterValidator(check_tag)], ...] = ()
    origin: Literal["https://huggingface.co"] | None = None
    private: bool = False
    internal: bool = False
    licence: Annotated[str, Field(max_length=1000)] | None = None
    left_out: tuple[Annotated[str, AfterValidator(check_path)], ...] = ()
    files: tuple[MirroredFile, ...]

    @property
    def folder(self) -> str:
        """Where it lies below the mirror's folder."""
        return f"{self.kind}s/{self.id}"

    @property
    def label(self) -> str:
        """Name of the tag that stands for this state wherever it is imported."""
        if self.commit is not None:
            return f"upstream-{self.commit[:12]}"
        # Neither NUL nor a line's end can stand in a path, so no two lists of files read the same.
        listing = "".join(f"{file.path}\0{file.sha256}\n" for file in sorted(self.files, key=lambda file: file.path))
        return f"copy-{hashlib.sha256(listing.encode()).hexdigest()[:12]}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @model_validator(mode="after")
    def _consistent(self) -> MirroredRepository:
        paths = [file.path for file in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError(f"{self.id} names a file twice")
        # A path that is a file here and a folder there cannot be laid out.
        folders = {path[:end] for path in paths for end, letter in enumerate(path) if letter == "/"}
        if both := folders.intersection(paths):
            raise ValueError(f"{self.id}: {sorted(both)[0]!r} is a file and a folder")
        return self


class Manifest(_Checked):
    """What lies in a folder of mirrored repositories."""

    format: Literal["ecg-hub mirror"] = "ecg-hub mirror"
    version: Literal[1] = 1
    made_by: Annotated[str, Field(max_length=100)] = f"ecg-hub {__version__}"
    repositories: tuple[MirroredRepository, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        # Disks that are carried around (exFAT, NTFS) do not tell upper from lower case.
        places = [repository.folder.casefold() for repository in self.repositories]
        if len(set(places)) != len(places):
            raise ValueError("a repository is named twice")
        return self

    def with_repository(self, new: MirroredRepository) -> Manifest:
        """Return the manifest with a repository added or replaced."""
        others = [one for one in self.repositories if one.folder != new.folder]
        listed = tuple(sorted([*others, new], key=lambda one: one.folder))
        return self.model_copy(update={"repositories": listed, "made_by": f"ecg-hub {__version__}"})


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder."""
    path = folder / FILE
    # By a link, the disk would have a file of this machine read.
    if not path.is_file() or path.is_symlink():
        raise DataError(
            f"{str(folder)!r} holds no {FILE}, so it is no mirror. `ecg-hub mirror ID --to DIR` writes one."
        )
    # Looked at before it is read: a stranger's file may have any size.
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{str(path)!r} has {size:,} bytes; a manifest has at most {MAX_BYTES:,}.")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{str(path)!r} is damaged or of another version of ecg-hub:\n{_problems(error)}") from error
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}).") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder, whole or not at all."""
    content = (manifest.model_dump_json(indent=1) + "\n").encode()
    if len(content) > MAX_BYTES:
        raise EcgHubError(f"These repositories have too many files for one folder: {len(content):,} bytes of manifest.")
    with replacing(folder / FILE) as temporary:
        temporary.write_bytes(content)


def public_origin(address: str) -> Any:
    """Return the address of the public hub, or None for any other, which stays where it is."""
    return PUBLIC_HUB if address == PUBLIC_HUB else None


def _problems(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False)[:_SHOWN]:
        field = ".".join(str(part) for part in problem["loc"])
        lines.append(f"  {field}: {problem['msg']}".replace("  : ", "  "))
    return "\n".join(lines)
