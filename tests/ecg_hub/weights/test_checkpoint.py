"""Reading checkpoints: every format, damaged files, and files that try to run something."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch

from ecg_hub.errors import CheckpointError
from ecg_hub.utils.files import file_sha256
from ecg_hub.weights.checkpoint import read_checkpoint
from tests.support.models import write_lightning_checkpoint


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    return {
        "weight": base,
        "transposed": base.T,
        "row": base[2],
        "expanded": torch.randn(1, 3, generator=generator).expand(5, 3),
        "half": torch.randn(3, generator=generator).half(),
        "bfloat": torch.randn(3, generator=generator).bfloat16(),
        "double": torch.randn(2, generator=generator).double(),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "complex": torch.complex(torch.ones(2), torch.zeros(2)),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }


def assert_same(read: dict[str, torch.Tensor], written: dict[str, torch.Tensor]) -> None:
    assert read.keys() == written.keys()
    for name, tensor in written.items():
        assert read[name].dtype == tensor.dtype, name
        assert torch.equal(read[name], tensor.detach()), name
        assert read[name].is_contiguous()
        assert not read[name].requires_grad


@pytest.mark.parametrize("zip_format", [True, False])
def test_torch_formats(zip_format: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(OrderedDict(state()), path, _use_new_zipfile_serialization=zip_format)
    checkpoint = read_checkpoint(path)
    assert_same(checkpoint.state, state())
    assert checkpoint.container == ("torch zip" if zip_format else "torch pickle")
    assert (checkpoint.key, checkpoint.member, checkpoint.unread, checkpoint.not_tensors) == (None, None, (), ())
    assert (checkpoint.file, checkpoint.size) == ("weights.pth", path.stat().st_size)
    assert checkpoint.sha256 == file_sha256(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zip_format", [True, False])
def test_pickle_protocols(protocol: int, zip_format: bool, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zip_format)
    assert_same(read_checkpoint(tmp_path / "w.pt").state, state())


def test_whole_module_state_dict_with_metadata(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1), torch.nn.BatchNorm1d(3))
    torch.save(module.state_dict(), tmp_path / "w.pt")
    assert_same(read_checkpoint(tmp_path / "w.pt").state, dict(module.state_dict()))


def test_safetensors(tmp_path: Path) -> None:
    written = {name: tensor.detach().contiguous().clone() for name, tensor in state().items() if name != "complex"}
    safetensors.torch.save_file(written, tmp_path / "w.safetensors")
    checkpoint = read_checkpoint(tmp_path / "w.safetensors")
    assert_same(checkpoint.state, written)
    assert checkpoint.container == "safetensors"


@pytest.mark.parametrize("zip_format", [True, False])
def test_lightning_checkpoint_with_absent_classes(zip_format: bool, tmp_path: Path) -> None:
    write_lightning_checkpoint(tmp_path / "last.ckpt", state(), zip_format=zip_format)
    assert "omegaconf" not in sys.modules
    checkpoint = read_checkpoint(tmp_path / "last.ckpt")
    assert_same(checkpoint.state, state())
    assert checkpoint.key == "state_dict"
    assert {"omegaconf.dictconfig.DictConfig", "clinical_ts.config.TaskConfig"} <= set(checkpoint.unread)
    assert "omegaconf" not in sys.modules
    assert "clinical_ts" not in sys.modules


@pytest.mark.parametrize("folder", ["", "ECG-CPC_Checkpoint/"])
def test_inside_a_zip_archive(folder: str, tmp_path: Path) -> None:
    write_lightning_checkpoint(tmp_path / "last.ckpt", state())
    with zipfile.ZipFile(tmp_path / "download.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "last.ckpt", f"{folder}last.ckpt")
        archive.writestr(f"{folder}config.yaml", "lr: 0.001")
        archive.writestr(f"__MACOSX/{folder}._last.ckpt", "x")
    checkpoint = read_checkpoint(tmp_path / "download.zip", member="last.ckpt")
    assert_same(checkpoint.state, state())
    assert checkpoint.member == f"{folder}last.ckpt"
    assert checkpoint.sha256 == file_sha256(tmp_path / "download.zip")
    assert read_checkpoint(tmp_path / "download.zip").member == f"{folder}last.ckpt"
    # The only checkpoint is taken even if the published name changed.
    assert read_checkpoint(tmp_path / "download.zip", member="other.ckpt").member == f"{folder}last.ckpt"


def test_zip_archive_with_several_checkpoints(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        torch.save(state(), tmp_path / name)
    with zipfile.ZipFile(tmp_path / "download.zip", "w") as archive:
        for name in ("a.pt", "b.pt"):
            archive.write(tmp_path / name, name)
    with pytest.raises(CheckpointError, match="2 checkpoints"):
        read_checkpoint(tmp_path / "download.zip")
    with pytest.raises(CheckpointError, match=r"Did you mean 'a\.pt'"):
        read_checkpoint(tmp_path / "download.zip", member="a.pth")
    assert read_checkpoint(tmp_path / "download.zip", member="b.pt").member == "b.pt"


def test_where_the_state_dict_is(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"model": state(), "epoch": 3, "optimizer": {"lr": 1.0}}, path)
    assert read_checkpoint(path).key == "model"
    torch.save({"teacher": state(), "student": {**state(), "note": "text"}}, path)
    with pytest.raises(CheckpointError, match="'teacher', 'student'"):
        read_checkpoint(path)
    chosen = read_checkpoint(path, key="student")
    assert chosen.not_tensors == ("note",)
    assert_same(chosen.state, state())
    with pytest.raises(CheckpointError, match="no state dict at 'pupil'"):
        read_checkpoint(path, key="pupil")
    torch.save({"model": state(), "state_dict": state()}, path)
    with pytest.raises(CheckpointError, match="several state dicts: state_dict, model"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="It holds a list"):
        read_checkpoint(path)


# Damaged files


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95, 0.999])
def test_truncated(zip_format: bool, share: float, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.pt", tmp_path / "cut.pt"
    torch.save({"a": torch.randn(300), "b": torch.randn(300)}, whole, _use_new_zipfile_serialization=zip_format)
    content = whole.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        read_checkpoint(path)


def test_truncated_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"a": torch.randn(300)}, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_checkpoint(path)


def test_flipped_bits_are_found(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a": torch.zeros(3000)}, path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Google Drive - Virus scan warning", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"\x89HDF\r\n\x1a\n", "begins with"),
        (pickle.dumps({"a": 1}), "not one of PyTorch"),
        (b"\x80\x02}q\x00(", "truncated"),
    ],
)
def test_not_a_checkpoint(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file .*absent\.pt"):
        read_checkpoint(tmp_path / "absent.pt")


def test_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(CheckpointError, match="0 checkpoints"):
        read_checkpoint(tmp_path / "a.zip")


# Hostile files


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.recipe = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.recipe


def hostile_objects(marker: Path) -> dict[str, Any]:
    command = f"touch {marker}"
    write = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Call(os.system, command),
        "eval": Call(eval, write),
        "exec": Call(exec, write),
        "open": Call(open, str(marker), "w"),
        "import": Call(builtins.__import__, "antigravity"),
        "popen": Call(__import__("subprocess").Popen, ["touch", str(marker)]),
    }


PLACES = {
    "as a weight": lambda bad: {"state_dict": {**state(), "bad": bad}},
    "in hyper_parameters": lambda bad: {"state_dict": state(), "hyper_parameters": {"base": [{"task": bad}]}},
    "at the top": lambda bad: bad,
}


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attack", ["os.system", "eval", "exec", "open", "import", "popen"])
def test_nothing_is_run(attack: str, place: str, zip_format: bool, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "bad.ckpt"
    content = PLACES[place](hostile_objects(marker)[attack])
    torch.save(content, path, _use_new_zipfile_serialization=zip_format)
    sys.modules.pop("antigravity", None)
    with pytest.raises(CheckpointError, match="not safe"):
        read_checkpoint(path)
    assert not marker.exists()
    assert "antigravity" not in sys.modules


def test_the_attack_would_work(tmp_path: Path) -> None:
    """The files above do run something under a plain unpickler, so that the test above shows something."""
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(hostile_objects(marker)["os.system"]))
    assert marker.exists()


def test_in_the_sys_info_of_the_older_format(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "bad.pt"
    with path.open("wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, 2)
        pickle.dump(1001, file, 2)
        pickle.dump(hostile_objects(marker)["os.system"], file, 2)
    with pytest.raises(CheckpointError, match="not safe"):
        read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("zip_format", [True, False])
def test_calls_of_harmless_names_are_not_made_either(zip_format: bool, tmp_path: Path) -> None:
    called: list[str] = []
    module = ModuleType("ward_tools")
    sys.modules["ward_tools"] = module
    path = tmp_path / "w.pt"
    try:
        exec("def note(text):\n    called.append(text)", {"called": called, "__name__": "ward_tools"}, vars(module))
        torch.save({"w": torch.ones(2), "n": Call(module.note, "x")}, path, _use_new_zipfile_serialization=zip_format)
        checkpoint = read_checkpoint(path)
    finally:
        del sys.modules["ward_tools"]
    assert called == []
    assert checkpoint.unread == ("ward_tools.note",)
    assert checkpoint.not_tensors == ("n",)


def zip_with_pickle(path: Path, body: bytes, values: bytes = b"\x00" * 64) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", body)
        archive.writestr("archive/data/0", values)
    return path


def tensor_pickle(offset: int, shape: tuple[int, ...], stride: tuple[int, ...], numel: int = 16) -> bytes:
    """A pickle of {"w": tensor} with the geometry that is asked for."""

    class Writer(pickle._Pickler):  # the Python version lets a class be written under another name
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if obj == "STORAGE" else None

    rebuild = Call(torch._utils._rebuild_tensor_v2, "STORAGE", offset, shape, stride, False, OrderedDict())
    buffer = io.BytesIO()
    Writer(buffer, 2).dump({"w": rebuild})
    return buffer.getvalue()


def test_geometry_inside_the_values_is_read(tmp_path: Path) -> None:
    values = struct.pack("<16f", *range(16))
    path = zip_with_pickle(tmp_path / "w.pt", tensor_pickle(2, (3, 2), (4, 1)), values)
    assert read_checkpoint(path).state["w"].tolist() == [[2, 3], [6, 7], [10, 11]]


@pytest.mark.parametrize(
    ("offset", "shape", "stride", "numel"),
    [
        (0, (17,), (1,), 16),
        (10, (4, 2), (2, 1), 16),
        (-1, (2,), (1,), 16),
        (0, (2,), (-1,), 16),
        (0, (2, 2), (1,), 16),
        (0, (1 << 40, 1 << 20), (0, 0), 16),
        (0, (2.5,), (1,), 16),
        (0, (32,), (1,), 32),
    ],
)
def test_impossible_geometry(
    offset: int, shape: tuple[int, ...], stride: tuple[int, ...], numel: int, tmp_path: Path
) -> None:
    path = zip_with_pickle(tmp_path / "w.pt", tensor_pickle(offset, shape, stride, numel))
    with pytest.raises(CheckpointError, match=r"cannot be|too few|repeat their values"):
        read_checkpoint(path)


def test_pickles_cannot_change_what_was_built(tmp_path: Path) -> None:
    body = tensor_pickle(0, (2,), (1,))
    # BUILD with a state right after the tensor's REDUCE: {"shape": (1000000,)}.
    changed = body.replace(b"Rq", b"R}X\x05\x00\x00\x00shapeM\xe8\x03\x85sbq")
    assert changed != body
    with pytest.raises(CheckpointError, match="changes an object"):
        read_checkpoint(zip_with_pickle(tmp_path / "w.pt", changed))


def test_big_endian_is_refused(tmp_path: Path) -> None:
    path = zip_with_pickle(tmp_path / "w.pt", tensor_pickle(0, (2,), (1,)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(CheckpointError, match="big-endian"):
        read_checkpoint(path)
