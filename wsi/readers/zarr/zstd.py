"""zarr's zstd codec, with a limit: a chunk may say of itself that it holds terabytes, and they would be allocated."""

from __future__ import annotations

import math

import zarr
from zarr.codecs import ZstdCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.registry import register_codec

_MAGIC = b"\x28\xb5\x2f\xfd"


class BoundedZstd(ZstdCodec):
    """Refuses a chunk that declares more bytes than the array's chunks have."""

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        largest = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        declared = declared_bytes(chunk_bytes.as_numpy_array()[:18].tobytes())
        if declared is not None and declared > largest:
            raise ValueError(f"a chunk declares {declared:,} bytes, {largest:,} is what the array's chunks have")
        return super()._decode_sync(chunk_bytes, chunk_spec)


def declared_bytes(frame: bytes) -> int | None:
    """The size of its content that a zstd frame states (RFC 8878, section 3.1.1.1); None where it states none."""
    if frame[:4] != _MAGIC or len(frame) < 5:
        return None
    descriptor = frame[4]
    single_segment = descriptor >> 5 & 1
    length = (single_segment, 2, 4, 8)[descriptor >> 6]
    start = 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3]
    if length == 0 or len(frame) < start + length:
        return None
    return int.from_bytes(frame[start : start + length], "little") + (256 if length == 2 else 0)


def limit_zstd() -> None:
    """Let zarr use the codec above in this process."""
    register_codec("zstd", BoundedZstd)
    zarr.config.set({"codecs.zstd": f"{BoundedZstd.__module__}.{BoundedZstd.__qualname__}"})
