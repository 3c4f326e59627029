"""What an annotation file says: its bytes, unpacked where it is gzipped, and its text, in whatever encoding."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from pathlib import Path

from wsi.errors import InputError

_GZIP = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20
# Measured: 100,000 tiles as GeoJSON pack to a tenth, and to a 67th where they are indented and have no ids; outlines of
# nuclei to a 17th. A file of one character packs to a thousandth.
_MOST_PACKED, _ALWAYS_ALLOWED_BYTES = 100, 16 << 20
# 100,000 nuclei of 24 points take 78 MB.
_LARGEST_BYTES = 2 << 30
_DECLARED = re.compile(r"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_IN_UNITS_OF_MORE_BYTES = ("utf-16", "utf-32", "utf16", "utf32", "ucs", "iso-10646")


def read_text(path: Path, kind: str) -> str:
    """The text of a file, gzipped or not, whatever its ending says; kind: for the error.

    UTF-8, 16 and 32 are told by their first bytes; another encoding is what an XML file declares, else UTF-8.
    Raises InputError where the file cannot be read, is larger than 2 GB, or is packed as no honest file is.
    """
    content = _content(path, kind)
    encoding: str = json.detect_encoding(content)
    if encoding.startswith("utf-8") and (found := _DECLARED.match(content[:200].decode("latin-1").lstrip())):
        declared = found[1].lower()
        # Some programs write UTF-8 below a header that says UTF-16, which these bytes are not.
        encoding = encoding if declared.startswith(_IN_UNITS_OF_MORE_BYTES) else declared
    try:
        return content.decode(encoding)
    except LookupError as error:
        raise InputError(f"{path}: declares the encoding {encoding!r}, which is none; save it as UTF-8") from error
    except UnicodeError as error:
        raise InputError(f"{path}: not a readable {kind} file ({error}; save it as UTF-8)") from error


def _content(path: Path, kind: str) -> bytes | bytearray:
    try:
        if (size := path.stat().st_size) > _LARGEST_BYTES:
            raise InputError(_too_large(path, size, _LARGEST_BYTES))
        raw = path.read_bytes()
        return _unpacked(raw, path) if raw.startswith(_GZIP) else raw
    except InputError:
        raise
    except (OSError, EOFError, zlib.error) as error:  # the last two: a cut or damaged .gz
        raise InputError(f"{path}: not a readable {kind} file ({error})") from error


def _unpacked(raw: bytes, path: Path) -> bytearray:
    most = min(max(_MOST_PACKED * len(raw), _ALWAYS_ALLOWED_BYTES), _LARGEST_BYTES)
    found = bytearray()
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            found += chunk
            if len(found) > most:
                raise InputError(_too_large(path, len(raw), most))
    return found


def _too_large(path: Path, size: int, most: int) -> str:
    return (
        f"{path}: {size / 1e6:.3g} MB that hold more than {most / 1e6:.0f} MB, the most that is read of it "
        f"({_MOST_PACKED} times what is packed, 2 GB in all); if it is honest, unpack it, or divide it"
    )
