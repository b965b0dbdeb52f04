"""Folders that several workers of pytest-xdist share: made by the one that asks first, while the others wait."""

import shutil
from pathlib import Path
from typing import Any, Callable

from filelock import FileLock


class SharedFolders:
    """Folders below `folder`, each made once for all processes that use it.

    Tests must not write to them.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "shared"
        self.folder.mkdir(exist_ok=True)

    def made(self, name: str, make: Callable[[Path], Any]) -> Path:
        """The folder NAME, by make(folder) if nobody has made it. What failed halfway is tried again from the start."""
        folder, complete = self.folder / name, self.folder / f"{name}.complete"
        with FileLock(self.folder / f"{name}.lock"):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                complete.touch()
        return folder
