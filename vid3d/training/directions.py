"""Whether clips are mirrored: not where class names say that a mirror changes the class."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from vid3d.text import first_few

# Opposites of which a part of a longer word is enough: "swipeleft", "Linkskurve", "左折".
PARTS = (
    *(("left", "right"), ("clockwise", "anticlockwise"), ("clockwise", "counterclockwise")),
    *(("links", "rechts"), ("uhrzeigersinn", "gegenuhrzeigersinn")),  # German, Dutch
    *(("gauche", "droite"), ("izquierd", "derech"), ("sinistra", "destra"), ("esquerd", "direit")),
    *(("vänster", "höger"), ("venstre", "høyre"), ("venstre", "højre"), ("vasemm", "oikea")),
    *(("lewo", "prawo"), ("vlevo", "vpravo"), ("doleva", "doprava"), ("balra", "jobbra")),
    *(("stânga", "dreapta"), ("stanga", "dreapta"), ("αριστερ", "δεξι"), ("ліворуч", "праворуч")),
    *(("влево", "вправо"), ("налево", "направо"), ("вліво", "вправо")),
    *(("左", "右"), ("順時針", "逆時針"), ("顺时针", "逆时针"), ("時計回り", "反時計回り")),
    *(("왼", "오른"), ("좌회전", "우회전"), ("좌측", "우측"), ("시계방향", "반시계방향")),
    *(("يسار", "يمين"), ("שמאל", "ימין"), ("बाएं", "दाएं"), ("बाएँ", "दाएँ"), ("ซ้าย", "ขวา")),
)
# English words that have one of these parts and say nothing of a direction.
OTHERS = re.compile(
    "bright|fright|wright|copyright|upright|outright|downright|forthright|birthright|rightful|righteous|"
    "cleft|leftover|blinks|clinks|slinks"
)
# What has to be a word of its own.
WORDS = set(
    re.findall(
        r"\w+",
        """cw ccw acw ltr rtl lhs rhs east west eastward westward eastwards westwards eastbound
        westbound northeast northwest southeast southwest ouest oeste
        linke rechte linken rechten linker rechter linkes rechtes
        sinistro destro antihoraire antihorario antihorário antiorario kiri kanan
        lewa prawa lewy prawy lewe prawe levá pravá levý pravý
        лево право левый правый левая правая левое правое левой правой""",
    )
)
# What means a direction only where two names differ in nothing else: "turn_l" and "turn_r".
PAIRS = (
    *(("l", "r"), ("est", "ouest"), ("este", "oeste"), ("droit", "gauche"), ("trái", "phải")),
    *(("sol", "sağ"), ("sol", "sag"), ("sola", "sağa"), ("sola", "saga"), ("bal", "jobb")),
    *(("东", "西"), ("東", "西"), ("동", "서")),
)


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: turn, left for "TurnLeft" and "turn-left2"."""
    apart = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return tuple(re.findall(r"[^\W\d_]+", apart.lower()))


def directed(classes: Sequence[str]) -> list[str]:
    """The classes whose names say a direction that a mirror changes."""
    texts = {name: unicodedata.normalize("NFC", name) for name in classes}
    words = {name: words_of(text) for name, text in texts.items()}
    by_text = {text.lower(): name for name, text in texts.items()}
    by_words = {words[name]: name for name in classes}
    found = set()
    for text, name in by_text.items():
        without = OTHERS.sub(" ", text)
        if WORDS & set(words[name]) or any(part in without for pair in PARTS for part in pair):
            found.add(name)
        for one, other in PARTS:  # also the "upright" beside an "upleft"
            if one in text and (opposite := text.replace(one, other)) in by_text:
                found |= {name, by_text[opposite]}
        for one, other in PAIRS:
            mirrored = tuple(other if word == one else word for word in words[name])
            if mirrored != words[name] and mirrored in by_words:
                found |= {name, by_words[mirrored]}
    return [name for name in classes if name in found]


def flips(setting: str, classes: Sequence[str]) -> bool:
    """Whether clips are mirrored: with "on", and with "auto" where no class has a direction."""
    return setting == "on" or (setting == "auto" and not directed(classes))


def describe(setting: str, classes: Sequence[str]) -> str:
    """Says whether clips are mirrored, and why not, or what may be wrong with it."""
    named = directed(classes)
    which = f"classes are named after a direction ({first_few(map(repr, named))})"
    if setting == "off":
        return "augment.flip=off: clips are not mirrored"
    if setting == "on":
        return "augment.flip=on: every second clip is mirrored" + f", although {which}" * bool(
            named
        )
    if named:
        return (
            f"augment.flip=auto: clips are not mirrored, since {which}; augment.flip=on mirrors "
            "them nevertheless"
        )
    return (
        "augment.flip=auto: every second clip is mirrored, since no name of a class says left or "
        "right; where classes differ in that, set augment.flip=off"
    )
