"""Folders and files wherever they are: on a disk, or what pyarrow has a file system for (s3://, gs://, hdfs://)."""

import io
import os
import uuid
from pathlib import Path
from typing import BinaryIO, Dict, List, NamedTuple, Tuple

from pyarrow import fs

from ernie_inference.errors import InputError

BUFFER_BYTES = 1 << 20
HIDDEN = ("_", ".")  # names that begin so are no data: so it is in Spark, pyarrow and Ray
WRITING = ".writing-"


class Stat(NamedTuple):
    """What tells that a file is still the one that it was."""

    size: int
    mtime_ns: int


def resolve(path: str) -> Tuple[fs.FileSystem, str]:
    """A path or URI as a file system and the path in it.

    Raises:
        InputError: there is no such file system, or it cannot be reached.
    """
    try:
        if "://" in path:
            return fs.FileSystem.from_uri(path)
        return fs.LocalFileSystem(), os.path.abspath(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be used ({one_line(error)})") from None


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def find_files(paths: List[str], endings: Tuple[str, ...]) -> List[str]:
    """The files that paths name, those of folders by name, as resolve takes them.

    Raises:
        InputError: there is no such file or folder, or a folder holds no file with one of these endings.
    """
    found: List[str] = []
    for path in paths:
        system, inner = resolve(path)
        scheme = path.partition("://")[0] + "://" if "://" in path and not path.startswith("file://") else ""
        try:
            info = system.get_file_info(inner)
            if info.type == fs.FileType.NotFound:
                raise InputError(f"--input_path {path} is missing: give files or folders of {' or '.join(endings)}")
            if info.type == fs.FileType.File:
                found.append(scheme + inner)
                continue
            inside = system.get_file_info(fs.FileSelector(inner, recursive=True))
        except OSError as error:
            raise InputError(f"--input_path {path} cannot be read ({one_line(error)})") from None
        names = sorted(
            file.path
            for file in inside
            if file.type == fs.FileType.File
            and file.path.endswith(endings)
            and not any(part.startswith(HIDDEN) for part in file.path[len(inner) :].split("/") if part)
        )
        if not names:
            raise InputError(f"--input_path {path} holds no file that ends with {' or '.join(endings)}")
        found += [scheme + name for name in names]
    return found


def stat_of(path: str) -> Stat:
    """Raises OSError where there is no such file."""
    system, inner = resolve(path)
    info = system.get_file_info(inner)
    if info.type != fs.FileType.File:
        raise FileNotFoundError(2, "No such file", path)
    return Stat(info.size, info.mtime_ns or 0)


def open_input(path: str, begin: int = 0) -> BinaryIO:
    """A file, to be read from a byte on."""
    system, inner = resolve(path)
    file = system.open_input_file(inner)
    file.seek(begin)
    return io.BufferedReader(file, BUFFER_BYTES)


class Store:
    """The folder that a run writes to."""

    def __init__(self, path: str):
        self.path = path
        self._system, self._root = resolve(path)
        self.is_local = isinstance(self._system, fs.LocalFileSystem)

    def __str__(self) -> str:
        return self.path

    @property
    def local_path(self) -> Path:
        return Path(self._root)

    @property
    def absolute(self) -> str:
        """The path for a process that has another working directory."""
        return self._root if self.is_local else self.path

    def is_in(self, path: str) -> bool:
        """Whether the folder is this one or in it."""
        return f"{self._root}/".startswith(resolve(path)[1].rstrip("/") + "/")

    def make(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            InputError: it cannot be made.
        """
        try:
            self._system.create_dir(self._root, recursive=True)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written to ({one_line(error)}): name another folder") from None

    def sizes(self, folder: str = "") -> Dict[str, int]:
        """The files of the folder, or of one in it, by name, with their sizes."""
        selector = fs.FileSelector(self._inner(folder), allow_not_found=True)
        return {info.base_name: info.size for info in self._system.get_file_info(selector) if info.is_file}

    def size(self, name: str) -> int:
        """The size of a file, -1 where there is none."""
        info = self._system.get_file_info(self._inner(name))
        return info.size if info.is_file else -1

    def read(self, name: str) -> bytes:
        with self._system.open_input_stream(self._inner(name)) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """A whole file, which has its name only when it is complete: an object store shows it no sooner by itself."""
        target = self._inner(name)
        if not self.is_local:
            with self._system.open_output_stream(target) as file:
                file.write(content)
            return
        Path(target).parent.mkdir(exist_ok=True)
        temporary = Path(target).with_name(f"{WRITING}{uuid.uuid4().hex}")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def remove_unfinished(self) -> None:
        """What runs have left that were killed while they wrote."""
        if self.is_local:
            for path in self.local_path.rglob(f"{WRITING}*"):
                path.unlink(missing_ok=True)

    def _inner(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root
