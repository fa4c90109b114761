"""Whether a run was made with the images, masks and lists of ids that the project holds now."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from ucc.config import Params
from ucc.errors import UserError
from ucc.experiments.finished import Finished, dataset_hash, made_with
from ucc.experiments.identity import placeless
from ucc.paths import PARTITION


@dataclass(frozen=True)
class PresentData:
    """What the stages `download` and `partition` have made of `params`: DVC's hash of it, and that of the partition.

    Empty where they have not run, or not since `params` were changed.
    """

    params: Params
    data: str
    manifest: str

    @classmethod
    def read(cls, params: Params, project: Path) -> "PresentData":
        """What dvc.lock and data/partition.json tell; `params` are those of the project's params.yaml.

        Raises:
            UserError: naming the file of the two that cannot be read, as after a merge that was not finished.
        """
        lock, partition = project / "dvc.lock", project / PARTITION
        if not lock.is_file():
            return cls(params, "", "")
        given = (project / "params.yaml").read_text(encoding="utf-8")
        with _as_dvc_left(lock):
            locked = lock.read_text(encoding="utf-8")
            downloaded = made_with(locked, given, "download")
            partitioned = downloaded and made_with(locked, given, "partition") and partition.is_file()
            data = dataset_hash(locked) if downloaded else ""
        with _as_dvc_left(partition):
            manifest = json.loads(partition.read_text(encoding="utf-8"))["hash"] if partitioned else ""
        return cls(params, data, manifest)

    def differ(self, params: Params, done: Finished) -> bool:
        """Whether the run `done` of `params` was made with other files, or other lists of ids, of the same names.

        Images and masks of public data sets do not change; which of them a list names may.
        """
        if not self._alike(params, "dataset."):
            return False
        if params.dataset.name == "folder" and done.data and self.data and done.data != self.data:
            return True
        return bool(self.manifest) and self._alike(params, "partition.") and done.manifest != self.manifest

    def _alike(self, params: Params, section: str) -> bool:
        own, other = (
            {key: value for key, value in placeless(asdict(of)).items() if key.startswith(section)}
            for of in (self.params, params)
        )
        return own == other


@contextmanager
def _as_dvc_left(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path}: a merge that was not finished, or a damaged file. Take one side whole (git checkout --ours "
            f"{path}) or restore the file by git, then run dvc repro."
        ) from error
