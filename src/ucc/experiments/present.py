"""Whether a run was made with the images, masks and lists of ids that the project holds now."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ucc.config import Params
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
        """What dvc.lock and data/partition.json tell; `params` are those of the project's params.yaml."""
        lock, partition = project / "dvc.lock", project / PARTITION
        if not lock.is_file():
            return cls(params, "", "")
        locked, given = lock.read_text(encoding="utf-8"), (project / "params.yaml").read_text(encoding="utf-8")
        downloaded = made_with(locked, given, "download")
        partitioned = downloaded and made_with(locked, given, "partition") and partition.is_file()
        return cls(
            params,
            dataset_hash(locked) if downloaded else "",
            json.loads(partition.read_text(encoding="utf-8"))["hash"] if partitioned else "",
        )

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
