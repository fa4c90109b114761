"""A user's own lists of labelled and unlabelled images."""

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath

from ucc.config import PartitionParams
from ucc.data.dataset import NEST
from ucc.data.manifest import Sample
from ucc.data.text_list import read_list
from ucc.errors import UserError


def given_ids(train: Mapping[str, Sample], params: PartitionParams) -> tuple[list[str] | None, list[str] | None]:
    """The ids in `partition.labeled_ids` and `unlabeled_ids`, None for a list that is not given.

    A line is an id, with or without the leading `train/`; empty lines and those that begin with # do not count.

    Raises:
        UserError: naming all lines that do not fit the training images `train`.
    """
    labeled = _read_ids(params.labeled_ids, "partition.labeled_ids")
    unlabeled = _read_ids(params.unlabeled_ids, "partition.unlabeled_ids")
    offenders: dict[str, list[str]] = {}
    for source, ids in ((params.labeled_ids, labeled), (params.unlabeled_ids, unlabeled)):
        offenders[f"{source}: no such training image"] = [
            f"{id_}{_hint(id_, train)}" for id_ in dict.fromkeys(ids or ()) if id_ not in train
        ]
        offenders[f"{source}: listed more than once"] = [id_ for id_, times in Counter(ids).items() if times > 1]
    offenders[f"{params.labeled_ids}: without a mask in masks/train"] = [
        id_ for id_ in dict.fromkeys(labeled or ()) if id_ in train and not train[id_].mask
    ]
    offenders["in both lists"] = sorted(set(labeled or ()) & set(unlabeled or ()))
    problems = [f"  {problem}: {', '.join(ids)}" for problem, ids in offenders.items() if ids]
    if problems:
        raise UserError("\n".join(["the lists of ids do not fit the data set; correct these lines:", *problems]))
    return labeled, unlabeled


def _hint(id_: str, train: Mapping[str, Sample]) -> str:
    """What an id may mean that is a path: images of nested folders have flat names, without suffix or ending."""
    path = PurePosixPath(id_.removeprefix("train/"))
    flat = [f"train/{text.replace('/', NEST)}" for text in (str(path), str(path.parent / path.stem))]
    bare = flat[-1]
    begun = [bare[:at] for at in range(len(bare) - 1, 0, -1) if bare[at] in "_.-"]
    near = next((text for text in (*flat, *begun) if text in train), None)
    return f" (did you mean {near.removeprefix('train/')}?)" if near else ""


def _read_ids(path: str | None, key: str) -> list[str] | None:
    if path is None:
        return None
    return [name if "/" in name else f"train/{name}" for name in read_list(path, key)]
