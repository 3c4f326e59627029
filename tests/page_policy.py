"""What every page that Tesela writes must say of itself: it reaches for nothing, and runs nothing but its own."""

from __future__ import annotations

import base64
import hashlib
import html


def assert_reaches_for_nothing(page: str) -> None:
    """Its policy allows its own style and script, by their digests, pictures inside it, and nothing else."""
    policy = html.unescape(page.split('http-equiv="Content-Security-Policy" content="')[1].split('"', maxsplit=1)[0])
    style = page.split("<style>")[1].split("</style>", maxsplit=1)[0]
    assert policy.startswith(f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src ")
    script = page.split("<script>")[1].split("</script>", maxsplit=1)[0] if "<script>" in page else None
    allowed = "'none'" if script is None else f"'{_digest(script)}'"
    assert f"script-src {allowed};" in policy
    assert "unsafe" not in policy
    assert " style=" not in page.replace("</style>", "")  # the policy would refuse it
    assert "//" not in "".join(
        part.split('"')[0] for name in ("src=", "href=") for part in page.split(f'{name}"')[1:] if "data:" not in part
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
