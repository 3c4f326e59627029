"""What a phantom slide is made of; checked on construction, so that everything after can rely on it."""

from __future__ import annotations

from dataclasses import dataclass

from wsi.errors import InputError

CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
BACKGROUND = CLASSES.index("BACK")
TISSUE_CLASSES = tuple(name for name in CLASSES if name != "BACK")
PEN_COLOURS = ("black", "blue", "green", "red")

# Level-0 px per pixel of the truth maps.
MAP_DOWNSAMPLE = 8

MPP_RANGE = (0.25, 2.0)
_SIDE_RANGE_PX = (256, 65536)
_MOST_PIECES = 16
_MOST_DUST = 1000
_MOST_HARD_FEATURES = 100
_STRENGTH_RANGE = (0.1, 2.0)
_MOST_DEFOCUS_UM = 10.0
# Every piece needs room for an outline of its own on the 1/8 maps.
_LEAST_PIECE_PX = 192


def check_mpp(mpp: float) -> None:
    """Raise InputError unless `mpp` (µm/px) is one that textures can be drawn for."""
    if not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        raise InputError(f"mpp is {mpp}; give {MPP_RANGE[0]} to {MPP_RANGE[1]} µm per pixel")


@dataclass(frozen=True)
class PhantomSpec:
    """A phantom slide: size in level-0 px, what it shows, and the seed that settles all the rest.

    `classes` are the tissue classes that appear (BACK is always there, outside the tissue). `pens` draws one
    stroke per colour, `dust` so many specks and fibres. `background_steps` shows the scanner's stitched
    fields as steps of a few grey levels.

    What makes slides hard, all of it off by default: `fragments` places a small detached piece per class named;
    `bubbles` (air) and `folds` (doubled tissue) are counts; `coverslip` draws its edge, `dark_edges` the slide's
    own, `shading` an uneven light; `defocus_um` blurs part of the tissue by that sigma; `stain_strength` below 1
    makes it faint. Raises InputError for values that cannot be drawn.
    """

    seed: int
    width: int
    height: int
    mpp: float = 0.5
    pieces: int = 2
    classes: tuple[str, ...] = TISSUE_CLASSES
    pens: tuple[str, ...] = ()
    dust: int = 0
    background_steps: bool = False
    fragments: tuple[str, ...] = ()
    bubbles: int = 0
    folds: int = 0
    coverslip: bool = False
    dark_edges: bool = False
    shading: bool = False
    defocus_um: float = 0.0
    stain_strength: float = 1.0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; give 0 or more")
        low, high = _SIDE_RANGE_PX
        for name, side in (("width", self.width), ("height", self.height)):
            if not low <= side <= high:
                raise InputError(f"{name} is {side}; give {low} to {high} px")
        check_mpp(self.mpp)
        self._check_contents()

    def _check_contents(self) -> None:
        if not 1 <= self.pieces <= _MOST_PIECES:
            raise InputError(f"pieces is {self.pieces}; give 1 to {_MOST_PIECES}")
        if self.width * self.height < self.pieces * _LEAST_PIECE_PX**2:
            raise InputError(f"{self.width} × {self.height} px has no room for {self.pieces} pieces of tissue")
        if not self.classes:
            raise InputError("classes is empty; name at least one tissue class")
        _check_names("classes", self.classes, TISSUE_CLASSES)
        _check_names("pens", self.pens, PEN_COLOURS)
        if not 0 <= self.dust <= _MOST_DUST:
            raise InputError(f"dust is {self.dust}; give 0 to {_MOST_DUST}")
        self._check_hard_features()

    def _check_hard_features(self) -> None:
        _check_known("fragments", self.fragments, TISSUE_CLASSES)
        for name, count in (("fragments", len(self.fragments)), ("bubbles", self.bubbles), ("folds", self.folds)):
            if not 0 <= count <= _MOST_HARD_FEATURES:
                raise InputError(f"{name}: {count} asked for; give 0 to {_MOST_HARD_FEATURES}")
        if not 0 <= self.defocus_um <= _MOST_DEFOCUS_UM:
            raise InputError(f"defocus_um is {self.defocus_um}; give 0 to {_MOST_DEFOCUS_UM:g} µm")
        low, high = _STRENGTH_RANGE
        if not low <= self.stain_strength <= high:
            raise InputError(f"stain_strength is {self.stain_strength}; give {low} to {high}")

    @property
    def map_shape(self) -> tuple[int, int]:
        """(rows, cols) of the truth maps."""
        return -(-self.height // MAP_DOWNSAMPLE), -(-self.width // MAP_DOWNSAMPLE)


def _check_known(field: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"{field}: {', '.join(map(repr, unknown))} unknown; give any of {', '.join(known)}")


def _check_names(field: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    _check_known(field, names, known)
    if len(set(names)) != len(names):
        raise InputError(f"{field}: {', '.join(names)} names one twice")
