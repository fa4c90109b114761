"""Start weights of the encoder: torchvision's download, a file, or none."""

from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from ucc.errors import UserError
from ucc.files import sha256

# Layers behind the features: their presence or absence in a file is of no account.
CLASSIFIERS = ("fc.", "classifier.")


def load_weights(network: nn.Module, backbone: str, weights: str) -> None:
    """Load `weights` (`imagenet`, a path, or `none`) into a classification network of torchvision.

    Half-precision files are converted to float32.

    Raises:
        UserError: if the download or the file cannot be had, or does not fit the network.
    """
    if weights == "none":
        return
    state = _download(backbone) if weights == "imagenet" else _read(Path(weights).expanduser())
    given = {key: value for key, value in state.items() if not key.startswith(CLASSIFIERS)}
    wanted = {key: value for key, value in network.state_dict().items() if not key.startswith(CLASSIFIERS)}
    wrong = [key for key in wanted if key in given and given[key].shape != wanted[key].shape]
    # Files written before torch 0.4.1 lack the batch counters, which nothing here reads.
    wrong += [key for key in wanted if key not in given and not key.endswith("num_batches_tracked")]
    wrong += [key for key in given if key not in wanted]
    if wrong:
        raise UserError(
            f"model.weights = {weights}: does not fit model.backbone = {backbone}: {len(wrong)} of {len(wanted)} "
            f"entries differ, first {wrong[0]}. It must have the key names of torchvision's {backbone}."
        )
    network.load_state_dict({key: value.float() for key, value in given.items()}, strict=False)


def weights_identity(weights: str) -> str:
    """What determines the result about `model.weights`: a file counts by its content, not by its place."""
    if weights in ("none", "imagenet"):
        return weights
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UserError(_missing(path))
    return sha256(path)


def _download(backbone: str) -> dict[str, Tensor]:
    entry = get_model_weights(backbone)["IMAGENET1K_V1"]
    try:
        state: dict[str, Tensor] = entry.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise UserError(
            f"model.weights = imagenet: {entry.url} cannot be downloaded or read ({error}). Fetch the file on another "
            f"machine and put it into {torch.hub.get_dir()}/checkpoints/, or set model.weights to its path."
        ) from error
    return state


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(_missing(path))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch.load reports a damaged file through half a dozen exception types.
        raise UserError(f"model.weights = {path}: not a file of PyTorch weights ({type(error).__name__}).") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"model.weights = {path}: must hold a state dict (names to tensors).")
    return state


def _missing(path: Path) -> str:
    return f"model.weights = {path}: no such file. Give imagenet, none, or the path of a .pth file."
