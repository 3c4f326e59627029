"""Flat pictures: JPEG, PNG, JPEG 2000, JPEG XL, WebP and BMP."""

from wsi.readers.picture.reader import PictureReader

__all__ = ["PictureReader"]
