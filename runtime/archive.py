"""`chainrule.PyTorchFileReader`: the records of a file of `save`, by name."""

from __future__ import annotations

import zipfile
from typing import Any

__all__ = ["PyTorchFileReader"]


class PyTorchFileReader:
    """Reads the bytes of single records of a file of `save`, here or in PyTorch: "data.pkl", "data/0", "version".

    name_or_buffer: a path or an open binary file. RuntimeError for what is no such file or has no such record.
    """

    def __init__(self, name_or_buffer: Any) -> None:
        try:
            self._archive = zipfile.ZipFile(name_or_buffer)
        except zipfile.BadZipFile as error:
            raise RuntimeError(f"PytorchStreamReader failed reading zip archive: {error}") from None
        roots = {name.partition("/")[0] for name in self._archive.namelist()}
        self._root = f"{min(roots, default='archive')}/"

    def get_all_records(self) -> list[str]:
        """The names of the records."""
        return [name.removeprefix(self._root) for name in self._archive.namelist()]

    def has_record(self, name: str) -> bool:
        """Whether there is a record of this name."""
        return name in self.get_all_records()

    def get_record(self, name: str) -> bytes:
        """The bytes of a record."""
        if not self.has_record(name):
            raise RuntimeError(f"PytorchStreamReader failed locating file {name}: file not found")
        return self._archive.read(self._root + name)
