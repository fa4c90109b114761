"""Listing the files of a source, and telling all that is wrong with it at once."""

from collections.abc import Sequence
from pathlib import Path

from ucc.data.dataset import IMAGE_SUFFIXES
from ucc.errors import UserError, some

MASK_SUFFIXES = (".png",)


class Problems:
    """Collects what is wrong, so that a user mends everything in one go."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        """One more thing to mend."""
        self.found.append(problem)

    def images(self, folder: str) -> dict[str, Path]:
        """Images of a folder below the root by stem; hidden files do not count."""
        return self._files(folder, IMAGE_SUFFIXES)

    def masks(self, folder: str) -> dict[str, Path]:
        """Masks of a folder below the root by stem; hidden files do not count."""
        return self._files(folder, MASK_SUFFIXES)

    def raise_if_any(self, remedy: str) -> None:
        """Raise one `UserError` that lists everything, ending in `remedy`."""
        if self.found:
            lines = "".join(f"\n- {problem}" for problem in self.found)
            raise UserError(f"{self.root}: not usable as it is:{lines}\n{remedy}")

    def _files(self, folder: str, suffixes: Sequence[str]) -> dict[str, Path]:
        path = self.root / folder
        if not path.is_dir():
            self.add(f"{folder}/: missing folder")
            return {}
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        foreign = [e.name for e in entries if e.suffix.lower() not in suffixes or not e.is_file()]
        if foreign:
            self.add(f"{folder}/: only {', '.join(suffixes)} files belong here, not {some(foreign)}")
        files: dict[str, Path] = {}
        for entry in entries:
            if entry.name in foreign:
                continue
            if entry.stem in files:
                self.add(f"{folder}/: {files[entry.stem].name} and {entry.name} share the name {entry.stem}")
            files.setdefault(entry.stem, entry)
        if not files:
            self.add(f"{folder}/: holds no {', '.join(suffixes)} file")
        return files
