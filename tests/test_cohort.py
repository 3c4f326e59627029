"""The slides of a run: a folder or a sheet; ids that never collide; faults told all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.cohort import Cohort, load_cohort, unique_ids
from wsi.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def sheet(folder: Path, text: str) -> Path:
    path = folder / "slides.csv"
    path.write_text(text, "utf-8")
    return path


def test_a_folder_gives_all_its_slides_and_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, "a.svs", "b.TIF", "deep/c.ndpi", "notes.txt", ".hidden.svs")
    (tmp_path / "d.ome.zarr" / "0").mkdir(parents=True)
    touch(tmp_path, "d.ome.zarr/inner.tif")
    assert load_cohort(tmp_path, None).ids == ["a", "b", "d", "deep__c"]


def test_two_slides_of_the_same_name_in_two_folders_do_not_collide(tmp_path: Path) -> None:
    touch(tmp_path, "monday/case1.svs", "tuesday/case1.svs")
    assert load_cohort(tmp_path, None).ids == ["monday__case1", "tuesday__case1"]


def test_the_same_name_with_two_endings_does_not_collide_either() -> None:
    ids = unique_ids([Path("a.svs"), Path("a.tif"), Path("b.svs")])
    assert len(set(ids)) == 3
    assert ids[2] == "b"
    assert unique_ids([Path("a.tif"), Path("a.svs")]) == [ids[1], ids[0]]  # whatever the order of the files


def test_ids_are_fit_for_file_names() -> None:
    assert unique_ids([Path("Fall 12/Schnitt #3 (HE).svs")]) == ["Fall-12__Schnitt-3-HE-"]


def test_an_empty_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        load_cohort(tmp_path, None)


def test_a_path_that_the_workflow_would_misread_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "it's {x}.tif")
    with pytest.raises(InputError, match="rename it"):
        load_cohort(tmp_path, None)


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_cohort(tmp_path / "nowhere", None)


def test_a_sheet_gives_what_files_do_not_say(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "sub/a.tif", "a.geojson")
    path = sheet(
        tmp_path,
        "slide,id,case,mpp,annotation,split\na.tif,first,P1,0.5,a.geojson,train\nsub/a.tif,,P2,,,test\n",
    )
    first, second = load_cohort(None, path).slides
    assert (first.id, first.case, first.mpp, first.split) == ("first", "P1", 0.5, "train")
    assert first.annotation == str(tmp_path / "a.geojson")
    assert (second.id, second.mpp, second.slide) == ("sub__a", None, str(tmp_path / "sub/a.tif"))


def test_all_faults_of_a_sheet_come_at_once_with_their_rows(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif")
    path = sheet(tmp_path, "slide,id,mpp,split\na.tif,x,half,train\nmissing.tif,x,0.5,trian\n,y,-1,\n")
    with pytest.raises(InputError) as error:
        load_cohort(None, path)
    message = str(error.value)
    for part in (
        "row 2, mpp: 'half'",
        "row 3, slide: no such file",
        "row 3, split: 'trian'",
        "row 4, slide: empty",
        "row 4, mpp: '-1'",
        "'x' more than once",
    ):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,case\n1,2\n", "column 'slide' is missing"),
        ("slide,colour\na.tif,red\n", "unknown column 'colour'"),
        ("slide\n", "no slides in it"),
        ("", "column 'slide' is missing"),
        ("slide,id\na.tif,b/c\n", "id: 'b/c'"),
        ("slide,mpp\na.tif,1,5\n", "row 2: 3 cells for 2 columns"),
        ("slide,mpp,mpp\na.tif,1,2\n", "'mpp' more than once"),
        ("slide\n\n\nmissing.tif\n", "row 4, slide: no such file"),
        ("slide\na{b}.tif\n", "rename it"),
        ("slide,case,split\na.tif,P,train\nb.tif,P,test\n", "case 'P' is in the splits test and train"),
        ("slide,annotation,marked\na.tif,b.tif,b.tif\n", "both are given"),
        ("slide,marked\na.tif,copy.jpg\n", "row 2, marked: no such file"),
    ],
)
def test_a_faulty_sheet_is_refused(tmp_path: Path, text: str, said: str) -> None:
    touch(tmp_path, "a.tif", "b.tif")
    with pytest.raises(InputError, match=said):
        load_cohort(None, sheet(tmp_path, text))


def test_a_sheet_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "ä.tif")
    (tmp_path / "s.csv").write_bytes("\ufeffslide, mpp\r\nä.tif, 0.25 \r\n,\r\n".encode())
    (slide,) = load_cohort(None, tmp_path / "s.csv").slides
    assert slide.mpp == 0.25


def test_the_cohort_survives_its_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "b.tif")
    cohort = load_cohort(None, sheet(tmp_path, 'slide,mpp,note\na.tif,0.5,"x, y"\nb.tif,,\n'))
    cohort.write(tmp_path / "cohort.csv")
    assert Cohort.load(tmp_path / "cohort.csv") == cohort
