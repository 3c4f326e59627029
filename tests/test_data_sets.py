"""Class folders as data sets come: sizes, cases, duplicates, broken files, and how public ones are fetched."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pooch
import pytest
import requests
from imagecodecs import jpeg2k_encode
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from models.augment import EvalCrop
from models.data import read_folder, read_image
from models.data.duplicates import find_duplicates
from models.data.fetch import NCT_CRC, PublicSet, fetch, unpack
from models.data.survey import survey
from models.loading import decode_or_check
from models.splits import holdout
from pipelines.cli import app
from wsi.errors import InputError
from wsi.geometry import TileSpec

WHOLE = TileSpec(128, 0.875, 128)  # 224 px at 0.5 mpp, seen as 128 px
CROP = TileSpec(128, 0.5, 128)


def noise(seed: int, width: int = 224, height: int = 224) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, tif and png, as people have them."""
    for number, name in enumerate(("ADI/ADI-P1-a.tif", "ADI/ADI-P2-b.tif", "TUM/TUM-P1-a.png", "TUM/TUM-P3-b.png")):
        save(tmp_path / "set" / name, noise(number))
    return tmp_path / "set"


# --- the model's mpp decides


def area_means(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.float64]:
    """Means over equal squares whose sides need not be whole px, by plain arithmetic."""

    def weights(length: int) -> NDArray[np.float64]:
        step = length / size_px
        starts = np.arange(size_px)[:, None] * step
        px = np.arange(length)[None]
        return np.clip(np.minimum(px + 1, starts + step) - np.maximum(px, starts), 0, None) / step

    rows, cols = weights(pixels.shape[0]), weights(pixels.shape[1])
    return np.einsum("ih,hwc,jw->ijc", rows, pixels.astype(float), cols, optimize=True)


def test_a_coarser_model_sees_whole_tiles_and_a_finer_one_their_middle(folder: Path) -> None:
    images = read_folder(folder, 0.5)
    whole = EvalCrop(128)(images.load(0, WHOLE))
    assert whole.shape == (128, 128, 3)
    assert np.abs(whole - area_means(noise(0), 128)).max() <= 1
    assert np.array_equal(EvalCrop(128)(images.load(0, CROP)), noise(0)[48:176, 48:176])


def test_sizes_may_differ_within_a_set(folder: Path) -> None:
    save(folder / "ADI" / "wide.jpg", noise(9, 400, 300))
    images = read_folder(folder, 0.5)
    shapes = [images.load(i, WHOLE).shape[:2] for i in range(len(images))]
    assert shapes == [(128, 128), (128, 128), (171, 229), (128, 128), (128, 128)]
    decoded = decode_or_check(images, WHOLE)
    assert decoded is not None
    assert [EvalCrop(128)(tile).shape for tile in decoded] == [(128, 128, 3)] * 5


def test_what_is_too_small_or_broken_is_named_all_at_once(folder: Path) -> None:
    save(folder / "ADI" / "small.png", noise(5, 100, 224))
    (folder / "TUM" / "cut.tif").write_bytes((folder / "ADI" / "ADI-P1-a.tif").read_bytes()[:9000])
    both = r"2 of 6 tiles cannot be used: ADI/small\.png: 100 × 224 px.*; TUM/cut\.tif: cannot"
    with pytest.raises(InputError, match=both):
        decode_or_check(read_folder(folder, 0.5), WHOLE)


# --- cases


def test_without_a_sheet_or_a_pattern_the_set_says_that_it_has_no_cases(folder: Path) -> None:
    images = read_folder(folder, 0.5)
    assert images.groups is None
    assert images.sites is None
    assert images.group_kind == "tile"
    assert holdout(images, 0.5, 0).how == "no case ids: split by tile"
    assert images.keys == ("ADI/ADI-P1-a.tif", "ADI/ADI-P2-b.tif", "TUM/TUM-P1-a.png", "TUM/TUM-P3-b.png")


def test_cases_come_from_the_file_names(folder: Path) -> None:
    images = read_folder(folder, 0.5, r"-(P\d+)-")
    assert images.groups == ("P1", "P2", "P1", "P3")
    assert images.group_kind == "case"


def test_cases_and_sites_come_from_a_sheet(folder: Path) -> None:
    rows = ["file,case,site", "ADI-P1-a.tif,K1,north", "ADI/ADI-P2-b.tif,K2,south"]
    (folder / "cases.csv").write_text("\n".join([*rows, "TUM/TUM-P1-a.png,K1,north", "TUM-P3-b.png,K3,south"]))
    images = read_folder(folder, 0.5)
    assert images.groups == ("K1", "K2", "K1", "K3")
    assert images.sites == ("north", "south", "north", "south")
    (folder / "cases.csv").write_text((folder / "cases.csv").read_text().replace("K3,south", "K3,"))
    assert read_folder(folder, 0.5).sites is None  # not known of all


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"P\d", "has 0 groups; put the case"),
        (r"(P)(\d)", "has 2 groups"),
        (r"(P", "is no regular expression"),
        (r"-(P[12])-", r"finds no case in 1 of 4 file names: TUM/TUM-P3-b\.png"),
    ],
)
def test_a_pattern_that_finds_no_case_is_refused(folder: Path, pattern: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_folder(folder, 0.5, pattern)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,case\nADI-P1-a.tif,K1\n", "no row for 3 of 4 images: ADI/ADI-P2-b.tif, TUM/TUM-P1-a.png"),
        ("file,case\nx.tif,K1\nADI-P1-a.tif,\n", "row 2: 'x.tif' is no image of the folder; row 3: no case"),
        ("file,case\nADI-P1-a.tif,K1\nADI/ADI-P1-a.tif,K1\n", "row 3: 'ADI/ADI-P1-a.tif' is named twice"),
        ("file,patient\n", "unknown column patient"),
        ("file,site\n", "no column case"),
    ],
)
def test_faults_of_the_sheet_of_cases_are_named(folder: Path, text: str, message: str) -> None:
    (folder / "cases.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_folder(folder, 0.5)


def test_cases_are_said_once(folder: Path) -> None:
    (folder / "cases.csv").write_text("file,case\n")
    with pytest.raises(InputError, match="use one of them"):
        read_folder(folder, 0.5, r"-(P\d)-")


def test_a_file_name_of_two_classes_needs_its_class(folder: Path) -> None:
    save(folder / "TUM" / "ADI-P1-a.tif", noise(8))
    (folder / "cases.csv").write_text("file,case\nADI-P1-a.tif,K1\n")
    with pytest.raises(InputError, match=r"'ADI-P1-a\.tif' is in several classes"):
        read_folder(folder, 0.5)


# --- duplicates


def test_the_same_file_twice_is_found_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "test"
    save(other / "ADI" / "unseen.tif", noise(20))
    images = read_folder(folder, 0.5), read_folder(other, 0.5)
    found = find_duplicates(*images)  # all of these TIFFs are of one length
    assert len({path.stat().st_size for path in (*images[0].paths[:2], *images[1].paths)}) == 1
    assert (found.classes, found.sets, found.within, found.warnings) == ((), (), (), ())
    found.refuse_contradictions()

    (other / "ADI" / "seen.tif").write_bytes((folder / "ADI" / "ADI-P1-a.tif").read_bytes())
    (folder / "TUM" / "again.png").write_bytes((folder / "TUM" / "TUM-P1-a.png").read_bytes())
    found = find_duplicates(read_folder(folder, 0.5), read_folder(other, 0.5))
    assert found.sets == (("set/ADI/ADI-P1-a.tif", "test/ADI/seen.tif"),)
    assert found.within == (("set/TUM/TUM-P1-a.png", "set/TUM/again.png"),)
    assert "1 images are in two data sets" in found.warnings[0]
    found.refuse_contradictions()

    (folder / "TUM" / "both.tif").write_bytes((folder / "ADI" / "ADI-P2-b.tif").read_bytes())
    with pytest.raises(InputError, match=r"1 images are in two classes.*set/ADI/ADI-P2-b\.tif = set/TUM/both\.tif"):
        find_duplicates(read_folder(folder, 0.5)).refuse_contradictions()


def test_files_that_differ_outside_their_middle_are_not_the_same(folder: Path) -> None:
    raw = bytearray((folder / "ADI" / "ADI-P1-a.tif").read_bytes())
    raw[200] ^= 1
    (folder / "TUM" / "nearly.tif").write_bytes(raw)
    assert find_duplicates(read_folder(folder, 0.5)).classes == ()


def test_raw_tiles_of_the_same_names_and_sizes_are_another_data_set(tmp_path: Path) -> None:
    """As NCT-CRC-HE-100K and its -NONORM are."""
    for name, value in (("normalised", 120), ("as-scanned", 121)):
        save(tmp_path / name / "TUM" / "a.tif", np.full((224, 224, 3), value, np.uint8))
    one, other = (read_folder(tmp_path / name, 0.5) for name in ("normalised", "as-scanned"))
    assert one.paths[0].stat().st_size == other.paths[0].stat().st_size
    assert one.fingerprint() != other.fingerprint()
    assert one.fingerprint() == read_folder(tmp_path / "normalised", 0.5).fingerprint()


# --- the survey


def test_a_link_to_nothing_is_named_and_one_to_an_image_is_read(folder: Path) -> None:
    (folder / "ADI" / "linked.tif").symlink_to(folder / "TUM" / "TUM-P1-a.png")
    assert len(read_folder(folder, 0.5)) == 5
    (folder / "TUM" / "lost.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(InputError, match=r"TUM: links to nothing, or folders, named as images: lost\.png"):
        read_folder(folder, 0.5)


def test_images_in_folders_of_a_class_folder_are_not_passed_over(folder: Path) -> None:
    """ADI/P1/a.png, a folder a case, is how some data sets come."""
    (folder / "ADI" / "notes").mkdir()
    assert len(read_folder(folder, 0.5)) == 4
    save(folder / "ADI" / "P3" / "left.png", noise(7, 224, 224))
    with pytest.raises(InputError, match=r"ADI: images in folders .*: P3 \(1 images\); move them up into ADI, .*cases"):
        read_folder(folder, 0.5)


def test_pictures_of_other_kinds_are_read_as_slides_are(tmp_path: Path) -> None:
    """Grey is grey, printers' colours are colours, and what is transparent is glass."""
    Image.new("L", (8, 8), 90).save(tmp_path / "grey.png")
    Image.new("CMYK", (8, 8), (0, 255, 0, 0)).save(tmp_path / "cmyk.jpg")
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    Image.new("RGBA", (8, 8), (10, 20, 30, 255)).save(tmp_path / "opaque.png")
    found = {path.stem: read_image(path)[4, 4].tolist() for path in tmp_path.iterdir()}
    magenta = found.pop("cmyk")
    assert found == {"grey": [90] * 3, "clear": [255] * 3, "opaque": [10, 20, 30]}
    assert np.abs(np.array(magenta) - (255, 0, 255)).max() <= 2


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_more_than_eight_bits_are_refused_in_grey_and_in_colour(
    shape: tuple[int, ...], ending: str, tmp_path: Path
) -> None:
    """A 12-bit camera writes up to 4095 of 65,535: taken as colours it would be black."""
    path = tmp_path / f"deep.{ending}"
    assert cv2.imwrite(str(path), np.full(shape, 4095, np.uint16))
    with pytest.raises(InputError, match=r"deep\.(png|tif): more than 8 bits a channel; save it as 8-bit RGB"):
        read_image(path)


def test_a_survey_counts_sizes_and_broken_files(folder: Path) -> None:
    save(folder / "ADI" / "wide.png", noise(5, 300, 200))
    (folder / "TUM" / "text.png").write_text("no picture")
    shares: list[float] = []
    found = survey(read_folder(folder, 0.5), shares.append)
    adipose, tumour = found.classes
    assert adipose.sizes == {(224, 224): 2, (300, 200): 1}
    assert (tumour.name, tumour.images) == ("TUM", 3)
    assert tumour.broken == (("TUM/text.png", "TUM/text.png: cannot be decoded (not an image)"),)
    assert found.broken == ["TUM/text.png: cannot be decoded (not an image)"]
    assert found.borders.shape[0] == 6
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_command_lists_everything_and_fails_where_something_is_wrong(folder: Path) -> None:
    words = ["dataset", "check", str(folder), "--source-mpp", "0.5"]
    done = CliRunner().invoke(app, [*words, "--case-pattern", r"-(P\d)-", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["images"], facts["cases"], facts["sites"], facts["warnings"]) == (4, 3, None, [])
    assert facts["classes"]["ADI"] == {"images": 2, "sizes_px": [[224, 224, 2]], "broken": {}}
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0
    assert "unknown" in shown.stdout
    assert "no case ids" in shown.stderr
    (folder / "TUM" / "text.png").write_text("no picture")
    broken = CliRunner().invoke(app, words)
    assert isinstance(broken.exception, InputError)
    assert "1 of 5 images cannot be used: TUM/text.png" in str(broken.exception)
    assert "TUM" in broken.stdout  # the table is shown all the same


def test_a_case_of_both_sets_is_named(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "test" / "TUM" / "x-P3-y.png", noise(30))
    words = ["dataset", "check", str(folder), "--source-mpp", "0.5", "--case-pattern", r"-(P\d)-"]
    done = CliRunner().invoke(app, [*words, "--test-folder", str(tmp_path / "test")])
    assert "case P3: in training and in test" in str(done.exception)


@pytest.mark.real
def test_nct_crc_as_downloaded(real_data: Path) -> None:
    train, test = (read_folder(real_data / "tiles" / "nct-crc" / part, 0.5) for part in ("train", "test"))
    assert train.classes == test.classes == ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
    assert {path.suffix for path in (*train.paths, *test.paths)} == {".tif", ".png", ".jpg"}
    for spec in (WHOLE, CROP):
        assert len(decode_or_check(train, spec) or ()) == len(train)
    assert find_duplicates(train, test).warnings == ()


# --- every file of a class folder is a tile, or counted


ENDINGS = (".bmp", ".webp", ".jp2", ".jpe", ".jfif", ".j2k", ".BMP", ".WebP")


def test_pictures_of_every_usual_ending_are_tiles(folder: Path) -> None:
    for number, ending in enumerate(ENDINGS):
        target = folder / "ADI" / f"more{number}{ending}"
        lossless = {"lossless": True} if ending.lower() == ".webp" else {}
        kind = {".jpe": "JPEG", ".jfif": "JPEG", ".j2k": "JPEG2000"}.get(ending)
        Image.fromarray(noise(number)).save(target, format=kind, **lossless)
    images = read_folder(folder, 0.5)
    assert np.bincount(images.labels).tolist() == [2 + len(ENDINGS), 2]
    assert (images.left_out, images.notes) == ({}, ())
    for number, ending in enumerate(ENDINGS):
        pixels = read_image(folder / "ADI" / f"more{number}{ending}")
        assert pixels.shape == (224, 224, 3)
        if ending.lower() in (".bmp", ".webp", ".jp2", ".j2k"):
            assert np.array_equal(pixels, noise(number))


@pytest.mark.parametrize("ending", [".jp2", ".j2k"])
@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 3)])
def test_jpeg_2000_of_more_than_eight_bits_is_refused(tmp_path: Path, ending: str, shape: tuple[int, ...]) -> None:
    (tmp_path / "A").mkdir()
    path = tmp_path / "A" / f"t{ending}"
    path.write_bytes(jpeg2k_encode(np.full(shape, 4095, np.uint16), codecformat=ending[1:]))
    with pytest.raises(InputError, match=rf"A/t\{ending}: more than 8 bits a channel"):
        read_image(path)


def littered(folder: Path) -> Path:
    """Beside the four tiles: a drawing, notes, a slide, what systems leave, and an image in no class."""
    for name in ("ADI/notes.txt", "ADI/a.psd", "ADI/b.PSD", "ADI/README", "ADI/old/list.csv", "TUM/s.svs", "alone.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    hidden = ("ADI/Thumbs.db", "ADI/.DS_Store", "ADI/@eaDir/t.png/THUMB.jpg", "@eaDir/x.png", "TUM/._a.png", ".git/x")
    for name in hidden:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "cases.csv").write_text("file,case\nADI-P1-a.tif,1\nADI-P2-b.tif,2\nTUM-P1-a.png,1\nTUM-P3-b.png,3\n")
    return folder


LEFT_OUT = {
    "ADI": {".csv": 1, ".psd": 2, ".txt": 1, "hidden or of the system": 3, "no ending": 1},
    "TUM": {".svs": 1, "hidden or of the system": 1},
    "beside the class folders": {".png": 1, "hidden or of the system": 2},
}


def test_what_is_no_tile_is_counted_by_ending_and_the_counts_add_up(folder: Path) -> None:
    images = read_folder(littered(folder), 0.5)
    assert images.left_out == LEFT_OUT
    assert images.classes == ("ADI", "TUM")
    files = sum(path.is_file() for path in folder.rglob("*"))
    assert len(images) + sum(sum(kinds.values()) for kinds in LEFT_OUT.values()) == files - 1  # and cases.csv
    assert images.notes == (
        "7 files are left out, since they do not end as images do: ADI: 1 .csv, 2 .psd, 1 .txt, 1 no ending; "
        "TUM: 1 .svs; beside the class folders: 1 .png",
    )
    assert survey(images).classes[0].left_out == LEFT_OUT["ADI"]


def test_dataset_check_says_what_is_left_out(folder: Path) -> None:
    words = ["dataset", "check", str(littered(folder)), "--source-mpp", "0.5"]
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["left_out"] == LEFT_OUT
    found = CliRunner().invoke(app, words)
    assert "7 files are left out, since they do not end as images do: ADI: 1 .csv, 2 .psd" in found.stderr
    assert "1 .svs" in found.stdout


def test_hidden_files_are_nothing_to_warn_of(folder: Path) -> None:
    (folder / "ADI" / "Thumbs.db").write_text("x")
    images = read_folder(folder, 0.5)
    assert (images.notes, images.left_out) == ((), {"ADI": {"hidden or of the system": 1}})


def test_a_class_folder_of_what_cannot_be_read_says_what_it_holds(folder: Path) -> None:
    (folder / "STR").mkdir()
    with pytest.raises(InputError, match=r"no images .* in class folder STR; add some"):
        read_folder(folder, 0.5)
    (folder / "STR" / "a.svs").touch()
    with pytest.raises(InputError, match=r"no images .* in class folder STR \(it holds 1 \.svs\)"):
        read_folder(folder, 0.5)


# --- class names


def test_folders_that_differ_in_spaces_at_an_end_are_one_class(folder: Path) -> None:
    for number, name in enumerate(("TUM ", " TUM")):
        save(folder / name / "TUM-P3-b.png", noise(30 + number))
    images = read_folder(folder, 0.5)
    assert images.classes == ("ADI", "TUM")
    assert np.bincount(images.labels).tolist() == [2, 4]
    assert len(set(images.keys)) == 6
    assert images.notes == ("folders ' TUM', 'TUM', 'TUM ' are taken for one class, 'TUM'",)
    (folder / "TUM " / "again.png").write_bytes((folder / "TUM" / "TUM-P1-a.png").read_bytes())
    find_duplicates(read_folder(folder, 0.5)).refuse_contradictions()  # of one class


def test_an_accent_may_be_coded_as_one_letter_or_two(tmp_path: Path) -> None:
    for number, name in enumerate(("Dru\u0308se", "Dr\u00fcse", "Tumor")):
        save(tmp_path / name / f"{number}.png", noise(number))
    assert read_folder(tmp_path, 0.5).classes == ("Dr\u00fcse", "Tumor")


def test_classes_that_differ_in_case_alone_are_two_and_said(folder: Path) -> None:
    save(folder / "tum" / "a.png", noise(30))
    images = read_folder(folder, 0.5)
    assert images.classes == ("ADI", "TUM", "tum")
    assert "'TUM' and 'tum' differ in capitals alone and are taken for different classes" in images.notes[0]


# --- public data sets


def archive_of(path: Path, members: dict[str, bytes]) -> str:
    """A zip archive; its MD5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[PublicSet, Path]:
    """A publication of two archives, behind a network that works; and its folder."""
    source = tmp_path / "published"
    md5 = {
        name: archive_of(source / name, {f"{name[:-4]}/": b"", f"{name[:-4]}/ADI/1.tif": b"one"})
        for name in ("TRAIN.zip", "TEST.zip")
    }

    class Works(pooch.DOIDownloader):  # type: ignore[misc]
        def __call__(self, url: str, output_file: str, pooch: object, check_only: bool = False) -> None:  # noqa: ARG002
            Path(output_file).write_bytes((source / url.rpartition("/")[2]).read_bytes())

    monkeypatch.setattr(pooch, "DOIDownloader", Works)
    return PublicSet("10.0000/none", "CC0", 0.5, md5), source


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_archives_are_downloaded_checked_and_unpacked(published: tuple[PublicSet, Path], tmp_path: Path) -> None:
    data, source = published
    out = tmp_path / "out"
    fetch(data, ["TRAIN.zip", "TEST.zip"], out)
    assert names(out) == ["TEST/ADI/1.tif", "TRAIN/ADI/1.tif"]
    (source / "TRAIN.zip").unlink()
    fetch(data, ["TRAIN.zip", "TEST.zip"], out)  # what is there is not fetched again


def test_an_archive_that_is_not_the_published_one_leaves_nothing(
    published: tuple[PublicSet, Path], tmp_path: Path
) -> None:
    data, source = published
    archive_of(source / "TRAIN.zip", {"TRAIN/ADI/1.tif": b"forged"})
    with pytest.raises(InputError, match=r"TRAIN\.zip could not be downloaded \(ValueError\)"):
        fetch(data, ["TRAIN.zip"], tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_without_a_network_the_line_says_which_files_to_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise requests.exceptions.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", unreachable)
    with pytest.raises(InputError) as caught:
        fetch(NCT_CRC, list(NCT_CRC.md5), tmp_path / "out")
    said = str(caught.value)
    assert all(name in said for name in (*NCT_CRC.md5, NCT_CRC.doi, str(tmp_path / "out")))
    assert "\n" not in said
    assert names(tmp_path / "out") == []


def test_an_archive_brought_by_hand_is_checked_used_and_kept(tmp_path: Path) -> None:
    md5 = archive_of(tmp_path / "TRAIN.zip", {"TRAIN/ADI/1.tif": b"one"})
    fetch(PublicSet("10.0000/none", "CC0", 0.5, {"TRAIN.zip": md5}), ["TRAIN.zip"], tmp_path)
    assert names(tmp_path) == ["TRAIN.zip", "TRAIN/ADI/1.tif"]
    (tmp_path / "TEST.zip").write_bytes(b"half of it")
    with pytest.raises(InputError, match=r"TEST\.zip: its MD5 is .* and the publication's 00ff: cut short"):
        fetch(PublicSet("10.0000/none", "CC0", 0.5, {"TEST.zip": "00ff"}), ["TEST.zip"], tmp_path)


@pytest.mark.parametrize("member", ["OTHER/ADI/1.tif", "TRAIN/../../escaped.tif"])
def test_an_archive_of_another_layout_is_refused_whole(tmp_path: Path, member: str) -> None:
    archive_of(tmp_path / "TRAIN.zip", {"TRAIN/ADI/1.tif": b"one", member: b"two"})
    with pytest.raises(InputError, match="is not in a folder TRAIN"):
        unpack(tmp_path / "TRAIN.zip", tmp_path / "TRAIN")
    assert names(tmp_path) == ["TRAIN.zip"]
    assert not (tmp_path.parent / "escaped.tif").exists()
    (tmp_path / "TRAIN.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match="not a whole zip archive"):
        unpack(tmp_path / "TRAIN.zip", tmp_path / "TRAIN")


def test_an_unknown_public_set_is_refused() -> None:
    done = CliRunner().invoke(app, ["dataset", "fetch", "nct", "--out", "x"])
    assert "no public data set 'nct' is known; there is nct-crc" in str(done.exception)
