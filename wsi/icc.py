"""A slide's own colours, by its ICC profile, as sRGB: what screens show and most models were trained on."""

from __future__ import annotations

import io
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from wsi.errors import SlideError

# "as-is": pixels as they are stored, whatever the profile says.
Icc: TypeAlias = Literal["as-is", "srgb"]

# The data colour space in a profile's header.
_RGB = b"RGB "


def rgb_profile(profile: bytes | None) -> bytes | None:
    """The profile, if it is one of RGB values; None for those of grey or CMYK, which say nothing about RGB."""
    return profile if profile and profile[16:20] == _RGB else None


def profile_notes(profile: bytes | None) -> tuple[str, ...]:
    """For people: that `rgb_profile` left the profile out, and what it is for; empty where it did not."""
    if not profile or profile[16:20] == _RGB:
        return ()
    space = profile[16:20].decode("latin-1").strip() or "nothing"
    return (f"its colour profile is for {space}, not for RGB: left out",)


class ToSrgb:
    """Turns the colours that an ICC profile describes into sRGB, with the profile's own rendering intent."""

    def __init__(self, profile: bytes, name: str) -> None:
        """Raises SlideError, naming the slide, where the profile is damaged or is none of RGB."""
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            self._transform = ImageCms.buildTransform(
                source,
                ImageCms.createProfile("sRGB"),
                "RGB",
                "RGB",
                renderingIntent=ImageCms.Intent(ImageCms.getDefaultIntent(source)),
                # Its cache of one colour is not safe with threads.
                flags=ImageCms.Flags.NOCACHE,
            )
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            raise SlideError(
                f"{name}: its ICC profile cannot be applied ({error}); run it with `icc: as-is`, colours as stored"
            ) from error

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w, 3) sRGB of (h, w, 3) RGB in the profile's colours."""
        picture = Image.fromarray(np.ascontiguousarray(rgb), "RGB")
        ImageCms.applyTransform(picture, self._transform, inPlace=True)
        return np.asarray(picture)
