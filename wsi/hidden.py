"""Files and folders that nobody means: hidden ones, and what file servers, systems and archives leave beside others."""

from __future__ import annotations

_SYSTEM_NAMES = frozenset(
    {
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "~snapshot"),
        *("__macosx", "network trash folder", "temporary items", "lost+found"),
        *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    }
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden or of the system: thumbnails, waste bins, snapshots."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES
