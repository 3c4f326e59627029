"""overlay.png: the picture itself, and beside it all that a reader needs, whatever the slide's shape and names."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cells import everywhere
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image, ImageCms

from wsi import fonts
from wsi.geometry import Box, TileGrid, TileSpec
from wsi.icc import Icc
from wsi.overlay import OverlayOptions, Painter, write_overlay, write_region
from wsi.preview import RESEARCH_USE, Caption, preview_figure, write_preview
from wsi.scores import TileScores
from wsi.slide import open_slide

NINE = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
LONG = "poorly differentiated adenocarcinoma with signet ring cells and abundant extracellular mucin"
CAPTION = Caption("A7", "tissue9", "2024-05-01")


def random_scores(size: tuple[int, int], classes: tuple[str, ...], *, nothing: bool = False) -> TileScores:
    grid = TileGrid(TileSpec(64, 0.5, 64), *size, (0.5, 0.5))
    values = np.random.default_rng(1).dirichlet(np.ones(len(classes)), grid.rows * grid.cols).astype(np.float32)
    values = np.where(nothing, np.nan, values).astype(np.float32)
    return TileScores(grid, classes, values, "m", tissue=everywhere(grid))


def drawn(
    size: tuple[int, int], scores: TileScores, options: OverlayOptions, caption: Caption = CAPTION
) -> tuple[Figure, NDArray[np.uint8], NDArray[np.uint8]]:
    """The figure, the painted picture in it, and the figure's px as they are saved."""
    painter = Painter(scores, options)
    picture = painter.blend(np.full((size[1], size[0], 3), 200, np.uint8), Box(0, 0, *size))
    figure = preview_figure(picture, 0.5, painter, scores, options, caption)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return figure, picture, np.asarray(Image.open(stream).convert("RGB"))


def texts(figure: Figure) -> list[Text]:
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    return [text for text in found if text.get_visible() and (text.axes is None or text.axes.axison)]


def said(figure: Figure) -> str:
    """All texts, as if no line were broken."""
    return " ".join(" ".join(text.get_text().split()) for text in texts(figure))


@pytest.mark.parametrize("heat", [False, True])
@pytest.mark.parametrize(
    ("size", "classes", "slide_id"),
    [
        ((801, 603), NINE, "A7"),
        ((1600, 41), NINE, "A7"),
        ((43, 1600), (LONG, LONG.upper(), "x" * 90), LONG),
        ((64, 48), tuple(f"class {number}" for number in range(30)), "TCGA-CR-7395-01A-01-TS1.23f3a6c4-4a5e-44d1" * 3),
        ((301, 203), ("two $ in $ one", "$\\foo$", "_hidden", "a\tb"), "$x_1$"),
        ((1, 1), ("TUM",), ""),
    ],
)
def test_the_picture_is_kept_and_every_text_is_shown_whole(
    size: tuple[int, int], classes: tuple[str, ...], slide_id: str, heat: bool
) -> None:
    options = OverlayOptions(heat=classes[0] if heat else None)
    scores, caption = random_scores(size, classes), Caption(slide_id, "tissue9", "2024-05-01")
    figure, picture, pixels = drawn(size, scores, options, caption)
    assert np.array_equal(pixels[: size[1], : size[0]], picture)
    shown = Box(0, 0, *figure.get_window_extent().size.astype(int).tolist())
    boxes = [text.get_window_extent() for text in texts(figure)]
    for text, box in zip(texts(figure), boxes, strict=True):
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= shown.width, text
        assert box.y1 <= shown.height, text
        assert box.x0 >= size[0] or box.y1 <= shown.height - size[1], f"{text} lies on the picture"
    for index, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:index]), texts(figure)[index]
    together = said(figure).replace(" ", "")
    assert all("".join(name.split()) in together for name in classes[: 1 if heat else None])
    assert RESEARCH_USE.replace(" ", "") in together
    assert "".join(slide_id.split()) in together


@pytest.mark.parametrize(
    ("size", "length_um"), [((1000, 700), 100), ((1600, 41), 100), ((41, 1600), 100), ((70, 50), 5)]
)
def test_the_scale_bar_is_as_long_as_it_says(size: tuple[int, int], length_um: int) -> None:
    """At 0.5 µm per px; below the picture, so that it hides no tissue and fits on a narrow one."""
    figure, _, pixels = drawn(size, random_scores(size, NINE), OverlayOptions())
    assert f"{length_um} µm" in said(figure)
    black = (pixels[size[1] :] == 0).all(axis=2)  # the picture is not, and letters have no lines as long
    edges = np.diff(black.astype(int), axis=1, prepend=0, append=0)
    longest = max(int((np.flatnonzero(row < 0) - np.flatnonzero(row > 0)).max(initial=0)) for row in edges)
    assert longest == pytest.approx(length_um / 0.5, abs=2)


def test_where_nothing_was_scored_the_legend_says_so() -> None:
    """It does not say that there was no tissue: every tile of it may have been blank."""
    figure, picture, _ = drawn((300, 200), random_scores((300, 200), NINE, nothing=True), OverlayOptions())
    assert "No tile was scored: no tissue was found, or all of it is blank." in said(figure)
    assert (picture == 200).all()


def test_of_a_file_that_does_not_say_its_mpp_that_of_its_tiles_is_shown_and_kept(tmp_path: Path) -> None:
    """Somebody gave it when the tiles were cut; it need not be given a second time."""
    pixels = np.full((400, 600, 3), 220, np.uint8)
    tifffile.imwrite(tmp_path / "slide.tif", pixels, photometric="rgb", tile=(256, 256), compression="deflate")
    scores, options = random_scores((600, 400), NINE), OverlayOptions(quality=0)
    with open_slide(tmp_path / "slide.tif") as slide:
        assert slide.mpp is None
        write_overlay(tmp_path / "overlay.ome.tif", slide, scores, options)
        write_preview(tmp_path / "overlay.png", slide, scores, options, CAPTION)
    with open_slide(tmp_path / "overlay.ome.tif") as overlay:
        assert overlay.mpp == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("heat", [None, "癌細胞"])
def test_names_that_no_font_has_are_spelled_whole_within_the_legend(
    heat: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a machine has such a font, they are drawn in it."""
    monkeypatch.setattr(fonts, "_family_of", lambda _: None)
    classes = ("癌細胞を伴う低分化腺癌および豊富な細胞外粘液", "癌細胞")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure, _, pixels = drawn((801, 603), random_scores((801, 603), classes), OverlayOptions(heat=heat))
    assert "\\u764c\\u7d30\\u80de" in said(figure)
    assert "癌" not in said(figure)
    assert (pixels[:, -4:] == 255).all()  # nothing reaches the edge of the figure


@pytest.mark.parametrize("icc", ["as-is", "srgb"])
def test_pictures_carry_the_slides_colour_profile_where_its_pixels_are_as_stored(icc: Icc, tmp_path: Path) -> None:
    """Read through the profile they are sRGB, and the profile would be applied twice."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.full((400, 600, 3), 220, np.uint8)
    tifffile.imwrite(
        *(tmp_path / "slide.tif", pixels),
        photometric="rgb",
        tile=(256, 256),
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
        iccprofile=profile,
    )
    scores, options = random_scores((600, 400), NINE), OverlayOptions()
    with open_slide(tmp_path / "slide.tif", icc=icc) as slide:
        write_overlay(tmp_path / "overlay.ome.tif", slide, scores, options)
        write_preview(tmp_path / "overlay.png", slide, scores, options, CAPTION)
        write_region(tmp_path / "region.png", slide, scores, options, Box(0, 0, 64, 48))
    expected = profile if icc == "as-is" else None
    for name in ("overlay.png", "region.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.info.get("icc_profile") == expected, name
    with open_slide(tmp_path / "overlay.ome.tif") as overlay:
        assert overlay.header.icc_profile == expected


def test_the_legend_says_what_areas_are_of() -> None:
    scores, options = random_scores((300, 200), NINE), OverlayOptions(clip="tile")
    assert "mm²: of tissue in these tiles" in said(drawn((300, 200), scores, options)[0])
    of_before = replace(scores, tissue=None)
    assert "mm²: of whole tiles, with their glass" in said(drawn((300, 200), of_before, options)[0])
