"""Opening a Zarr group wherever it lies: a folder, a zip file or behind an address, with errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import fsspec
import zarr
from fsspec.registry import known_implementations
from zarr.abc.store import ByteRequest, RangeByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore, ZipStore

from wsi.errors import SlideError
from wsi.readers.zarr.zstd import limit_zstd
from wsi.source import File, Url

limit_zstd()
_MARKS = ("zarr.json", ".zgroup")
_METADATA = frozenset({"zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata"})
# Of one JSON file: parsed it takes up to a hundred times as much, and a slide's has some kB.
_MAX_METADATA_BYTES = 4 << 20
# What a zip's own compression makes smaller than this share was never a compressed chunk.
_LEAST_SHARE, _MODEST_BYTES = 1 / 100, 16 << 20


def _check_metadata(key: str, size: int) -> None:
    """Raise ValueError where a JSON file is larger than any slide's."""
    if key.rpartition("/")[2] in _METADATA and size > _MAX_METADATA_BYTES:
        raise ValueError(f"{key}: {size:,} bytes of metadata, over the limit of {_MAX_METADATA_BYTES:,}")


class BoundedZip(ZipStore):
    """A zip file that refuses entries which grow beyond measure when they are read. Raises ValueError."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """See `zarr.abc.store.Store.get`."""
        if not self._is_open:
            self._sync_open()
        try:
            entry = self._zf.getinfo(key)
        except KeyError:
            return None
        _check_metadata(key, entry.file_size)
        if entry.file_size > _MODEST_BYTES and entry.compress_size < entry.file_size * _LEAST_SHARE:
            raise ValueError(
                f"{key}: {entry.compress_size:,} bytes that grow to {entry.file_size:,}; write the zip uncompressed"
            )
        if byte_range is not None:
            return await super().get(key, prototype, byte_range)
        # By the size that is stated: what an entry has beyond it would be unpacked first and thrown away then.
        with self._lock, self._zf.open(entry) as stream:
            return prototype.buffer.from_bytes(stream.read(entry.file_size))


class BoundedStore(LocalStore):
    """A folder that refuses to read beyond a file's end: a shard's index may ask for any length, and get memory for it.

    Nor does it read metadata that are larger than any slide's. Raises ValueError.
    """

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """See `zarr.abc.store.Store.get`."""
        path = self.root / key
        if isinstance(byte_range, RangeByteRequest) and path.is_file() and byte_range.end > path.stat().st_size:
            raise ValueError(f"{key}: a chunk at {byte_range.start} to {byte_range.end}, beyond the file's end")
        if path.name in _METADATA and path.is_file():
            _check_metadata(key, path.stat().st_size)
        return await super().get(key, prototype, byte_range)


def is_zarr(source: File) -> bool:
    """Whether to look for a Zarr group there. Of addresses nothing else is read, so they always count as one."""
    if isinstance(source, Url):
        return True
    if source.is_dir():
        return any((source / mark).is_file() for mark in _MARKS)
    return source.suffix.lower() in (".zip", ".ozx") and source.is_file()


def open_group(source: File) -> zarr.Group:
    """The Zarr group at `source`, read-only. Raises SlideError where there is none or its driver is missing."""
    if isinstance(source, Path):
        store = BoundedZip(source) if source.is_file() else BoundedStore(source, read_only=True)
        return zarr.open_group(store, mode="r")
    _check_driver(source)
    try:
        return zarr.open_group(FsspecStore.from_url(str(source), read_only=True), mode="r")
    except FileNotFoundError as error:
        raise SlideError(
            f"{source}: no Zarr group there; give the address of an OME-Zarr image. Other slides are read from a disk: "
            "download them"
        ) from error
    except PermissionError as error:
        hint = f"; for a public one set FSSPEC_{source.scheme.upper()}_ANON=true" if source.scheme == "s3" else ""
        raise SlideError(f"{source}: access is refused ({error}){hint}") from error


def _check_driver(url: Url) -> None:
    """Raise SlideError where fsspec knows no such scheme, or not the package that reads it."""
    try:
        fsspec.get_filesystem_class(url.scheme)
    except ValueError as error:
        raise SlideError(f"{url}: nothing is known to read {url.scheme}:// addresses; download it first") from error
    except ImportError as error:
        module = str(known_implementations[url.scheme]["class"]).partition(".")[0]
        package = "tesela[remote]" if module in ("fsspec", "s3fs") else module
        raise SlideError(f"{url}: {url.scheme}:// needs one more package; pip install '{package}'") from error
