"""Captions and the scenes they describe: endless, seeded, with a held-out part that training never sees.

What a caption leaves open is drawn with little spread (a lone shape lies near the middle, a pair side by
side), so that a small model has one clear thing to paint; what it says is always decisive.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from models.training.scenes import CLOSE_PAIRS, COLOUR_NAMES, MOTIONS, SHAPES, Scene, Thing

HELD_OUT_PART = 10  # one caption in this many is kept for the tests
NUMBERS = {1: "a", 2: "two", 3: "three", 4: "four"}
PLACES: dict[str, tuple[float, float]] = {
    "in the top left": (0.26, 0.26),
    "at the top": (0.5, 0.26),
    "in the top right": (0.74, 0.26),
    "on the left": (0.26, 0.5),
    "in the center": (0.5, 0.5),
    "on the right": (0.74, 0.5),
    "in the bottom left": (0.26, 0.74),
    "at the bottom": (0.5, 0.74),
    "in the bottom right": (0.74, 0.74),
}
RELATIONS = ("above", "below", "left of", "right of")
RELATION_WORDS = {
    "above": ("above", "above", "over"),
    "below": ("below", "below", "under"),
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
}
SIZES: dict[str, float] = {"small": 0.62, "": 1.0, "big": 1.42}
SIZE_WORDS = {"small": ("small", "tiny"), "big": ("big", "large")}
MOTION_WORDS = {
    "right": ("moving left to right", "moving right", "moving to the right"),
    "left": ("moving right to left", "moving left", "moving to the left"),
    "up": ("moving up", "moving up", "rising"),
    "down": ("moving down", "moving down", "falling"),
    "growing": ("growing", "growing", "getting bigger"),
    "shrinking": ("shrinking", "shrinking", "getting smaller"),
}
LEADS = ("a picture of ", "an image of ", "a photo of ", "a drawing of ")
# Words without a meaning in this world: the model learns to ignore them.
STRAY_TEXT = (
    "house tree cat dog car sun moon sky sea night day city street girl boy man woman bird fish flower "
    "mountain river beautiful happy old new shiny soft bright dark with and of in the by near from style "
    "art digital painting high quality detailed cute little funny cinematic light water fire snow rain "
    "forest road table apple cake robot ship "
)
STRAY_WORDS = STRAY_TEXT.split()


@dataclass(frozen=True)
class Sample:
    """A caption with a scene that fits it, and the facts of the scene that the caption states."""

    caption: str
    scene: Scene
    kind: str
    place: str = ""
    relation: str = ""
    size: str = ""
    background_said: bool = True


def is_held_out(caption: str) -> bool:
    """Whether a caption belongs to the tests."""
    return zlib.crc32(caption.encode()) % HELD_OUT_PART == 0


def contrasts(colour: str, other: str) -> bool:
    """Whether two colours are easily told apart next to each other."""
    return colour != other and frozenset((colour, other)) not in CLOSE_PAIRS


class Captioner:
    """Draws samples from a seeded generator; `held_out` picks the part of the captions that is drawn from."""

    def __init__(self, seed: int, *, held_out: bool = False, stray: bool = True) -> None:
        self.random = random.Random(seed)
        self.held_out = held_out
        self.stray = stray and not held_out

    def image(self) -> Sample:
        """One captioned still picture."""
        kinds = (self._one, self._place, self._count, self._relation, self._pair)
        return self._draw(lambda: self.random.choices(kinds, weights=(20, 24, 26, 25, 5))[0]())

    def clip(self) -> Sample:
        """One captioned clip."""
        return self._draw(self._moving)

    def _draw(self, make: Callable[[], Sample]) -> Sample:
        while True:
            sample = make()
            if is_held_out(sample.caption) == self.held_out:
                return self._strayed(sample) if self.stray else sample

    def _colours(self, count: int) -> tuple[str, list[str]]:
        background = self.random.choice(COLOUR_NAMES)
        fitting = [name for name in COLOUR_NAMES if contrasts(name, background)]
        while True:
            colours = self.random.sample(fitting, count)
            if count == 1 or contrasts(*colours):
                return background, colours

    def _near(self, value: float, spread: float) -> float:
        return value + self.random.uniform(-spread, spread)

    def _thing(self, shape: str, colour: str, x: float, y: float, radius: float, spread: float = 0.04) -> Thing:
        radius = self._near(radius, radius * 0.08)
        edge = radius * 1.14 + 0.015
        x, y = (min(max(self._near(value, spread), edge), 1 - edge) for value in (x, y))
        return Thing(shape, colour, x, y, radius)

    def _size(self) -> tuple[str, str]:
        size = self.random.choices(("", "small", "big"), weights=(60, 20, 20))[0]
        return size, (self.random.choice(SIZE_WORDS[size]) + " " if size else "")

    def _ending(self, background: str) -> tuple[str, bool]:
        form = self.random.random()
        if form < 0.15:
            return "", False
        article = self._article(background)
        return (f" on {article} {background} background" if form < 0.9 else f" on {background}"), True

    def _lead(self) -> str:
        return self.random.choice(LEADS) if self.random.random() < 0.08 else ""

    def _one(self) -> Sample:
        background, (colour,) = self._colours(1)
        shape = self.random.choice(SHAPES)
        size, word = self._size()
        ending, said = self._ending(background)
        thing = self._thing(shape, colour, 0.5, 0.5, 0.23 * SIZES[size], 0.07)
        caption = f"{self._lead()}{self._article(word or colour)} {word}{colour} {shape}{ending}"
        return Sample(caption, Scene(background, (thing,)), "one", size=size, background_said=said)

    def _place(self) -> Sample:
        background, (colour,) = self._colours(1)
        shape, place = self.random.choice(SHAPES), self.random.choice(tuple(PLACES))
        size, word = self._size() if self.random.random() < 0.5 else ("", "")
        ending, said = self._ending(background)
        thing = self._thing(shape, colour, *PLACES[place], 0.19 * SIZES[size], 0.035)
        words = place
        if place == "in the center":
            words = self.random.choice((place, "in the middle"))
        elif " " in place.removeprefix("in the ") and self.random.random() < 0.2:
            words = place + " corner" if place.startswith("in the") else place
        caption = f"{self._lead()}{self._article(word or colour)} {word}{colour} {shape} {words}{ending}"
        return Sample(caption, Scene(background, (thing,)), "place", place=place, size=size, background_said=said)

    def _count(self) -> Sample:
        background, (colour,) = self._colours(1)
        shape, count = self.random.choice(SHAPES), self.random.choice((2, 3, 4))
        size, word = self._size() if self.random.random() < 0.5 else ("", "")
        ending, said = self._ending(background)
        low, high = 0.26, 0.74
        spots = {
            2: self.random.choice((((low, 0.5), (high, 0.5)), ((low, 0.5), (high, 0.5)), ((low, low), (high, high)))),
            3: self.random.choice((((0.5, low), (low, high), (high, high)), ((low, low), (high, low), (0.5, high)))),
            4: ((low, low), (high, low), (low, high), (high, high)),
        }[count]
        radius = {2: 0.165, 3: 0.155, 4: 0.15}[count] * {"small": 0.72, "": 1.0, "big": 1.15}[size]
        things = tuple(self._thing(shape, colour, x, y, radius, 0.025) for x, y in spots)
        caption = f"{self._lead()}{NUMBERS[count]} {word}{colour} {shape}s{ending}"
        return Sample(caption, Scene(background, things), "count", size=size, background_said=said)

    def _relation(self) -> Sample:
        background, colours = self._colours(2)
        shapes = [self.random.choice(SHAPES), self.random.choice(SHAPES)]
        relation = self.random.choice(RELATIONS)
        ending, said = self._ending(background)
        far = {"above": (0, -1), "below": (0, 1), "left of": (-1, 0), "right of": (1, 0)}[relation]
        things = tuple(
            self._thing(shape, colour, 0.5 + 0.235 * way * far[0], 0.5 + 0.235 * way * far[1], 0.17, 0.03)
            for shape, colour, way in zip(shapes, colours, (1, -1), strict=True)
        )
        first, second = (f"{self._article(c)} {c} {s}" for c, s in zip(colours, shapes, strict=True))
        caption = f"{self._lead()}{first} {self.random.choice(RELATION_WORDS[relation])} {second}{ending}"
        return Sample(caption, Scene(background, things), "relation", relation=relation, background_said=said)

    def _pair(self) -> Sample:
        background, colours = self._colours(2)
        shapes = [self.random.choice(SHAPES), self.random.choice(SHAPES)]
        ending, said = self._ending(background)
        things = tuple(
            self._thing(shape, colour, x, 0.5, 0.17, 0.03)
            for shape, colour, x in zip(shapes, colours, (0.265, 0.735), strict=True)
        )
        first, second = (f"{self._article(c)} {c} {s}" for c, s in zip(colours, shapes, strict=True))
        caption = f"{self._lead()}{first} and {second}{ending}"
        return Sample(caption, Scene(background, things), "pair", background_said=said)

    def _moving(self) -> Sample:
        background, (colour,) = self._colours(1)
        shape, motion = self.random.choice(SHAPES), self.random.choice(MOTIONS)
        ending, said = self._ending(background)
        # Some clips start in the middle, like many pictures that are to be animated.
        offset = 0.16 if self.random.random() < 0.15 else 0.0
        dx, dy = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}.get(motion, (0, 0))
        x, y = self._near(0.5 + dx * offset, 0.05), self._near(0.5 + dy * offset, 0.05)
        thing = Thing(shape, colour, x, y, self._near(0.23, 0.015))
        words = self.random.choice(MOTION_WORDS[motion])
        told = "" if self.random.random() < 0.04 and not self.held_out else " " + words
        caption = f"{self._lead()}{self._article(colour)} {colour} {shape}{told}{ending}"
        return Sample(caption, Scene(background, (thing,), motion), "motion", background_said=said)

    @staticmethod
    def _article(word: str) -> str:
        return "an" if word.strip() == "orange" else "a"

    def _strayed(self, sample: Sample) -> Sample:
        """Sometimes changes the case, drops the article, mixes in a stray word, or replaces the caption
        by stray words.
        """
        caption, chance = sample.caption, self.random.random()
        if chance < 0.03:
            words = [self._stray() for _ in range(self.random.randint(1, 6))]
            return Sample(" ".join(words), sample.scene, "stray", background_said=False)
        words = caption.split()
        if chance < 0.07:
            words.insert(self.random.randrange(len(words) + 1), self._stray())
        elif chance < 0.12 and words[0] in ("a", "an"):
            words = words[1:]
        elif chance < 0.2:
            words[0] = words[0].capitalize()
        return Sample(" ".join(words), **{k: v for k, v in vars(sample).items() if k != "caption"})

    def _stray(self) -> str:
        if self.random.random() < 0.7:
            return self.random.choice(STRAY_WORDS)
        return "".join(self.random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(self.random.randint(2, 8)))
