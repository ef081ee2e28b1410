"""`du --plot`: a treemap of what is below a path, as one self-contained SVG. No I/O; `cmd_du` feeds and writes it.

Two levels are drawn: what is directly below, and what is in that. Entries come depth first, so a name is whole when the
next one begins; of each level the largest are kept and the others drawn as one, so memory does not grow with the tree.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from html import escape

from cftool.cli import formats
from cftool.core.dataclass import dataclass
from cftool.core.paths import printable

WIDTH, HEIGHT, HEAD = 1200.0, 800.0, 34.0  # pixels; HEAD: the line above the map
_KEPT = (60, 40)  # names drawn on each level
_STRIP = 18.0  # the line with the name at the top of a box that holds others
_CHAR = 6.6  # pixels of a character, about
_HUES = (210, 35, 140, 0, 265, 60, 180, 320, 90, 20)

Rect = tuple[float, float, float, float]  # x, y, width, height


@dataclass(slots=True)
class Box:
    """One name with all below it; `count`: names that it stands for, where it stands for the rest."""

    name: str
    bytes: int = 0
    files: int = 0
    count: int = 1
    below: "Level | None" = None


@dataclass(slots=True)
class Level:
    """The names of one directory: the largest, and the sum of the others."""

    keep: int
    largest: list[tuple[int, int, Box]] = field(default_factory=list)  # a heap, the smallest first
    rest: Box = field(default_factory=lambda: Box("", count=0))
    number: int = 0

    def take(self, box: Box) -> None:
        """A name that is whole."""
        self.number += 1
        heapq.heappush(self.largest, (box.bytes, -self.number, box))
        if len(self.largest) > self.keep:
            small = heapq.heappop(self.largest)[2]
            self.rest.bytes += small.bytes
            self.rest.files += small.files
            self.rest.count += small.count

    def boxes(self) -> list[Box]:
        """The largest first; the rest last."""
        found = [box for _, _, box in sorted(self.largest, key=lambda each: (-each[0], -each[1]))]
        if self.rest.count:
            found.append(Box(f"{formats.number(self.rest.count)} more", self.rest.bytes, self.rest.files))
        return [box for box in found if box.bytes]


class Tally:
    """Sums by name; `add` hears of files in depth-first order."""

    def __init__(self, kept: Sequence[int] = _KEPT) -> None:
        self._kept = kept
        self._top = Level(kept[0])
        self._open: list[tuple[tuple[str, bool], Box]] = []  # (name, whether a directory) of each level
        self.bytes = 0
        self.files = 0

    def add(self, parts: Sequence[str], size: int) -> None:
        """One file by the components of its path."""
        self.bytes += size
        self.files += 1
        names = [(part, at + 1 < len(parts)) for at, part in enumerate(parts[: len(self._kept)])]
        same = 0
        while same < min(len(names), len(self._open)) and names[same] == self._open[same][0]:
            same += 1
        self._close(same)
        for at in range(same, len(names)):
            part, is_dir = names[at]
            below = Level(self._kept[at + 1]) if is_dir and at + 1 < len(self._kept) else None
            self._open.append((names[at], Box(part + "/" if is_dir else part, below=below)))
        for _, box in self._open:
            box.bytes += size
            box.files += 1

    def _close(self, depth: int) -> None:
        while len(self._open) > depth:
            box = self._open.pop()[1]
            level = self._open[-1][1].below if self._open else self._top
            if level is not None:
                level.take(box)

    def svg(self, title: str, *, complete: bool = True) -> bytes:
        """The picture of all that was added; it says so where that is not everything."""
        self._close(0)
        short = "" if complete else " (incomplete)"
        told = f"{formats.size(self.bytes)} in {formats.plural(self.files, 'file')}{short}: {title}"
        box = f"0 0 {WIDTH:g} {HEIGHT + HEAD:g}"
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            _text(8, 22, told, WIDTH, 'font-size="16"'),
            *_draw(self._top.boxes(), (0.0, HEAD, WIDTH, HEIGHT), 0, 0),
            "</svg>",
        ]
        return "\n".join(lines).encode("utf-8")


def _draw(boxes: list[Box], place: Rect, depth: int, hue: int) -> Iterator[str]:
    for number, (box, (x, y, width, height)) in enumerate(squarified(boxes, place)):
        tone = _HUES[number % len(_HUES)] if depth == 0 else hue
        light = 80 if depth == 0 else 66 + number * 4 % 16
        words = f"{box.name}\n{formats.size(box.bytes)} in {formats.plural(box.files, 'file')}"
        yield (
            f'<g><title>{_escaped(words)}</title><rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" fill="hsl({tone},55%,{light}%)" stroke="white"/>'
        )
        if height >= _STRIP - 4:
            yield _text(x + 4, y + 13, f"{box.name} {formats.size(box.bytes)}", width - 8)
        yield "</g>"
        if box.below is not None and height > 2 * _STRIP and width > 2 * _STRIP:
            inner = (x + 3, y + _STRIP, width - 6, height - _STRIP - 3)
            yield from _draw(box.below.boxes(), inner, depth + 1, tone)


def _text(x: float, y: float, text: str, width: float, more: str = "") -> str:
    """As much as fits."""
    shown = printable(text)
    fits = int(width / _CHAR)
    if len(shown) > fits:
        shown = shown[: fits - 1] + "…" if fits > 2 else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{f" {more}" if more else ""}>{escape(shown)}</text>' if shown else ""


def _escaped(text: str) -> str:
    return "\n".join(escape(printable(line)) for line in text.split("\n"))


def squarified(boxes: Sequence[Box], place: Rect) -> Iterable[tuple[Box, Rect]]:
    """Places for boxes, largest first, areas by bytes, as near to squares as rows allow.

    Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000).
    """
    x, y, width, height = place
    left = sum(box.bytes for box in boxes)
    at = 0
    while at < len(boxes) and left and width > 0 and height > 0:
        scale = width * height / left
        side = min(width, height)
        end, total = at + 1, boxes[at].bytes
        while end < len(boxes):
            more = total + boxes[end].bytes
            if _worst(boxes, at, end + 1, more * scale, side, scale) > _worst(
                boxes, at, end, total * scale, side, scale
            ):
                break
            end, total = end + 1, more
        thick = total * scale / side
        along = 0.0
        for box in boxes[at:end]:
            long = box.bytes * scale / thick
            yield box, (x, y + along, thick, long) if width >= height else (x + along, y, long, thick)
            along += long
        if width >= height:
            x, width = x + thick, width - thick
        else:
            y, height = y + thick, height - thick
        left -= total
        at = end


def _worst(boxes: Sequence[Box], start: int, end: int, area: float, side: float, scale: float) -> float:
    """The ratio of the sides of the least square box in a row; the largest and the smallest are at its ends."""
    large, small = boxes[start].bytes * scale, max(min(boxes[end - 1].bytes, boxes[start].bytes) * scale, 1e-9)
    return max(side * side * large / (area * area), area * area / (side * side * small))
