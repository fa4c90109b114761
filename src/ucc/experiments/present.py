"""Whether a run was made with the images and masks that the project holds now."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ucc.config import Params
from ucc.experiments.finished import Finished, dataset_hash
from ucc.experiments.identity import placeless
from ucc.paths import PARTITION


@dataclass(frozen=True)
class PresentData:
    """What the stages `download` and `partition` have made of `params`: DVC's hash of it, and that of the partition.

    Empty where they have not run.
    """

    params: Params
    data: str
    manifest: str

    @classmethod
    def read(cls, params: Params, project: Path) -> "PresentData":
        """What dvc.lock and data/partition.json tell."""
        lock, partition = project / "dvc.lock", project / PARTITION
        return cls(
            params,
            dataset_hash(lock.read_text(encoding="utf-8")) if lock.is_file() else "",
            json.loads(partition.read_text(encoding="utf-8"))["hash"] if partition.is_file() else "",
        )

    def differ(self, params: Params, done: Finished) -> bool:
        """Whether the run `done` of `params` was made with other files of the same folder of a user's own.

        Public data sets do not change.
        """
        if params.dataset.name != "folder" or not self._alike(params, "dataset."):
            return False
        if done.data and self.data and done.data != self.data:
            return True
        return bool(self.manifest) and self._alike(params, "partition.") and done.manifest != self.manifest

    def _alike(self, params: Params, section: str) -> bool:
        own, other = (
            {key: value for key, value in placeless(asdict(of)).items() if key.startswith(section)}
            for of in (self.params, params)
        )
        return own == other
