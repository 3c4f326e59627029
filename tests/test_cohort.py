"""The slides of a run: a folder or a sheet; ids that never collide; faults all at once; what was there, counted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_level

from pipelines.cohort import Cohort, CohortSlide, Intake, load_cohort, same, unique_ids
from pipelines.cohort.names import name_fault
from wsi.errors import InputError


def touch(folder: Path, *names: str) -> None:
    """Files that differ in content, and are long enough to be compared."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.fsencode(name).ljust(100))


def sheet(folder: Path, text: str) -> Path:
    path = folder / "slides.csv"
    path.write_text(text, "utf-8")
    return path


def intake_of(cohort: Cohort) -> Intake:
    """The counts, which always add up."""
    counts = cohort.intake
    assert counts is not None
    others = counts.parts + counts.links + counts.hidden + sum(counts.left_out.values())
    assert counts.seen == counts.slides + others
    assert counts.slides == len(cohort.slides)
    return counts


def refusal(folder: Path | None, path: Path | None) -> str:
    with pytest.raises(InputError) as error:
        load_cohort(folder, path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_gives_all_its_slides_and_counts_what_else_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "a.svs", "b.TIF", "deep/c.ndpi", "notes.txt", ".hidden.svs")
    (tmp_path / "d.ome.zarr" / "0").mkdir(parents=True)
    touch(tmp_path, "d.ome.zarr/inner.tif")
    cohort = load_cohort(tmp_path, None)
    assert cohort.ids == ["a", "b", "d", "deep__c"]
    assert intake_of(cohort) == Intake("file", 6, 4, hidden=1, left_out={".txt": 1})


@pytest.mark.parametrize("ending", [".qptiff", ".btf", ".tf8", ".tf2", ".ome.btf", ".TIFF"])
def test_what_the_reader_of_tiff_opens_is_taken(tmp_path: Path, ending: str) -> None:
    touch(tmp_path, f"a{ending}")
    assert len(load_cohort(tmp_path, None).slides) == 1


def test_what_is_left_out_is_counted_by_its_ending_and_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "b.png", "c.PNG", "d.jpg", "e.czi", "README")
    found = intake_of(load_cohort(tmp_path, None))
    assert found.left_out == {".png": 2, ".jpg": 1, ".czi": 1, "no ending": 1}
    assert found.sentence == (
        "6 files: 1 slide, left out: 1 .czi, 1 .jpg, 2 .png, 1 no ending (give slides among them in a sheet)"
    )


def test_a_loop_of_links_ends_and_each_file_is_one_slide(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "left/b.tif", "right/c.tif")
    (tmp_path / "again").symlink_to(".")
    (tmp_path / "left" / "across").symlink_to("../right")
    (tmp_path / "right" / "across").symlink_to("../left")
    cohort = load_cohort(tmp_path, None)
    assert cohort.ids == ["a", "left__b", "right__c"]
    assert intake_of(cohort).links == 3


def test_a_link_that_leads_up_brings_in_nothing_from_beside_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "other/b.tif", "slides/a.tif")
    (tmp_path / "slides" / "up").symlink_to("..")
    cohort = load_cohort(tmp_path / "slides", None)
    assert cohort.ids == ["a"]
    assert intake_of(cohort).links == 1


def test_a_slide_that_is_linked_to_is_one_slide_and_goes_by_its_own_name(tmp_path: Path) -> None:
    touch(tmp_path, "b.tif")
    (tmp_path / "a.tif").symlink_to("b.tif")
    os.link(tmp_path / "b.tif", tmp_path / "c.tif")
    cohort = load_cohort(tmp_path, None)
    assert cohort.ids == ["b"]
    assert intake_of(cohort).links == 2


def test_a_folder_of_links_to_slides_elsewhere_gives_each_once(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.tif", "store/deep/2.tif")
    links = tmp_path / "links"
    links.mkdir()
    (links / "one.tif").symlink_to(tmp_path / "store" / "1.tif")
    (links / "uno.tif").symlink_to(tmp_path / "store" / "1.tif")
    (links / "more").symlink_to(tmp_path / "store" / "deep")
    cohort = load_cohort(links, None)
    assert cohort.ids == ["more__2", "one"]
    assert cohort["one"].slide == str(tmp_path / "store" / "1.tif")


@pytest.mark.parametrize(
    "folder",
    ["@eaDir", ".snapshot", "__MACOSX", "lost+found", "#recycle", "$RECYCLE.BIN", "System Volume Information"],
)
def test_folders_of_the_system_are_not_entered(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, "a.tif", f"{folder}/a.tif", f"{folder}/deep/b.tif", "Thumbs.db", "._a.tif")
    cohort = load_cohort(tmp_path, None)
    assert cohort.ids == ["a"]
    assert intake_of(cohort).hidden == 3


def test_a_folder_that_is_named_like_a_slide_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif/b.tif", "c.zarr")
    cohort = load_cohort(tmp_path, None)
    assert cohort.ids == ["a.tif__b"]
    assert intake_of(cohort).left_out == {".zarr": 1}


def test_a_dicom_series_is_one_slide_that_goes_by_its_folder(tmp_path: Path) -> None:
    pixels = np.full((128, 128, 3), 200, np.uint8)
    for folder, series in (("one", 1), ("two", 2), ("mixed", 3), ("mixed", 4)):
        (tmp_path / folder).mkdir(exist_ok=True)
        for instance in range(3):
            write_level(tmp_path / folder / f"{series}-{instance}.dcm", pixels, series, instance)
    cohort = load_cohort(tmp_path, None)
    assert cohort.ids == ["mixed__3-0", "mixed__4-0", "one", "two"]
    assert intake_of(cohort).parts == 8


def test_the_data_of_a_mirax_slide_are_parts_of_it_and_a_slide_among_them_is_not(tmp_path: Path) -> None:
    touch(tmp_path, "m.mrxs", "m/Slidedat.ini", "m/Data0000.dat", "m/Data0001.dat", "m/lost.tif")
    cohort = load_cohort(tmp_path, None)
    assert sorted(cohort.ids) == ["m", "m__lost"]
    assert intake_of(cohort).parts == 3


def test_two_slides_of_the_same_name_in_two_folders_do_not_collide(tmp_path: Path) -> None:
    touch(tmp_path, "monday/case1.svs", "tuesday/case1.svs")
    assert load_cohort(tmp_path, None).ids == ["monday__case1", "tuesday__case1"]


def test_the_same_name_with_two_endings_does_not_collide_either() -> None:
    ids = unique_ids([Path("a.svs"), Path("a.tif"), Path("b.svs")])
    assert len(set(ids)) == 3
    assert ids[2] == "b"
    assert unique_ids([Path("a.tif"), Path("a.svs")]) == [ids[1], ids[0]]  # whatever the order of the files


def test_names_that_differ_in_capitals_alone_do_not_collide_where_a_file_system_has_none() -> None:
    ids = unique_ids([Path("A.tif"), Path("a.tif")])
    assert len({slide_id.casefold() for slide_id in ids}) == 2


def test_ids_are_fit_for_file_names() -> None:
    assert unique_ids([Path("Fall 12/Schnitt #3 (HE).svs")]) == ["Fall-12__Schnitt-3-HE-"]


def test_a_long_id_is_shortened_and_stays_unlike_any_other() -> None:
    deep = Path(*("x" * 120 for _ in range(3)))
    ids = unique_ids([deep / "s.tif", deep / "t.tif", Path("short.tif")])
    assert ids[2] == "short"
    assert len(set(ids)) == 3
    assert max(map(len, ids)) <= 100
    assert unique_ids([deep / "s.tif"]) == ids[:1]


def test_an_empty_folder_is_an_error_that_names_it_and_what_is_there(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(tmp_path, None)
    touch(tmp_path, "a.png")
    assert "1 .png" in refusal(tmp_path, None)


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert "nowhere" in refusal(tmp_path / "nowhere", None)


@pytest.mark.parametrize("name", [b"{x}.tif", b"new\nline.tif", b"\x01.tif", b"latin\xe9.tif"])
def test_a_name_that_the_workflow_would_misread_fails_its_slide_alone(tmp_path: Path, name: bytes) -> None:
    touch(tmp_path, "a.tif", os.fsdecode(name))
    cohort = load_cohort(tmp_path, None)
    good, bad = sorted(cohort.slides, key=lambda slide: slide.fault)
    assert (good.id, good.fault) == ("a", "")
    assert "rename it" in bad.fault
    cohort.write(tmp_path / "cohort.csv")
    assert Cohort.load(tmp_path / "cohort.csv") == cohort


def test_a_link_to_a_name_that_the_workflow_would_misread_fails_alone_too(tmp_path: Path) -> None:
    touch(tmp_path, "slides/a.tif", "store/{x}.tif", "store/{x}.geojson")
    (tmp_path / "slides" / "b.tif").symlink_to(tmp_path / "store" / "{x}.tif")
    assert "rename it" in load_cohort(tmp_path / "slides", None)["b"].fault
    rows = sheet(tmp_path, "slide,annotation\nslides/b.tif,\nslides/a.tif,store/{x}.geojson\nslides/c.tif,\n")
    touch(tmp_path, "slides/c.tif")
    faults = [slide.fault for slide in load_cohort(None, rows).slides]
    assert "{x}.tif: a path with" in faults[0]
    assert "{x}.geojson: a path with" in faults[1]
    assert faults[2] == ""


def test_where_no_slide_can_be_used_nothing_is_started(tmp_path: Path) -> None:
    touch(tmp_path, "it's {x}.tif")
    assert "rename it" in refusal(tmp_path, None)
    touch(tmp_path, "{y}/a.tif")
    assert "rename it" in refusal(tmp_path / "{y}", None)


def test_a_link_that_leads_nowhere_fails_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif")
    (tmp_path / "b.tif").symlink_to("gone.tif")
    (tmp_path / "c.tif").symlink_to("c.tif")
    os.mkfifo(tmp_path / "d.tif")
    cohort = load_cohort(tmp_path, None)
    assert cohort["a"].fault == ""
    assert "gone.tif, which is not there" in cohort["b"].fault
    assert "which is not there" in cohort["c"].fault
    assert "neither a file nor a folder" in cohort["d"].fault


@pytest.mark.parametrize("text", ["a b.tif", "ä.tif", "癌.tif", "it's.tif", "[he].tif"])
def test_an_unusual_name_is_no_fault(text: str) -> None:
    assert name_fault(text) == ""


def test_copies_in_a_folder_are_each_scored_and_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "c.tif")
    shutil.copyfile(tmp_path / "a.tif", tmp_path / "b.tif")
    cohort = load_cohort(tmp_path, None)
    assert cohort.ids == ["a", "b", "c"]
    assert intake_of(cohort).warnings == ("a.tif, b.tif: copies of one slide; each is scored and counted",)


def test_a_slide_that_is_not_in_the_cohort_is_named() -> None:
    with pytest.raises(InputError, match="no slide 'b'"):
        Cohort((CohortSlide("a", "a.tif"),))["b"]


def test_the_counts_of_the_files_decide_whether_a_cohort_is_the_same(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif")
    before = load_cohort(tmp_path, None).digest()
    touch(tmp_path, "b.png")
    assert load_cohort(tmp_path, None).digest() != before


def test_a_sheet_gives_what_files_do_not_say(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "sub/a.tif", "a.geojson")
    path = sheet(
        tmp_path,
        "slide,id,case,mpp,annotation,split\na.tif,first,P1,0.5,a.geojson,train\nsub/a.tif,,P2,,,test\n",
    )
    cohort = load_cohort(None, path)
    first, second = cohort.slides
    assert (first.id, first.case, first.mpp, first.split) == ("first", "P1", 0.5, "train")
    assert first.annotation == str(tmp_path / "a.geojson")
    assert (second.id, second.mpp, second.slide) == ("sub__a", None, str(tmp_path / "sub/a.tif"))
    assert intake_of(cohort) == Intake("row", 2, 2)


def test_paths_that_start_where_one_is_are_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "data" / "slides", "a.tif")
    path = sheet(tmp_path, "slide\na.tif\n")
    monkeypatch.chdir(tmp_path)
    cohort = load_cohort(Path("data/slides"), Path(path.name))
    assert cohort.slides[0].slide == str(tmp_path / "data" / "slides" / "a.tif")


def test_all_faults_of_a_sheet_come_at_once_with_their_rows(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif")
    path = sheet(tmp_path, "slide,id,mpp,split\na.tif,x,half,train\nmissing.tif,x,0.5,trian\n,y,-1,\n")
    message = refusal(None, path)
    for part in (
        "row 2, mpp: 'half'",
        "row 3, slide: no such file",
        "row 3, split: 'trian'",
        "row 4, slide: empty",
        "row 4, mpp: '-1'",
        "'x' more than once",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "id,case\n1,2\n",
            "column 'slide' is missing; the first line, read with commas between cells, has 'id', 'case'",
        ),
        ("slide,colour\na.tif,red\n", "unknown column 'colour'"),
        ("slide\n", "no slides in it"),
        ("", "column 'slide' is missing"),
        ("slide,id\na.tif,b/c\n", "id: 'b/c'"),
        (f"slide,id\na.tif,{'x' * 101}\n", "row 2, id: .* has 101 characters"),
        ("slide,id\na.tif,x\nb.tif,X\n", "rows 2, 3, id: 'X' and 'x' differ in capitals alone"),
        ("slide,mpp\na.tif,1,5\n", "row 2: 3 cells for 2 columns"),
        ("slide,mpp,mpp\na.tif,1,2\n", "'mpp' more than once"),
        ("slide,Mpp,mpp\na.tif,1,2\n", "'mpp' more than once"),
        ("slide\n\n\nmissing.tif\n", "row 4, slide: no such file"),
        ("slide\na{b}.tif\n", "rename it"),
        (f"slide\n{'x' * 300}.tif\n", "row 2, slide: no such file"),
        ("slide\na\0b.tif\n", r"row 2, slide: no such file .*a\\x00b.tif"),
        ("slide\nfolder\n", "row 2, slide: .*folder is a folder and neither OME-Zarr nor DICOM"),
        ("slide,annotation\na.tif,folder\n", "row 2, annotation: .*folder is a folder"),
        ("slide,marked\na.tif,folder\n", "row 2, marked: .*folder is a folder"),
        ("slide,mpp\na.tif,0.001\n", "row 2, mpp: '0.001'"),
        ("slide,mpp\na.tif,500\n", "row 2, mpp: '500'"),
        ("slide,mpp\na.tif,nan\n", "row 2, mpp: 'nan'"),
        ("slide,scene\na.tif,first\n", "row 2, scene: 'first' is no number"),
        ("slide,scene\na.tif#1,2\n", "row 2, scene: 2, but the path ends in #1"),
        ("slide,case,split\na.tif,P,train\nb.tif,P,test\n", "case 'P' is in the splits test and train"),
        ("slide,annotation,marked\na.tif,b.tif,b.tif\n", "both are given"),
        ("slide,marked\na.tif,copy.jpg\n", "row 2, marked: no such file"),
    ],
)
def test_a_faulty_sheet_is_refused(tmp_path: Path, text: str, said: str) -> None:
    touch(tmp_path, "a.tif", "b.tif", "folder/c.tif")
    with pytest.raises(InputError, match=said):
        load_cohort(None, sheet(tmp_path, text))


@pytest.mark.parametrize(
    ("rows", "places"),
    [
        ("a.tif,one,P1,train,\na.tif,two,P2,test,\n", ("row 2 (slide", "row 3 (slide", "train", "test")),
        ("a.tif,one,P1,train,\ncopy.tif,two,,test,\n", ("row 2", "row 3", "copy.tif, test", "the same slide")),
        ("a.tif,one,,train,\ncopy.tif,two,,train,\n", ("the same slide",)),
        ("a.tif,one,,,\nlink.tif,two,,,\n", ("row 2", "row 3")),
        ("a.tif,,,,\nfolder/../a.tif,,,,\n", ("the same slide",)),
        ("a.tif,one,,train,b.tif\nb.tif,two,,test,\n", ("row 3 (slide", "row 2 (annotation", "what was drawn")),
        ("a.tif#2,one,,train,\na.tif#1,two,,test,\n", ("a.tif#2, train", "a.tif#1, test")),
        ("a.tif#0,one,,,\na.tif,two,,,\n", ("the same slide",)),
    ],
)
def test_one_slide_in_two_rows_is_refused_and_all_places_are_named(
    tmp_path: Path, rows: str, places: tuple[str, ...]
) -> None:
    touch(tmp_path, "a.tif", "b.tif", "folder/c.tif")
    shutil.copyfile(tmp_path / "a.tif", tmp_path / "copy.tif")
    (tmp_path / "link.tif").symlink_to("a.tif")
    message = refusal(None, sheet(tmp_path, f"slide,id,case,split,annotation\n{rows}"))
    assert all(place in message for place in places), message


def test_a_mirax_slide_that_was_copied_under_another_name_is_the_same_slide(tmp_path: Path) -> None:
    touch(tmp_path, "a.mrxs", "a/Slidedat.ini", "a/Data0000.dat", "other.mrxs", "other/Data0000.dat")
    shutil.copyfile(tmp_path / "a.mrxs", tmp_path / "b.mrxs")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert "row 2 (slide" in refusal(None, sheet(tmp_path, "slide\na.mrxs\nb.mrxs\nother.mrxs\n"))
    (tmp_path / "b" / "Data0000.dat").write_bytes(b"z" * 100)  # of the same size, with the same index
    assert len(load_cohort(None, sheet(tmp_path, "slide\na.mrxs\nb.mrxs\nother.mrxs\n")).slides) == 3


def test_a_copy_that_somebody_drew_on_is_no_slide_of_the_cohort(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "b.tif")
    shutil.copyfile(tmp_path / "b.tif", tmp_path / "copy.tif")
    assert "row 2 (marked" in refusal(None, sheet(tmp_path, "slide,marked\na.tif,copy.tif\nb.tif,\n"))
    assert "row 2 (marked" in refusal(None, sheet(tmp_path, "slide,marked\na.tif,a.tif\n"))


def test_slides_of_the_same_size_are_not_the_same(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "b.tif")
    assert len(load_cohort(None, sheet(tmp_path, "slide\na.tif\nb.tif\n")).slides) == 2


def test_files_too_short_for_a_slide_say_themselves_what_is_wrong(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).touch()
    assert len(load_cohort(None, sheet(tmp_path, "slide\na.tif\nb.tif\n")).slides) == 2


def test_two_scenes_of_one_file_are_two_slides(tmp_path: Path) -> None:
    touch(tmp_path, "a.ome.tif", "b#2.tif")
    cohort = load_cohort(None, sheet(tmp_path, "slide,scene\na.ome.tif,0\na.ome.tif#1,\nb#2.tif,03\n"))
    assert [Path(slide.slide).name for slide in cohort.slides] == ["a.ome.tif", "a.ome.tif#1", "b#2.tif#3"]
    assert [slide.file.name for slide in cohort.slides] == ["a.ome.tif", "a.ome.tif", "b#2.tif"]
    assert cohort.ids == ["a.ome", "a.ome-scene1", "b-2-scene3"]


def test_a_folder_with_one_dicom_series_is_a_slide(tmp_path: Path) -> None:
    (tmp_path / "1.2.840").mkdir()
    for instance in range(2):
        write_level(tmp_path / "1.2.840" / f"{instance}.dcm", np.full((128, 128, 3), 9, np.uint8), 1, instance)
    (slide,) = load_cohort(None, sheet(tmp_path, "slide\n1.2.840\n")).slides
    assert (slide.id, slide.file) == ("1.2.840", tmp_path / "1.2.840" / "0.dcm")
    assert "the same slide" in refusal(None, sheet(tmp_path, "slide\n1.2.840/0.dcm\n1.2.840/1.dcm\n"))


def test_the_order_of_the_rows_does_not_matter_to_the_ids(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "a.svs", "sub/b.tif")
    rows = ["a.tif", "a.svs", "sub/b.tif"]
    ids = [
        {Path(slide.slide).name: slide.id for slide in load_cohort(None, sheet(tmp_path, "\n".join(order))).slides}
        for order in (["slide", *rows], ["slide", *reversed(rows)])
    ]
    assert ids[0] == ids[1]


def test_a_slide_goes_by_the_name_that_the_sheet_gives_it(tmp_path: Path) -> None:
    touch(tmp_path, "store/8f3a.tif")
    (tmp_path / "case1.tif").symlink_to("store/8f3a.tif")
    assert load_cohort(None, sheet(tmp_path, "slide\ncase1.tif\n")).ids == ["case1"]


def test_names_that_differ_in_capitals_alone_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "b.tif")
    found = load_cohort(None, sheet(tmp_path, "slide,label,case\na.tif,Tumor ,P1\nb.tif,tumor,p1\n")).intake
    assert found is not None
    assert found.warnings == (
        "slides.csv: column label: 'Tumor' and 'tumor' are taken for different ones",
        "slides.csv: column case: 'P1' and 'p1' are taken for different ones",
    )


def test_one_annotation_of_two_slides_is_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "b.tif", "a.geojson")
    found = load_cohort(None, sheet(tmp_path, "slide,annotation\na.tif,a.geojson\nb.tif,a.geojson\n")).intake
    assert found is not None
    assert "row 2 (annotation" in found.warnings[0]


def test_a_sheet_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "ä.tif")
    (tmp_path / "s.csv").write_bytes("\ufeffslide, mpp,\r\nä.tif, 0.25 ,\r\n,\r\n".encode())
    (slide,) = load_cohort(None, tmp_path / "s.csv").slides
    assert slide.mpp == 0.25


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slide;mpp\na.tif;0,25\n", "semicolons"),
        ("slide\tmpp\na.tif\t0.25\n", "tabs"),
        ('"Slide";"MPP"\n"a.tif";"0.25"\n', "'Slide' is taken for 'slide'"),
        (" SLIDE ,mpp\na.tif,0.25\n", "'SLIDE' is taken for 'slide'"),
    ],
)
def test_a_sheet_in_another_dialect_is_taken_and_said(tmp_path: Path, text: str, said: str) -> None:
    touch(tmp_path, "a.tif")
    cohort = load_cohort(None, sheet(tmp_path, text))
    assert cohort.slides[0].mpp == 0.25
    assert any(said in warning for warning in intake_of(cohort).warnings)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("slide\nä.tif\n".encode("utf-16"), "UTF-16"),
        ("slide\nä.tif\n".encode("cp1252"), "row 2: not a readable CSV file in UTF-8 (byte 0xe4"),
        (b"PK\x03\x04" + bytes(40), "workbook"),
    ],
)
def test_a_sheet_in_another_encoding_is_named_with_the_remedy(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    message = refusal(None, tmp_path / "s.csv")
    assert said in message
    assert "CSV UTF-8" in message


def test_paths_begin_in_the_home_folder_where_they_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "a.tif", "a.geojson", "elsewhere/b.tif")
    path = sheet(tmp_path / "elsewhere", "slide,annotation\n~/a.tif,~/a.geojson\n")
    (slide,) = load_cohort(None, path).slides
    assert (slide.slide, slide.annotation) == (str(tmp_path / "a.tif"), str(tmp_path / "a.geojson"))


def test_the_cohort_survives_its_file_and_a_spreadsheet_runs_nothing_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "b.tif", "c.tif")
    text = 'slide,mpp,label,note\na.tif,0.5,-1,"x, y"\nb.tif,,+2,=1+1\nc.tif,,@x,\'quoted\n'
    cohort = load_cohort(None, sheet(tmp_path, text))
    cohort.write(tmp_path / "cohort.csv")
    assert Cohort.load(tmp_path / "cohort.csv") == cohort
    written = (tmp_path / "cohort.csv").read_text()
    assert ",'=1+1," in written
    assert ",'@x," in written
    assert ",-1," in written


def test_no_slide_is_opened_whose_size_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cohort of ten thousand slides is a matter of seconds."""
    opened: list[str] = []

    def fingerprint(path: Path) -> str:
        opened.append(path.name)
        return path.name

    monkeypatch.setattr(same, "fingerprint", fingerprint)
    for name, size in (("a.tif", 100), ("b.tif", 101), ("c.tif", 102), ("d.tif", 102)):
        (tmp_path / name).write_bytes(b"x" * size)
    load_cohort(tmp_path, None)
    assert opened == ["c.tif", "d.tif"]
