"""Patterns of paths, in which `{image}` and `{class}` stand for what a file's path says."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self

from ucc.errors import UserError

IMAGE, CLASS, STAR = "{image}", "{class}", "*"
_TOKENS = re.compile(r"(\{image\}|\{class\}|\*)")


class Split(NamedTuple):
    """What a path says: the image, without its suffix, and the class; of a pattern without one an empty text."""

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
        tokens: text, and what stands for other text, of the paths below the root.
    """

    label: str
    root: Path
    tokens: tuple[str, ...]

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether it is meant as a pattern, rather than as a path."""
        return IMAGE in text or CLASS in text

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Raises:
            UserError: if it does not tell image and class from each path.
        """
        before, equals, path = text.partition("=")
        label, written = (before.strip(), path) if equals and not set("/{*") & {*before} else ("", text)
        if written.count(IMAGE) != 1 or written.count(CLASS) > 1 or STAR * 2 in written:
            raise UserError(f"{text}: {IMAGE} must stand in it once, {CLASS} at most once, and no two stars in a row.")
        if bool(label) == (CLASS in written):
            raise UserError(f"{text}: name the class, either before it (cat={written}) or in it by {CLASS}.")
        parts = Path(written).expanduser().parts
        fixed = next(number for number, part in enumerate(parts) if _TOKENS.search(part))
        below = unicodedata.normalize("NFC", "/".join(parts[fixed:]))
        return cls(label, Path(*parts[:fixed]), tuple(filter(None, _TOKENS.split(below))))

    def splits(self, path: Path) -> frozenset[Split]:
        """All that a file's path may say; nothing if it does not fit."""
        if not path.is_relative_to(self.root):
            return frozenset()
        text = unicodedata.normalize("NFC", PurePosixPath(path.relative_to(self.root)).as_posix())

        @cache
        def rest(number: int, start: int) -> frozenset[Split]:
            if number == len(self.tokens):
                return frozenset([Split("", self.label)]) if start == len(text) else frozenset()
            token = self.tokens[number]
            if token not in (IMAGE, CLASS, STAR):
                return rest(number + 1, start + len(token)) if text.startswith(token, start) else frozenset()
            found: set[Split] = set()
            for end in range(start if token == STAR else start + 1, len(text) + 1):
                piece = text[start:end]
                if token != IMAGE and "/" in piece:
                    break
                value = {IMAGE: {"image": piece}, CLASS: {"label": piece}}.get(token, {})
                found |= {split._replace(**value) for split in rest(number + 1, end)}
            return frozenset(found)

        return rest(0, 0)

    def __str__(self) -> str:
        path = (self.root / "".join(self.tokens)).as_posix()
        return f"{self.label}={path}" if self.label else path
