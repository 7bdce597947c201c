"""Clips are not mirrored where that turns one class into another, and a line says which it is."""

from __future__ import annotations

import pytest

from vid3d.training.directions import describe, directed, flips


@pytest.mark.parametrize(
    "classes",
    [
        ("TurnLeft", "TurnRight"),
        ("swipeleft", "swiperight"),
        ("SwipeRight", "swipeUp"),
        ("RIGHT", "stop"),
        ("thumb_right2", "fist"),
        ("upright", "upleft"),
        ("Clockwise", "Leap"),
        ("anti-clockwise", "still"),
        ("cw", "ccw"),
        ("CWRotation", "still"),
        ("go-east", "go-north"),
        ("walk westwards", "stand"),
        ("linksabbiegen", "geradeaus"),
        ("virage à gauche", "tout droit"),
        ("girar_derecha", "seguir"),
        ("mano sinistra", "pugno"),
        ("virar à esquerda", "parar"),
        ("w prawo", "stój"),
        ("va\u0308nster", "stopp"),  # as macOS writes it
        ("налево", "стоп"),
        ("左折", "直進"),
        ("왼쪽", "정지"),
        ("बाएं मुड़ें", "रुकें"),
        ("يسار", "قف"),
        ("turn_l", "turn_r"),
        ("TurnL", "TurnR"),
        ("wave (l)", "wave (r)"),
        ("est", "ouest"),
        ("sola dön", "sağa dön"),
    ],
)
def test_a_direction_in_a_class_name_disables_mirroring(classes):
    assert not flips("auto", classes)
    assert repr(classes[0]) in describe("auto", classes)


@pytest.mark.parametrize(
    "classes",
    [
        ("fight", "noFight"),
        ("Bright", "Leftovers"),
        ("copyright", "playwright"),
        ("stand upright", "cleft"),
        ("eye_blinks", "frightened"),
        ("feast", "breaststroke", "western"),
        ("destroy", "orchestra"),
        ("il est assis", "debout"),
        ("лев", "справка"),
        ("turn_l", "walk"),
        ("sola", "in due"),
    ],
)
def test_other_words_with_direction_letters_do_not(classes):
    assert directed(classes) == []
    assert flips("auto", classes)


def test_only_the_two_classes_of_a_pair_are_named():
    assert directed(("walk", "upright", "upleft", "bright")) == ["upright", "upleft"]


@pytest.mark.parametrize(
    ("setting", "classes", "mirrors", "words"),
    [
        ("off", ("a", "b"), False, "clips are not mirrored"),
        ("on", ("a", "b"), True, "every second clip is mirrored"),
        ("on", ("left", "b"), True, "although classes are named after a direction ('left')"),
        ("auto", ("a", "b"), True, "set augment.flip=off"),
        ("auto", ("left", "b"), False, "since classes are named after a direction ('left')"),
    ],
)
def test_mirroring_is_described(setting, classes, mirrors, words):
    assert flips(setting, classes) is mirrors
    assert words in describe(setting, classes)


def test_hundreds_of_directions_take_one_line():
    assert len(describe("auto", [f"left {k}" for k in range(400)])) < 400
