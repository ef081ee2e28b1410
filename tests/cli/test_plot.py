"""du --plot: a treemap whose areas are the bytes, in an SVG that any XML parser reads."""

import random
import re
from xml.etree import ElementTree as ET

import pytest

from cftool.cli import plot
from cftool.cli.plot import Box, Tally, squarified

SVG = "{http://www.w3.org/2000/svg}"


def drawn(data):
    """Area by the first line of the title, of every box."""
    root = ET.fromstring(data)
    found = {}
    for group in root.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        name = group.find(f"{SVG}title").text.split("\n")[0]
        found[name] = float(rect.get("width")) * float(rect.get("height"))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_boxes_fill_the_place_by_their_bytes_and_do_not_overlap(seed):
    chance = random.Random(seed)
    boxes = [Box(str(n), chance.randrange(1, 10 ** chance.randrange(1, 7))) for n in range(chance.randrange(1, 40))]
    boxes.sort(key=lambda box: -box.bytes)
    places = list(squarified(boxes, (5, 7, 300, 200)))
    assert [box.name for box, _ in places] == [box.name for box in boxes]
    total = sum(box.bytes for box in boxes)
    for number, (box, (x, y, width, height)) in enumerate(places):
        assert width * height == pytest.approx(60_000 * box.bytes / total)
        assert x >= 5 - 1e-6
        assert y >= 7 - 1e-6
        assert x + width <= 305 + 1e-6
        assert y + height <= 207 + 1e-6
        for _, (left, top, wide, high) in places[:number]:
            apart = (
                x >= left + wide - 1e-6
                or left >= x + width - 1e-6
                or y >= top + high - 1e-6
                or top >= y + height - 1e-6
            )
            assert apart


def test_equal_boxes_are_near_squares():
    for _, (_, _, width, height) in squarified([Box(str(n), 1) for n in range(16)], (0, 0, 400, 400)):
        assert width == pytest.approx(height)


def test_two_levels_and_their_sums():
    tally = Tally()
    for path, size in (("a/x", 100), ("a/y/1", 150), ("a/y/2", 150), ("b", 600), ("c", 0)):
        tally.add(path.split("/"), size)
    found = drawn(tally.svg("all"))
    whole = plot.WIDTH * plot.HEIGHT
    assert set(found) == {"a/", "x", "y/", "b"}
    assert found["a/"] == pytest.approx(0.4 * whole, rel=0.01)
    assert found["b"] == pytest.approx(0.6 * whole, rel=0.01)
    assert found["y/"] == pytest.approx(3 * found["x"], rel=0.02)
    assert b"1000 B in 5 files: all" in tally.svg("all")


def test_of_very_many_names_the_largest_are_drawn_and_the_rest_as_one():
    tally = Tally(kept=(3, 2))
    for number in range(1000):
        tally.add([f"{number:04d}"], number)
    assert len(tally._top.largest) <= 4
    found = drawn(tally.svg("many"))
    assert set(found) == {"0999", "0998", "0997", "997 more"}
    assert found["997 more"] == pytest.approx(plot.WIDTH * plot.HEIGHT * sum(range(997)) / sum(range(1000)), rel=0.01)


def test_a_file_and_a_directory_of_one_name_are_two():
    tally = Tally()
    for path in ("a", "a/b"):
        tally.add(path.split("/"), 5)
    assert set(drawn(tally.svg("x"))) == {"a", "a/", "b"}


def test_names_cannot_break_the_picture():
    tally = Tally()
    tally.add(["<script>&\"'\x1b\udcff\ufffe"], 5)
    data = tally.svg("]]>\x00")
    assert set(drawn(data)) == {"<script>&\"'\\x1b\\xff\\ufffe"}
    assert not re.search(rb"<script|http(?!://www\.w3\.org/2000/svg)", data)


def test_nothing_is_drawn_of_nothing():
    assert drawn(Tally().svg("empty")) == {}


class TestCommand:
    def test_the_picture_of_a_directory(self, run, place, here):
        place.put("a/x", bytes(300))
        place.put("b", bytes(100))
        ran = run("du", place.at(""), "--plot", "out.svg")
        assert ran.lines == [f"400\t2\t{place.at('')}"]
        assert set(drawn((here / "out.svg").read_bytes())) == {"a/", "x", "b"}

    def test_it_may_be_written_anywhere(self, run, place):
        place.put("a/x", bytes(300))
        events = run("du", place.at("a"), "--plot", place.at("out.svg"), "--json").events
        assert [(event["event"], event["path"]) for event in events] == [
            ("du", place.at("a")),
            ("plot", place.at("out.svg")),
        ]
        assert set(drawn(place.get("out.svg"))) == {"x"}

    def test_several_paths_are_its_first_level(self, run, place, here):
        place.put("a/x", bytes(300))
        place.put("b/y", bytes(100))
        run("du", place.at("a"), place.at("b"), place.at("missing"), "--plot", "out.svg", code=3)
        data = (here / "out.svg").read_bytes()
        assert {f"{place.at('a')}/", "x", "y"} <= set(drawn(data))
        assert b"(incomplete)" in data

    def test_where_it_cannot_be_written_is_told(self, run, here):
        (here / "d").mkdir()
        run("du", ".", "--plot", "d", code=1)
        run("du", ".", "--plot", "-", code=2)
