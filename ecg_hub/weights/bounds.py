"""How much memory reading a checkpoint may take, told by the file's size before anything is allocated.

A few bytes can ask for gigabytes: a pickle that names a memo of a billion places, tensors that repeat one value, zeros
that a zip archive packs a thousandfold, a member that is said to be larger than its archive.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import Any

from ecg_hub.errors import CheckpointError, DataError
from ecg_hub.utils.untrusted import check_zip

EXPANSION, FREE_BYTES = 8, 128 << 20
_OPCODE_BYTES = 256  # the largest object that an opcode without argument makes: an empty set
_TEXT_BYTES = 5  # of a pickled byte: four in a text with one letter beyond the basic plane, and one in the file's copy
_MEMO = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


class Room:
    """What is left of the memory that one file may take: eight times its size, and 128 MB for small ones.

    Attributes:
        name: of the file, as messages show it.
        held: bytes of the file.
        largest: bytes that it may take in all.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.held = path.stat().st_size
        self.largest = EXPANSION * self.held + FREE_BYTES
        self._left = self.largest

    def take(self, size: int, what: str) -> None:
        """Set bytes aside, or raise CheckpointError."""
        self._left -= size
        if self._left < 0:
            raise CheckpointError(
                f"{self.name} has {self.held:,} bytes and would take more than {self.largest:,} in memory ({what}): it "
                "is damaged or hostile. Get it from its authors."
            )

    def check_zip(self, archive: zipfile.ZipFile) -> None:
        """Refuse an archive that lies about its members, or expands to more than this file may take."""
        try:
            check_zip(archive, self.name, self.held, self.largest)
        except DataError as error:
            raise CheckpointError(f"{error}: it is damaged or hostile. Get it from its authors.") from None

    def check_pickle(self, file: Any) -> None:
        """Go through the next pickle of a file, which stands there again afterwards, without building anything.

        The file has its content in memory or mapped: reading more than is there allocates nothing.
        """
        start, count = file.tell(), 0
        for count, (opcode, value, _) in enumerate(pickletools.genops(file), start=1):
            # Its reader makes room for all places up to the highest; whoever writes pickles counts them.
            if opcode.name in _MEMO and int(value or 0) > count:
                raise CheckpointError(f"it numbers its {count:,}th object {value:,}: it is damaged or hostile")
            if count % 1000 == 0:
                self.take(1000 * _OPCODE_BYTES, "for the objects of its pickle")
        self.take(count % 1000 * _OPCODE_BYTES, "for the objects of its pickle")
        self.take((file.tell() - start) * _TEXT_BYTES, "for the text of its pickle")
        file.seek(start)
