"""What stored values show where no header says it: how many of 16 bits are in use, and whether alpha is anything.

A few native tiles, evenly spread over level 0, and the coarsest level are looked at when a file is opened, always the
same ones: the scaling of a slide depends on its file alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from wsi.geometry import Level

# Of level 0 so many native tiles are looked at, or all where it is small; the coarsest level whole unless it is large.
LOOKED_AT, SMALL_PX, WHOLE_PX = 16, 1 << 18, 1 << 22
ALL_BITS = 65_535
# Cameras and their programs write so many bits into 16.
_USED_BITS = (8, 10, 12, 14)
# Glass is near full intensity. A picture whose largest value is below this share of a range is not one of that range.
_NEAR = 0.75


@dataclass(frozen=True)
class Values:
    """The largest value of a colour and of alpha that was seen; alpha: None where there is none."""

    brightest: int
    alpha: int | None

    @classmethod
    def of(cls, samples: NDArray[Any], colours: int, alpha: int | None) -> Values:
        """(..., channels) as they are stored: the first `colours` are colours. alpha: index of that channel."""
        return cls(
            int(samples[..., :colours].max(initial=0)),
            None if alpha is None else int(samples[..., alpha].max(initial=0)),
        )

    @classmethod
    def joined(cls, parts: Iterable[Values]) -> Values:
        """Of all parts."""
        listed = list(parts)
        alphas = [part.alpha for part in listed if part.alpha is not None]
        return cls(max((part.brightest for part in listed), default=0), max(alphas, default=None))

    @property
    def alpha_is_nothing(self) -> bool:
        """Alpha is 0 wherever it was looked at, and colours lie under it: nobody meant to hide all of a picture."""
        return self.alpha == 0 and self.brightest > 0

    @property
    def full_scale(self) -> int:
        """The value of full intensity of 16-bit samples: 255, 1023, 4095, 16383 or 65535.

        The least that no value exceeds, if the brightest comes near to it. A dark picture stays as dark as it is.
        """
        ranges = [(1 << bits) - 1 for bits in _USED_BITS]
        fitting = next((top for top in ranges if self.brightest <= top), ALL_BITS)
        return fitting if self.brightest >= _NEAR * fitting else ALL_BITS


def looked_at(level: Level, tiles: int) -> list[int]:
    """Indices of a level's native tiles, of which there are `tiles`, that are looked at: all, or evenly spread."""
    pixels, reduced = level.width * level.height, level.downsample > 1
    if pixels <= (WHOLE_PX if reduced else SMALL_PX) or tiles <= LOOKED_AT:
        return list(range(tiles))
    return [(2 * number + 1) * tiles // (2 * LOOKED_AT) for number in range(LOOKED_AT)]


def depth_notes(bits: int, full_scale: int, values: Values | None, by: str = "") -> tuple[str, ...]:
    """For people: how samples of more than 8 bits were scaled. values: where those and no header decided it.

    by: what full intensity was taken from, in brackets, where a reader says that.
    """
    scaled = f"0 to {full_scale}{f' ({by})' if by else ''} scaled to 0 to 255"
    if bits <= 8:
        return ()
    if values is None or bits != 16:
        return (f"{bits} bits a channel: {scaled}",)
    if full_scale < ALL_BITS:
        used = f"of which {full_scale.bit_length()} are in use (no value above {values.brightest} was seen)"
        return (f"{bits} bits a channel, {used}: {scaled}",)
    if values.brightest < ALL_BITS / 2:
        return (f"{bits} bits a channel: {scaled}; it is dark, no value above {values.brightest} was seen",)
    return (f"{bits} bits a channel: {scaled}",)


def alpha_notes(values: Values | None) -> tuple[str, ...]:
    """For people: what became of alpha. values: of a picture that has one."""
    if values is not None and values.alpha_is_nothing:
        return ("its alpha is 0 everywhere, over colours: taken for no alpha and ignored",)
    return ("transparent pixels are shown over white",)
