"""Elements of HTML and SVG; whatever text they are given, it is text on the page."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

RAW = ("script", "style")  # their content is not escaped: it comes from `resource` or `as_json`
Child = Element | str | None


def e(tag: str, *children: Child | Iterable[Child], **attributes: object) -> Element:
    """An element: e("td", "text", class_="right", data_cell="1,2").

    Args:
        tag: of HTML or SVG.
        children: elements, texts, None for nothing, or iterables of these.
        attributes: `class_` is "class", any other "_" is "-"; None leaves one out.
    """
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            made.set(name.rstrip("_").replace("_", "-"), clean(value))
    for child in children:
        if isinstance(child, (Element, str)) or child is None:
            append(made, child)
        else:
            for one in child:
                append(made, one)
    return made


def append(parent: Element, child: Child) -> None:
    """Adds an element or a text at the end."""
    if child is None:
        return
    if isinstance(child, Element):
        parent.append(child)
        return
    text = child if parent.tag in RAW else clean(child)
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def clean(value: object) -> str:
    """Text without what no HTML file may have: control characters, bytes of undecodable names."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def text_of(root: Element) -> str:
    """The whole page."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html")
