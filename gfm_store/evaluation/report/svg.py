"""Drawings as inline SVG: text stays text, and colours are the page's own, so that they follow light and dark."""

import io
import re
import unicodedata
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

INK, MUTED, LINE, SURFACE, MODEL, BASELINE, ORACLE, ABLATION = (f"#01010{i}" for i in range(8))
SERIES = tuple(f"#02020{i}" for i in range(8))
"""Placeholders: matplotlib draws with these, and the page's CSS variables take their places."""
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    SURFACE: "var(--surface)",
    MODEL: "var(--model)",
    BASELINE: "var(--baseline)",
    ORACLE: "var(--oracle)",
    ABLATION: "var(--ablation)",
} | {colour: f"var(--series-{i})" for i, colour in enumerate(SERIES)}
SIZE = 11
"""Of all text, in the drawing's units; the style sheet says it once for all."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gfm-store",
    "font.family": "DejaVu Sans",
    "font.size": SIZE,
    "text.parse_math": False,  # a "$" in a name is a dollar
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.unicode_minus": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.75,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": SIZE,
    "ytick.labelsize": SIZE,
    "axes.labelsize": SIZE,
    "axes.titlesize": SIZE,
    "figure.facecolor": "none",
}
COLOUR = re.compile(r"#[0-9a-f]{6}")
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
UNTURNED = re.compile(r"rotate\(-?0 [^)]*\)")
FONT = re.compile(rf"font-size: {SIZE}px; |font-family: [^;]*; ?")


def plain(text: str) -> str:
    """Text without the characters that XML forbids: controls, halves of pairs and non-characters."""
    return "".join(
        c if unicodedata.category(c) not in ("Cc", "Cs") and c not in "\ufffe\uffff" else " " for c in text
    )


@contextmanager
def drawing() -> Iterator[None]:
    """The style of all drawings, for as long as a figure is made and written."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The browser draws the text, and has fonts for it.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing|Matplotlib currently does not support")
        yield


def inline_svg(figure: Figure, name: str, label: str, hover: Sequence[Sequence[str]] = ()) -> Markup:
    """A figure as an `<svg>` element for the midst of a page.

    Args:
        name: put before every id, so that the drawings of a page do not share ids.
        label: what it shows, for those who do not see it.
        hover: texts for the points of the lines whose gid is `points-0`, `points-1`, ...
    """
    written = io.BytesIO()
    figure.savefig(
        written, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None}
    )
    root = ET.fromstring(written.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        element.tail = None
        if element.tag not in ("text", "tspan"):
            element.text = None
    _remove(root, "metadata", "style")
    for i, texts in enumerate(hover):
        points = [
            use for group in root.iter("g") if group.get("id") == f"points-{i}" for use in group.iter("use")
        ]
        for point, text in zip(points, texts, strict=True):
            ET.SubElement(point, "title").text = plain(text)
    _adapt(root, name)
    _flatten(root)
    for group in root.iter("g"):
        _share_style(group)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": plain(label)}
    return Markup(ET.tostring(root, encoding="unicode"))


def _remove(parent: ET.Element, *tags: str) -> None:
    for child in list(parent):
        if child.tag in tags:
            parent.remove(child)
        else:
            _remove(child, *tags)


def _adapt(root: ET.Element, name: str) -> None:
    """The page's colours and font; ids of this drawing's own."""
    references = [
        value for e in root.iter() for key, value in e.attrib.items() if key == "href" or "url(#" in value
    ]
    short = {ref: f"{name}-{i}" for i, ref in enumerate(dict.fromkeys(map(_referred, references)))}
    for element in root.iter():
        kept = {}
        for key, value in element.attrib.items():
            if key == "id":
                if value in short:
                    kept[key] = short[value]
            elif key == "href" or value.startswith("url(#"):
                kept[key] = value.replace(_referred(value), short[_referred(value)])
            elif key == "style":
                kept[key] = FONT.sub("", COLOUR.sub(lambda found: VARIABLES.get(found[0], found[0]), value))
            else:
                kept[key] = _shorter(value)
        if UNTURNED.fullmatch(kept.get("transform", "")):
            del kept["transform"]
        element.attrib = kept


def _referred(reference: str) -> str:
    return reference.partition("#")[2].rstrip(")")


def _shorter(coordinates: str) -> str:
    """Hundredths of a unit are fine enough."""
    return LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", coordinates)


def _flatten(parent: ET.Element) -> None:
    """Drop groups that say nothing and shapes that cannot be seen."""
    children = []
    for child in parent:
        _flatten(child)
        if child.tag == "g" and not child.attrib:
            children += list(child)
        elif child.get("style") != "fill: none" and (child.tag != "defs" or len(child)):
            children.append(child)
    parent[:] = children


def _share_style(group: ET.Element) -> None:
    """Write the style of many equal marks once."""
    marks = [child for child in group if child.tag == "use"]
    styles = {mark.get("style") for mark in marks}
    if len(marks) > 1 and len(marks) == len(group) and len(styles) == 1 and None not in styles:
        group.set("style", str(marks[0].get("style")))
        for mark in marks:
            del mark.attrib["style"]
