"""What is known of a slide besides its pixels, and OME-XML (2016-06) that says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_SCHEMA = "http://www.w3.org/2001/XMLSchema-instance"
# What XML 1.0 cannot hold, even escaped.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Facts:
    """What a pyramid is told about its slide.

    mpp: (x, y) µm per level-0 px, None where unknown. objective_power: magnification, such as 20.
    description: text for people. pictures: (h, w, 3) RGB by name ("label", "macro"), kept beside the slide.
    """

    mpp: tuple[float, float] | None = None
    objective_power: float | None = None
    icc_profile: bytes | None = None
    description: str = ""
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


def ome_xml(name: str, size: tuple[int, int], facts: Facts, levels: int, identity: str) -> bytes:
    """OME-XML (UTF-8) of a slide in directory 0, and its pictures in those after its `levels`.

    size: level-0 (width, height). identity: a UUID. The same input gives the same bytes.
    """
    root = ElementTree.Element(
        "OME",
        {
            "xmlns": _NAMESPACE,
            "xmlns:xsi": _SCHEMA,
            "xsi:schemaLocation": f"{_NAMESPACE} {_NAMESPACE}/ome.xsd",
            "UUID": f"urn:uuid:{identity}",
            "Creator": "Tesela",
        },
    )
    power = facts.objective_power
    if power is not None:
        instrument = ElementTree.SubElement(root, "Instrument", ID="Instrument:0")
        ElementTree.SubElement(instrument, "Objective", ID="Objective:0", NominalMagnification=repr(float(power)))
    _image(root, 0, name, size, 0, facts)
    for number, (title, pixels) in enumerate(sorted(facts.pictures.items())):
        _image(root, number + 1, title, (pixels.shape[1], pixels.shape[0]), levels + number, None)
    return bytes(ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True))


def _image(
    root: ElementTree.Element, number: int, name: str, size: tuple[int, int], directory: int, facts: Facts | None
) -> None:
    """One Image; only the slide's own has `facts`. The order of the elements is the schema's."""
    image = ElementTree.SubElement(root, "Image", ID=f"Image:{number}", Name=_printable(name))
    if facts is not None and facts.description:
        ElementTree.SubElement(image, "Description").text = _printable(facts.description)
    if facts is not None and facts.objective_power is not None:
        ElementTree.SubElement(image, "InstrumentRef", ID="Instrument:0")
        ElementTree.SubElement(image, "ObjectiveSettings", ID="Objective:0")
    attributes = {"ID": f"Pixels:{number}", "DimensionOrder": "XYCZT", "Type": "uint8", "SignificantBits": "8"}
    attributes |= {"Interleaved": "true", "BigEndian": "false"}
    attributes |= {"SizeX": str(size[0]), "SizeY": str(size[1]), "SizeC": "3", "SizeZ": "1", "SizeT": "1"}
    if facts is not None and facts.mpp is not None:
        for axis, mpp in zip("XY", facts.mpp, strict=True):
            attributes |= {f"PhysicalSize{axis}": repr(float(mpp)), f"PhysicalSize{axis}Unit": "µm"}
    pixels = ElementTree.SubElement(image, "Pixels", attributes)
    ElementTree.SubElement(pixels, "Channel", ID=f"Channel:{number}:0", SamplesPerPixel="3")
    ElementTree.SubElement(pixels, "TiffData", IFD=str(directory), PlaneCount="1")


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text)
