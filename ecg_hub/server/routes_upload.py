"""Uploads: which way a file goes, large files by the LFS protocol, and commits as lines of JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
import codecs
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ecg_hub.server.calls import Call, Route, answer_json
from ecg_hub.server.history import CommitMessage, Operation
from ecg_hub.server.naming import RequestError, bad_request, check_path, check_sha256, check_size, too_large
from ecg_hub.server.repos import MAIN, Repo
from ecg_hub.server.storage import CHUNK, BlobWriter, Together, git_oid, lfs_pointer, missing_content
from ecg_hub.server.trees import File

MAX_REGULAR = 1 << 20  # bytes of a file that travels inside a commit
MAX_LINE = 16 << 20  # bytes of a line of a commit, in base64; clients may send larger files this way than asked to
MAX_OPERATIONS = 200_000
MAX_OBJECTS = 1000
# By name where it can be said: `datasets` deletes a Parquet file once it is pre-uploaded, so it cannot come inside
# the commit.
_BINARY = (
    *(".7z", ".arrow", ".bin", ".bz2", ".ckpt", ".feather", ".gz", ".h5", ".hdf5", ".joblib", ".mat", ".msgpack"),
    *(".npy", ".npz", ".onnx", ".parquet", ".pb", ".pickle", ".pkl", ".pt", ".pth", ".safetensors", ".tar", ".tgz"),
    *(".zip", ".zst"),
)


def preupload(call: Call) -> Response:
    """POST /api/{kind}/{repo}/preupload/{revision}: regular or LFS for each file, and what is there already.

    A .gitignore is not applied: what somebody uploads by name arrives.
    """
    files = call.body.get("files")
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files) or len(files) > MAX_OBJECTS:
        raise bad_request(f"files is a list of at most {MAX_OBJECTS:,} objects.")
    _, _, commit, _ = call.commit()
    trees = call.hub.catalog.trees
    answer = []
    for file in files:
        path, size = check_path(file.get("path")), check_size(file.get("size"))
        call.hub.blobs.check_size(size)
        node = trees.find(commit.tree, path)
        mode = _mode(path, size, str(file.get("sample", "")))
        # The client leaves out a file with this oid; one that is stored in the other way has to come.
        there = node.etag if isinstance(node, File) and (node.lfs or mode == "regular") else None
        answer.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": there})
    return answer_json({"files": answer, "commitOid": commit.oid})


def lfs_batch(call: Call) -> Response:
    """POST /{repo}.git/info/lfs/objects/batch: an address for each object that is not here yet."""
    objects = call.body.get("objects")
    if call.body.get("operation") != "upload" or call.body.get("hash_algo", "sha256") != "sha256":
        raise bad_request("This address takes uploads of objects named by their SHA-256.")
    if not isinstance(objects, list) or len(objects) > MAX_OBJECTS or not all(isinstance(one, dict) for one in objects):
        raise bad_request(f"objects is a list of at most {MAX_OBJECTS:,} objects.")
    call.repo()
    asked = {check_sha256(one.get("oid")): check_size(one.get("size")) for one in objects}
    wanted = {sha256: size for sha256, size in asked.items() if call.hub.blobs.size(sha256) != size}
    # With each object, as the protocol has it: the client shows the sentence to its user.
    refusal = None
    try:
        call.hub.disk.check_room(sum(wanted.values()))
        for size in wanted.values():
            call.hub.blobs.check_size(size)
    except RequestError as error:
        refusal = {"code": error.status, "message": error.message}
    listed = [_lfs_object(call, sha256, size, sha256 in wanted, refusal) for sha256, size in asked.items()]
    answer = {"transfer": "basic", "objects": listed}
    return answer_json(answer, headers={"Content-Type": "application/vnd.git-lfs+json"})


async def lfs_put(call: Call) -> Response:
    """PUT /lfs/{sha256}: the content, streamed to disk and checked; the address is signed and needs no token."""
    params = call.request.query_params
    sha256 = check_sha256(call.address.tail[1] if len(call.address.tail) == 2 else "")
    size = call.hub.signer.check(sha256, params.get("size", ""), params.get("expires", ""), params.get("signature", ""))
    announced = call.request.headers.get("content-length")
    if announced is not None and int(announced) != size:
        raise bad_request(f"{size:,} bytes were agreed on and {int(announced):,} are announced.")
    writer: BlobWriter = await run_in_threadpool(call.hub.blobs.writer, size)
    try:
        await _receive(call, writer, size)
        await run_in_threadpool(writer.finish, sha256, size)
    finally:
        await run_in_threadpool(writer.close)
    return Response(headers={"ETag": f'"{sha256}"'})


async def _receive(call: Call, writer: BlobWriter, size: int) -> None:
    """Take the content; a piece is hashed and written by a thread while the next one arrives."""
    arrived, writing = 0, asyncio.create_task(asyncio.sleep(0))
    try:
        async for chunks in _batches(call):
            arrived += sum(map(len, chunks))
            if arrived > size:
                raise too_large(f"More than the {size:,} bytes that were agreed on arrived.")
            await writing
            writing = asyncio.create_task(run_in_threadpool(writer.write, chunks))
        await writing
    finally:
        await asyncio.wait([writing])  # the file is closed next


def lfs_verify(call: Call) -> Response:
    """POST /lfs/{sha256}/verify: whether the content has arrived."""
    sha256 = check_sha256(call.body.get("oid"))
    if call.hub.blobs.size(sha256) != check_size(call.body.get("size")):
        raise RequestError(404, f"The content {sha256} has not arrived.")
    return answer_json({})


async def commit(call: Call) -> Response:
    """POST /api/{kind}/{repo}/commit/{revision}: lines of JSON; read one by one, content goes to disk at once."""
    repo: Repo = await run_in_threadpool(call.repo)
    reader = _CommitReader(call)
    try:
        async for lines in _lines(call):
            await run_in_threadpool(reader.take, lines)
        return await run_in_threadpool(_finish, call, repo, reader)
    finally:
        await run_in_threadpool(reader.files.close)


async def _lines(call: Call) -> AsyncIterator[list[bytes]]:
    """Yield the lines of the body as they come to their end."""
    rest = b""
    async for piece in _pieces(call):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
            limit = MAX_LINE * 3 // 4
            raise too_large(
                f"A file inside a commit may have {limit:,} bytes; larger ones go by LFS, as preupload says."
            )
        if lines:
            yield lines
    yield [rest]


def _finish(call: Call, repo: Repo, reader: _CommitReader) -> Response:
    message, parent = reader.message()
    # On the disk before a commit names it.
    reader.files.flush()
    revision = call.revision()[0]
    answer: dict[str, Any] = {"success": True}
    if call.flag("create_pr"):
        if revision != MAIN:
            raise bad_request(f"A pull request starts from {MAIN!r}, not from {revision!r}.")
        number, new = call.hub.discussions.propose(repo, reader.operations, message, parent)
        answer["pullRequestUrl"] = f"{call.base}/{repo.web_path}/discussions/{number}"
    else:
        new = call.hub.history.commit(repo, revision, reader.operations, message, parent)
    answer |= {"commitUrl": f"{call.base}/{repo.web_path}/commit/{new.oid}", "commitOid": new.oid}
    return answer_json(answer)


def xet(call: Call) -> Response:
    """GET .../xet-write-token/...: what a client with Xet switched on asks first; the answer names the way out."""
    raise RequestError(
        400,
        "This hub does not speak Xet: set HF_HUB_DISABLE_XET=1 in the environment before Python starts, and try again.",
    )


class _CommitReader:
    """The lines of a commit, as they come.

    Attributes:
        operations: what to do, in order.
        files: contents that are not flushed yet.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._header: dict[str, Any] | None = None
        self.operations: list[Operation] = []
        self.files = Together(call.hub.disk)

    def take(self, lines: list[bytes]) -> None:
        """Take lines; content of small files goes to disk."""
        for line in lines:
            if not line.strip():
                continue
            try:
                item = json.loads(line)
                key, value = item["key"], item["value"]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise bad_request("A line of the commit is not a JSON object with key and value.") from None
            if not isinstance(value, dict):
                raise bad_request(f"The value of {str(key)[:50]!r} is not an object.")
            if key == "header":
                self._header = value
            else:
                self.operations.append(self._operation(key, value))
            if len(self.operations) > MAX_OPERATIONS:
                raise too_large(f"A commit may have {MAX_OPERATIONS:,} operations.")

    def message(self) -> tuple[CommitMessage, str | None]:
        """Return author and message, and the parent that the client saw."""
        header = self._header or {}
        title = header.get("summary")
        if not isinstance(title, str) or not title.strip():
            raise bad_request("The commit has no header with a summary.")
        parent = header.get("parentCommit")
        if parent is not None and not isinstance(parent, str):
            raise bad_request("parentCommit is a commit.")
        return CommitMessage(self._call.author, title.strip(), str(header.get("description") or "")), parent

    def _operation(self, key: object, value: dict[str, Any]) -> Operation:
        raw = value.get("path")
        if key == "deletedFolder" and isinstance(raw, str):
            raw = raw.rstrip("/")
        path = check_path(raw)
        if key == "file":
            return Operation(path, self._regular(path, value))
        if key == "lfsFile":
            return Operation(path, self._large(path, value))
        if key in ("deletedFile", "deletedFolder"):
            return Operation(path, folder=key == "deletedFolder")
        raise bad_request(f"A commit has no operation {str(key)[:50]!r}.")

    def _regular(self, path: str, value: dict[str, Any]) -> File:
        content = value.get("content")
        if not isinstance(content, str):
            raise bad_request(f"{path!r} comes without content.")
        if value.get("encoding") == "base64":
            try:
                data = base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError):
                raise bad_request(f"The content of {path!r} is not base64.") from None
        else:
            data = content.encode("utf-8", "replace")
        return File(git_oid(data), len(data), self._call.hub.blobs.add(data, self.files))

    def _large(self, path: str, value: dict[str, Any]) -> File:
        sha256 = check_sha256(value.get("oid"))
        size = self._call.hub.blobs.size(sha256)
        if size is None:
            raise missing_content(path, sha256)
        if "size" in value and check_size(value["size"]) != size:
            raise bad_request(f"{path!r} is announced with {value['size']} bytes; the content {sha256} has {size}.")
        self.files.settle(self._call.hub.blobs.path(sha256))
        return File(git_oid(lfs_pointer(sha256, size)), size, sha256, lfs=True)


async def _pieces(call: Call) -> AsyncIterator[bytes]:
    """Yield the body in pieces of about 1 MiB."""
    async for chunks in _batches(call):
        yield b"".join(chunks)


async def _batches(call: Call) -> AsyncIterator[list[bytes]]:
    """Yield the body as it came, about 1 MiB together: a thread for each network packet would be slow."""
    waiting, size = list[bytes](), 0
    async for chunk in call.request.stream():
        waiting.append(chunk)
        size += len(chunk)
        if size >= CHUNK:
            yield waiting
            waiting, size = [], 0
    yield waiting


def _lfs_object(call: Call, sha256: str, size: int, wanted: bool, refusal: dict[str, Any] | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"oid": sha256, "size": size, "authenticated": True}
    # Without `actions` the client takes it as uploaded: the same content is never sent twice.
    if not wanted:
        return answer
    if refusal:
        return {"oid": sha256, "size": size, "error": refusal}
    address = f"{call.base}/lfs/{sha256}"
    answer["actions"] = {
        "upload": {"href": f"{address}?{call.hub.signer.query(sha256, size)}", "header": {}},
        "verify": {"href": f"{address}/verify", "header": {}},
    }
    return answer


def _mode(path: str, size: int, sample: str) -> str:
    # The client sends empty files as regular ones, whatever it is told.
    if size == 0:
        return "regular"
    if size > MAX_REGULAR or path.lower().endswith(_BINARY):
        return "lfs"
    try:
        head = base64.b64decode(sample, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"The sample of {path!r} is not base64.") from None
    if b"\0" in head:
        return "lfs"
    try:
        # Not final: the sample may end in the middle of a letter.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "lfs"
    return "regular"


ROUTES: dict[tuple[str, str, str], Route] = {
    ("api", "POST", "preupload"): Route(preupload, write=True, body="json"),
    ("api", "POST", "commit"): Route(commit, write=True),
    # There is no Xet here; the refusal names the variable that switches it off.
    ("api", "GET", "xet-write-token"): Route(xet, write=None),
    ("api", "GET", "xet-read-token"): Route(xet, write=None),
    ("web", "POST", "lfs-batch"): Route(lfs_batch, write=True, body="json"),
    # Signed: huggingface_hub sends no token to the address of an upload.
    ("site", "PUT", "lfs"): Route(lfs_put, write=None),
    ("site", "POST", "lfs/verify"): Route(lfs_verify, write=True, body="json"),
}
