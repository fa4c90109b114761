"""Patterns of paths, in which `{image}` and `{class}` stand for what a file's path says."""

import os
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple, Self

from ucc.data.sources.tree import from_home
from ucc.errors import UserError

IMAGE, CLASS, STAR = "{image}", "{class}", "*"
MOST_STARS = 3
_EXPRESSIONS = {IMAGE: ".+", CLASS: "[^/]+", STAR: "[^/]*"}
_TOKENS = re.compile(r"(\{image\}|\{class\}|\*)")


class Split(NamedTuple):
    """What a path says: the image, without its suffix, and the class."""

    image: str
    label: str


@dataclass(frozen=True)
class Pattern:
    """`masks/{class}/{image}.png`, or `cat=cats/{image}_*.png` of one class.

    `{image}` stands for any text, folders included, `{class}` for text within one name, and so does a star, be it
    empty.

    Attributes:
        label: the class that is given, or empty.
        root: the folder that all paths lie in.
        below: the rest of the pattern, whose first name has something that stands for other text.
    """

    label: str
    root: Path
    below: str

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether it is meant as a pattern, rather than as a path."""
        return not set("{*=").isdisjoint(text) and not os.path.lexists(text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Raises:
            UserError: if it does not tell image and class from each path.
        """
        before, equals, path = text.partition("=")
        label, written = (before.strip(), path) if equals and not set("/{*") & {*before} else ("", text)
        if written.count(IMAGE) != 1 or written.count(CLASS) > 1 or written.count(STAR) > MOST_STARS:
            raise UserError(
                f"{text}: no pattern of binary masks, such as masks/{{class}}/{{image}}.png: {IMAGE} must stand in it "
                f"once, {CLASS} at most once, stars at most {MOST_STARS} times."
            )
        if bool(label) == (CLASS in written):
            raise UserError(f"{text}: name the class, either before it (cat={written}) or in it by {CLASS}.")
        if re.search(rf"({_TOKENS.pattern}){{2}}", written):
            raise UserError(f"{text}: put text between {IMAGE}, {CLASS} and stars, which tells where one ends.")
        parts = from_home(written).parts
        fixed = next(number for number, part in enumerate(parts) if _TOKENS.search(part))
        return cls(label, Path(*parts[:fixed]), "/".join(parts[fixed:]))

    def splits(self, path: Path) -> frozenset[Split]:
        """All that a file's path may say; nothing if it does not fit."""
        if not path.is_relative_to(self.root):
            return frozenset()
        text, tokens = unicodedata.normalize("NFC", path.relative_to(self.root).as_posix()), self._tokens

        @cache
        def rest(number: int, start: int) -> frozenset[Split]:
            if number == len(tokens):
                return frozenset([Split("", self.label)]) if start == len(text) else frozenset()
            token = tokens[number]
            if token not in _EXPRESSIONS:
                return rest(number + 1, start + len(token)) if text.startswith(token, start) else frozenset()
            found: set[Split] = set()
            for end in range(start if token == STAR else start + 1, len(text) + 1):
                piece = text[start:end]
                if token != IMAGE and "/" in piece:
                    break
                value = {IMAGE: {"image": piece}, CLASS: {"label": piece}}.get(token, {})
                found |= {split._replace(**value) for split in rest(number + 1, end)}
            return frozenset(found)

        return rest(0, 0) if self._expression.fullmatch(text) else frozenset()

    @cached_property
    def _tokens(self) -> list[str]:
        return list(filter(None, _TOKENS.split(unicodedata.normalize("NFC", self.below))))

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile("".join(_EXPRESSIONS.get(token, re.escape(token)) for token in self._tokens), re.DOTALL)

    def __str__(self) -> str:
        path = (self.root / self.below).as_posix()
        return f"{self.label}={path}" if self.label else path
