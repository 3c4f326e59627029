"""Annotation files of three programs: the same areas, classes and numbers come out, and what is wrong is named."""

from __future__ import annotations

import gzip
import json
import math
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import LinearRing, MultiPolygon, Polygon, box

from wsi.annotations import Frame, Region, read_drawing, read_geojson, read_regions, write_geojson
from wsi.errors import InputError

RING = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
HOLE = [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]
ISLAND = [[2.5, 2.5], [3.5, 2.5], [3.5, 3.5], [2.5, 3.5], [2.5, 2.5]]


def feature(geometry: dict[str, Any], classification: Any = None, measurements: Any = None) -> dict[str, Any]:
    properties = {"objectType": "annotation", "classification": classification or {"name": "Tumor"}}
    if measurements is not None:
        properties["measurements"] = measurements
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def polygon(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("measurements", [{"Area": 96.0}, [{"name": "Area", "value": 96.0}]])
@pytest.mark.parametrize("bare", [True, False])
def test_geojson_of_either_kind_of_qupath_is_read(tmp_path: Path, measurements: Any, bare: bool) -> None:
    features = [feature(polygon(RING, HOLE), measurements=measurements)]
    path = written(tmp_path / "a.geojson", features if bare else {"type": "FeatureCollection", "features": features})
    [region] = read_regions(path)
    assert (region.name, region.source, region.measurements) == ("Tumor", "a.geojson", {"Area": 96.0})
    assert region.polygon.area == 96


def test_a_gzipped_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    for name in ("a.geojson.gz", "a.json"):
        (tmp_path / name).write_bytes(gzip.compress(json.dumps([feature(polygon(RING))]).encode()))
        assert read_regions(tmp_path / name)[0].polygon.equals(box(0, 0, 10, 10))


def test_a_stroke_out_and_back_adds_nothing_and_what_is_written_is_read_again(tmp_path: Path) -> None:
    spike: list[list[float]] = [[0, 0], [10, 0], [10, 10], [5, 10], [5, 20], [5, 10], [0, 10], [0, 0]]
    [region] = read_regions(written(tmp_path / "a.geojson", [feature(polygon(spike))]))
    assert region.polygon.equals(box(0, 0, 10, 10))
    write_geojson(tmp_path / "b.geojson", [region])
    assert read_regions(tmp_path / "b.geojson")[0].polygon.equals(box(0, 0, 10, 10))


def test_what_an_outline_goes_round_twice_is_inside(tmp_path: Path) -> None:
    """Drawn on past its beginning: once round a square of 10, and again round a corner of it."""
    twice: list[list[float]] = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0], [6, 0], [6, 6], [0, 6], [0, 0]]
    crossing: list[list[float]] = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
    for outline, area in ((twice, 100), (crossing, 50)):
        [region] = read_regions(written(tmp_path / "a.geojson", [feature(polygon(outline))]))
        assert region.polygon.area == area


def test_an_island_in_a_hole_belongs_to_the_area(tmp_path: Path) -> None:
    nested = {"type": "MultiPolygon", "coordinates": [[RING, HOLE], [ISLAND]]}
    [region] = read_regions(written(tmp_path / "a.geojson", [feature(nested)]))
    assert region.polygon.area == 100 - 4 + 1


def test_a_derived_class_is_named_as_qupath_shows_it(tmp_path: Path) -> None:
    derived = feature(polygon(RING), {"names": ["Tumor", "Positive"]})
    assert read_regions(written(tmp_path / "a.geojson", [derived]))[0].name == "Tumor: Positive"


def test_what_was_drawn_in_qupath_on_a_slide_with_bounds_is_moved_only_where_somebody_said_so(tmp_path: Path) -> None:
    """QuPath counts from the corner of the bounds: a guess would move every label by a few thousand px, or not."""
    drawn = written(tmp_path / "a.geojson", [feature(polygon(RING))])
    there = (300, 200)
    assert read_regions(drawn)[0].polygon.bounds == (0, 0, 10, 10)
    assert read_regions(drawn, Frame(there, "slide"))[0].polygon.bounds == (0, 0, 10, 10)
    assert read_regions(drawn, Frame(there, "bounds"))[0].polygon.bounds == (300, 200, 310, 210)
    with pytest.raises(InputError, match=r"a\.geojson: does not say .* \(300, 200\); give --origin bounds"):
        read_regions(drawn, Frame(there))
    assert read_regions(written(tmp_path / "none.geojson", []), Frame(there)) == []
    # XML of other programs counts from the corner of level 0.
    square = written(tmp_path / "a.xml", ASAP.format(asap("Polygon", "Tumor", SQUARE)))
    assert read_regions(square, Frame(there))[0].polygon.equals(read_regions(square)[0].polygon)


def test_a_file_that_says_from_where_it_counts_is_taken_at_its_word(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    write_geojson(path, [Region(box(1000, 500, 1100, 600), "T", "")], offset_px=(900, 450))
    written_there = json.loads(path.read_text())
    assert written_there["features"][0]["geometry"]["coordinates"][0][0] in ([200, 50], [100, 50], [200, 150])
    for frame in (Frame(), Frame((7, 7)), Frame((7, 7), "slide")):
        assert read_regions(path, frame)[0].polygon.bounds == (1000, 500, 1100, 600)
    written_there["tesela"]["offset_px"] = ["9", None]
    with pytest.raises(InputError, match="two whole numbers"):
        read_regions(written(path, written_there))


def test_measurements_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    raw = '{"a": NaN, "b": null, "c": "x", "d": true, "e": 2}'
    content = json.dumps([feature(polygon(RING), measurements={})]).replace(
        '"measurements": {}', f'"measurements": {raw}'
    )
    assert read_regions(written(tmp_path / "a.geojson", content))[0].measurements == {"e": 2.0}


@given(
    corners=st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)), min_size=3, max_size=12),
    numbers=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, corners: list[tuple[float, float]], numbers: dict[str, float]
) -> None:
    hull = MultiPolygon([]).union(Polygon(corners).convex_hull)
    if hull.geom_type != "Polygon" or hull.area < 1 or hull.minimum_clearance < 0.1:
        return  # rounding to 0.01 px changes these
    path = tmp_path_factory.mktemp("again") / "a.geojson"
    write_geojson(path, [Region(hull, "T", "", numbers)])
    [again] = read_regions(path)
    assert again.measurements == numbers
    assert again.polygon.symmetric_difference(hull).area <= 0.01 * hull.length


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not a readable GeoJSON"),
        ("[" * 100_000, "not a readable GeoJSON"),
        ('{"features": 3}', "no list"),
        ([3], "feature 1: no classification"),
        ([feature(polygon(RING)), {"type": "Feature", "geometry": polygon(RING)}], "feature 2: no classification"),
        ([feature(polygon(RING), {"name": " "})], "no classification"),
        ([feature({"type": "GeometryCollection", "geometries": [polygon(RING)]})], "GeometryCollection encloses no"),
        ([feature({"type": "Point", "coordinates": [1, 2]})], "Point encloses no area"),
        ([feature(polygon([[0, 0], [5, 5], [0, 0]]))], "feature 1"),
        ([feature(polygon([[0, 0], [5, 5], [10, 10], [0, 0]]))], "encloses no area"),
        ([feature(polygon([[0, 0], [math.nan, 5], [5, 0], [0, 0]]))], "no finite number"),
        ([feature({"type": "Polygon"})], "no polygon"),
        ([feature(polygon([["a", 1], [2, 2], [3, 1]]))], "no polygon"),  # type: ignore[list-item]
        ([{**feature(polygon(RING)), "geometry": None}], "no polygon"),
    ],
)
def test_a_faulty_geojson_is_refused_with_its_place(tmp_path: Path, content: Any, said: str) -> None:
    path = written(tmp_path / "bad.geojson", content)
    for read in (read_regions, read_geojson):
        with pytest.raises(InputError, match=said) as caught:
            read(path)
        assert "bad.geojson" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_cut_gzip_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps([feature(polygon(RING))]).encode())
    (tmp_path / "cut.geojson.gz").write_bytes(packed[:-12])
    for name in ("cut.geojson.gz", "missing.xml"):
        with pytest.raises(InputError, match="not a readable"):
            read_regions(tmp_path / name)


def test_a_hundred_thousand_outlines_are_read_in_seconds(tmp_path: Path) -> None:
    round_one = [[math.cos(i) * 9, math.sin(i) * 9] for i in (2 * math.pi * k / 24 for k in range(24))]
    one = json.dumps(feature(polygon([*round_one, round_one[0]])))
    path = written(tmp_path / "a.geojson", "[" + ",".join([one] * 100_000) + "]")
    began = time.process_time()
    assert len(read_regions(path)) == 100_000
    assert time.process_time() - began < 12  # 3 to 4 on a quiet core


ASAP = """<?xml version="1.0"?><ASAP_Annotations><Annotations>{}</Annotations>
<AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#F4FA58"><Attributes/></Group></AnnotationGroups>
</ASAP_Annotations>"""


def asap(kind: str, group: str, points: list[tuple[object, object]]) -> str:
    # Out of order: Order says where a point belongs.
    listed = [f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(points)][::-1]
    coordinates = f"<Coordinates>{''.join(listed)}</Coordinates>"
    return f'<Annotation Name="one" Type="{kind}" PartOfGroup="{group}">{coordinates}</Annotation>'


SQUARE: list[tuple[object, object]] = [(0, 0), (10.5, 0), (10.5, 10), (0, 10)]


@pytest.mark.parametrize("kind", ["Polygon", "Spline", "Rectangle"])
def test_asap_areas_are_read_and_their_group_is_the_class(tmp_path: Path, kind: str) -> None:
    [region] = read_regions(written(tmp_path / "a.xml", ASAP.format(asap(kind, "Tumor", SQUARE))))
    assert (region.name, region.source) == ("Tumor", "a.xml")
    assert region.polygon.equals(box(0, 0, 10.5, 10))


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (asap("Polygon", "None", SQUARE), "annotation 1 .one.: in no group"),
        (asap("Dot", "Tumor", [(1, 1)]), "a Dot encloses no area"),
        (asap("Polygon", "Tumor", [(1, 1), (2, 2)]), "2 points"),
        (asap("Polygon", "Tumor", [(1, 1), (2, "x"), (3, 1)]), "without numbers"),
        (asap("Polygon", "Tumor", [(1, 1), (2, "nan"), (3, 1)]), "no finite number"),
    ],
)
def test_a_faulty_asap_annotation_is_refused_with_its_place(tmp_path: Path, annotation: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_regions(written(tmp_path / "a.xml", ASAP.format(annotation)))


def vertices(*points: tuple[float, float]) -> str:
    return "<Vertices>" + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points) + "</Vertices>"


def imagescope(regions: str, name: str = "Tumor", attributes: str = "") -> str:
    return (
        f'<Annotations MicronsPerPixel="0.25"><Annotation Id="1" Name="{name}" LineColor="65280">'
        f"<Attributes>{attributes}</Attributes><Regions>{regions}</Regions></Annotation></Annotations>"
    )


def roa(kind: int, *points: tuple[float, float], negative: int = 0, text: str = "") -> str:
    return f'<Region Type="{kind}" Text="{text}" NegativeROA="{negative}">{vertices(*points)}</Region>'


def test_imagescope_polygons_rectangles_and_ellipses_are_read(tmp_path: Path) -> None:
    found = read_regions(
        written(
            tmp_path / "a.xml",
            imagescope(
                roa(0, (0, 0), (10, 0), (10, 10), (0, 10))
                + roa(1, (20, 0), (30, 0), (30, 10), (20, 10))
                + roa(1, (40, 0), (50, 10))
                + roa(2, (60, 0), (100, 20))
                + roa(2, (60, 0), (100, 0), (100, 20), (60, 20))
            ),
        )
    )
    assert [region.name for region in found] == ["Tumor"] * 5
    assert [region.polygon.area for region in found[:3]] == [100, 100, 100]
    for ellipse in found[3:]:
        assert ellipse.polygon.area == pytest.approx(math.pi * 20 * 10, rel=0.002)
        assert ellipse.polygon.bounds == pytest.approx((60, 0, 100, 20))


def test_a_negative_region_is_cut_out_of_its_own_layer_only(tmp_path: Path) -> None:
    outer, hole = roa(0, (0, 0), (10, 0), (10, 10), (0, 10)), roa(0, (2, 2), (4, 2), (4, 4), (2, 4), negative=1)
    both = imagescope(hole + outer).replace("</Annotations>", "") + imagescope(outer, "Stroma").split(">", 1)[1]
    found = read_regions(written(tmp_path / "a.xml", both))
    assert [(region.name, region.polygon.area) for region in found] == [("Tumor", 96), ("Stroma", 100)]


def layers(*named: tuple[str, str]) -> str:
    """An ImageScope file of layers: (name, regions)."""
    inner = "".join(f'<Annotation Name="{name}"><Regions>{found}</Regions></Annotation>' for name, found in named)
    return f"<Annotations>{inner}</Annotations>"


def square(left: float, right: float, negative: int = 0) -> str:
    return roa(0, (left, left), (right, left), (right, right), (left, right), negative=negative)


def test_an_island_within_an_exclusion_stays(tmp_path: Path) -> None:
    nested = square(0, 12) + square(2, 10, 1) + square(4, 8) + square(5, 6, 1)
    drawing = read_drawing(written(tmp_path / "a.xml", layers(("Tumor", nested))))
    assert [region.polygon.area for region in drawing.regions] == [144 - 64, 16 - 1]
    assert (drawing.exclusions, drawing.notes) == (2, ())
    # A border that pokes out by a sliver still lies within; what lies across is cut.
    sliver = roa(0, (1.9, 4), (8, 4), (8, 8), (1.9, 8))
    areas = [region.polygon.area for region in read_regions(written(tmp_path / "a.xml", layers(
        ("Tumor", square(0, 12) + square(2, 10, 1) + sliver)
    )))]  # fmt: skip
    assert areas == pytest.approx([80, 6.1 * 4])
    across = roa(0, (0, 4), (8, 4), (8, 8), (0, 8))
    areas = [region.polygon.area for region in read_regions(written(tmp_path / "a.xml", layers(
        ("Tumor", square(2, 10, 1) + across)
    )))]  # fmt: skip
    assert areas == [2 * 4]


def test_exclusions_of_another_layer_of_the_same_name_count_and_of_another_name_do_not(tmp_path: Path) -> None:
    both = layers(("Tumor", square(0, 12)), (" Tumor ", square(2, 10, 1)))
    assert [region.polygon.area for region in read_regions(written(tmp_path / "a.xml", both))] == [144 - 64]
    other = layers(("Tumor", square(0, 12)), ("Stroma", square(2, 10, 1) + square(20, 22)))
    drawing = read_drawing(written(tmp_path / "a.xml", other))
    assert [region.polygon.area for region in drawing.regions] == [144, 4]
    assert [note.split("region 1: ")[1] for note in drawing.notes] == [
        "excludes nothing, since no region of its class lies there"
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (layers(("Tumor", square(2, 10, 1))), r"layer 1 .*, region 1: nothing is drawn but exclusions"),
        (layers(("Tumor", square(0, 12)), ("Stroma", square(2, 10, 1))), r"layer 2 .*: nothing is drawn but"),
        (layers(("Tumor", square(2, 10) + square(2, 10, 1))), "exclusions .* leave nothing of it"),
        (layers(("Tumor", square(3, 9) + square(2, 10) + square(2, 10, 1))), "leave nothing of it"),
    ],
)
def test_exclusions_that_leave_nothing_are_refused(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_regions(written(tmp_path / "a.xml", content))


def test_a_layer_without_a_name_takes_its_description_or_the_text_of_the_region(tmp_path: Path) -> None:
    triangle = ((0, 0), (5, 0), (0, 5))
    described = imagescope(roa(0, *triangle), "", '<Attribute Name="Description" Id="0" Value="Benign"/>')
    assert read_regions(written(tmp_path / "a.xml", described))[0].name == "Benign"
    assert read_regions(written(tmp_path / "a.xml", imagescope(roa(0, *triangle, text="Fat"), "")))[0].name == "Fat"
    with pytest.raises(InputError, match=r"layer 1 \(line colour #00ff00\), region 1: no class; in ImageScope name"):
        read_regions(written(tmp_path / "a.xml", imagescope(roa(0, *triangle), "")))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (imagescope(roa(3, (0, 0), (5, 5))), "type 3 with 2 points encloses no area"),
        (imagescope(roa(2, (0, 0))), "type 2 with 1 points"),
        ("<svg/>", "root <svg>"),
        ("<Annotations>", "not a readable XML"),
        (
            '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;">]><Annotations><Annotation Name="&c;"/></Annotations>',
            "not a readable XML",
        ),
        (
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><Annotations>&b;</Annotations>',
            "not a readable XML",
        ),
    ],
)
def test_faulty_or_hostile_xml_is_refused(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_regions(written(tmp_path / "a.xml", content))
    assert "\n" not in str(caught.value)


# What all formats share: names, encodings, packing, mpp.


@pytest.mark.parametrize("typed", [" Tumor  centre", "Tumor\u00a0centre\t", "\ufeffTumor\u200b centre"])
def test_a_class_is_one_however_its_spaces_are_typed(tmp_path: Path, typed: str) -> None:
    contents = [
        json.dumps([feature(polygon(RING), {"name": typed})]),
        ASAP.format(asap("Polygon", typed, SQUARE)),
        imagescope(square(0, 9), typed),
    ]
    for content in contents:
        assert read_regions(written(tmp_path / "a", content))[0].name == "Tumor centre"
    derived = feature(polygon(RING), {"names": [typed, " Positive ", "", None]})
    assert read_regions(written(tmp_path / "a", [derived]))[0].name == "Tumor centre: Positive"


def test_letters_that_are_written_in_two_ways_are_one(tmp_path: Path) -> None:
    for typed in ("N\u00e9crose", "Ne\u0301crose"):
        assert (
            read_regions(written(tmp_path / "a", [feature(polygon(RING), {"name": typed})]))[0].name == "N\u00e9crose"
        )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_files_in_any_unicode_are_read(tmp_path: Path, encoding: str) -> None:
    as_json = json.dumps([feature(polygon(RING), {"name": "腫瘍"})], ensure_ascii=False)
    as_xml = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>' + imagescope(square(0, 9), "腫瘍")
    for content in (as_json, as_xml):
        for packed in (bytes, gzip.compress):
            (tmp_path / "a").write_bytes(packed(content.encode(encoding)))
            assert read_regions(tmp_path / "a")[0].name == "腫瘍"


@pytest.mark.parametrize(
    ("encoding", "declared", "name"),
    [
        ("latin-1", "ISO-8859-1", "é"),
        ("cp1252", "windows-1252", "é"),
        ("gb18030", "GB18030", "肿瘤"),
        ("shift_jis", "Shift_JIS", "腫瘍"),
        ("utf-8", "utf-16", "é"),  # as programs write that hand on a text with its header
    ],
)
def test_xml_is_read_in_the_encoding_that_it_declares(tmp_path: Path, encoding: str, declared: str, name: str) -> None:
    content = f'<?xml version="1.0" encoding="{declared}"?>' + imagescope(square(0, 9), name)
    (tmp_path / "a.xml").write_bytes(content.encode(encoding))
    assert read_regions(tmp_path / "a.xml")[0].name == name


@pytest.mark.parametrize("declared", ["utf-8", "klingon", "hex", "undefined"])
def test_bytes_that_are_not_what_is_declared_are_refused(tmp_path: Path, declared: str) -> None:
    content = f'<?xml version="1.0" encoding="{declared}"?>' + imagescope(square(0, 9), "é")
    (tmp_path / "a.xml").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.xml: .*save it as UTF-8") as caught:
        read_regions(tmp_path / "a.xml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start", [b"[", b"<Annotations>"])
def test_a_file_that_is_packed_as_no_honest_file_is_is_not_unpacked(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(start + b" " * 60_000_000, 1))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.gz: .* MB that hold more than \d+ MB, .*unpack it"):
        read_regions(tmp_path / "a.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


def test_a_part_of_a_region_that_encloses_no_area_is_said(tmp_path: Path) -> None:
    flat: list[list[float]] = [[20, 20], [30, 20], [40, 20], [20, 20]]
    parts = {"type": "MultiPolygon", "coordinates": [[RING], [flat]]}
    drawing = read_drawing(written(tmp_path / "a.geojson", [feature(parts)]))
    assert drawing.regions[0].polygon.area == 100
    assert [note.split("a.geojson, ")[1] for note in drawing.notes] == [
        "feature 1: 1 of its 2 parts enclose no area: left out"
    ]


def test_an_annotation_of_a_slide_of_another_mpp_is_refused(tmp_path: Path) -> None:
    frame = Frame(slide_mpp=(0.5, 0.5))
    path = written(tmp_path / "a.xml", imagescope(square(0, 9)))
    with pytest.raises(
        InputError, match=r"a\.xml: drawn on a slide of 0\.25 mpp \(MicronsPerPixel\), but this .* 0\.5"
    ):
        read_regions(path, frame)
    assert read_regions(path, Frame(slide_mpp=(0.252, 0.252)))
    assert read_regions(path)
    write_geojson(tmp_path / "a.geojson", [Region(box(0, 0, 9, 9), "T", "")], about={"slide_mpp": [0.25, 0.25]})
    with pytest.raises(InputError, match=r"0\.25 mpp \(tesela\.slide_mpp\)"):
        read_geojson(tmp_path / "a.geojson", frame)


# What is written.


def test_rings_run_as_rfc_7946_asks(tmp_path: Path) -> None:
    """Outer rings counter-clockwise and holes clockwise, of x and y as numbers."""
    holed = Polygon(RING, [HOLE])
    for drawn in (holed, holed.reverse(), MultiPolygon([holed.reverse(), box(20, 20, 30, 30).reverse()])):
        write_geojson(tmp_path / "a.geojson", [Region(drawn, "T", "")], offset_px=(3, 4))
        geometry = json.loads((tmp_path / "a.geojson").read_text())["features"][0]["geometry"]
        parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for outer, *holes in parts:
            assert LinearRing(outer).is_ccw
            assert not any(LinearRing(hole).is_ccw for hole in holes)


def test_ids_are_of_the_slide_the_class_and_the_outline(tmp_path: Path) -> None:
    one, two = Region(box(0, 0, 9, 9), "T", ""), Region(box(0, 0, 9, 9), "S", "")

    def ids(regions: list[Region], **options: Any) -> list[str]:
        write_geojson(tmp_path / "a.geojson", regions, **options)
        return [found["id"] for found in json.loads((tmp_path / "a.geojson").read_text())["features"]]

    assert ids([one, two]) == ids([one, two])
    assert len({*ids([one, two, one])}) == 3
    assert ids([one], about={"slide": "a"}) != ids([one], about={"slide": "b"})
    assert ids([one], identity="a") == ids([one], about={"slide": "a"}) != ids([one])
