"""What the processes of a training do together: sums, batches, BatchNorm, errors. With one process nothing happens.

The loss of every process is its part of the loss over the global batch: a sum over its own pixels divided by what
`denominator` gives, so that the mean over processes, which DDP takes of the gradients, is the loss over all pixels.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.distributed_c10d import _get_default_store

from ucc.errors import UserError
from ucc.signals import StoppedError

Result = TypeVar("Result")


def world() -> int:
    """The number of processes that train together."""
    return torch.distributed.get_world_size() if _initialized() else 1


def rank() -> int:
    """Which of them this is; 0 writes and prints."""
    return torch.distributed.get_rank() if _initialized() else 0


def denominator(count: Tensor) -> Tensor:
    """What to divide a sum of this process by, so that the mean over processes is the mean over all `count` things.

    `count` is a scalar. Where there is nothing at all the result is that of 1, so that the mean is 0.
    """
    if world() == 1:
        return count.clamp(min=1)
    total = count.clone()
    torch.distributed.all_reduce(total)
    return total.clamp(min=1) / world()


def share(part: Tensor, whole: Tensor) -> Tensor:
    """The share of the True elements of `whole` that are True in `part` too; its mean over processes is exact."""
    return (part & whole).sum() / denominator(whole.sum())


def gather(tensor: Tensor) -> Tensor:
    """The tensors of all processes, equal in shape, one after the other along the first dimension; no gradient."""
    if world() == 1:
        return tensor
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world())]
    torch.distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def from_first(tensor: Tensor) -> Tensor:
    """The values that the first process has, in place: for draws that are one for the whole global batch."""
    if world() > 1:
        torch.distributed.broadcast(tensor, src=0)
    return tensor


def mean_record(record: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean over processes of each of the scalars."""
    if world() == 1:
        return dict(record)
    values = torch.stack([value.float() for value in record.values()])
    torch.distributed.all_reduce(values)
    return dict(zip(record, values / world(), strict=True))


def union(names: Mapping[str, Any]) -> list[str]:
    """The names that any process has, in the same order everywhere."""
    if world() == 1:
        return list(names)
    gathered: list[list[str]] = [[] for _ in range(world())]
    torch.distributed.all_gather_object(gathered, list(names))
    return list(dict.fromkeys(name for part in gathered for name in part))


def on_first(work: Callable[[], Result]) -> Result:
    """Do `work` on the first process alone; all get its result.

    Raises:
        UserError: on all processes, if the first one met it.
    """
    if world() == 1:
        return work()
    outcome: list[Any] = [None]
    if rank() == 0:
        try:
            outcome = [work()]
        except UserError as error:
            outcome = [error]
    torch.distributed.broadcast_object_list(outcome, src=0)
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    result: Result = outcome[0]
    return result


@contextmanager
def one_voice() -> Iterator[None]:
    """Report what ends a training once, however many processes meet it.

    A process that loses another one, as torch notices in the next exchange, ends with a short message in place of a
    traceback, since the reason is the other one's to tell.

    Raises:
        UserError: in the process that speaks. The others exit with status 1.
    """
    try:
        yield
    except UserError as error:
        if not _first_to_say(str(error)):
            raise SystemExit(1) from None
        raise
    except StoppedError as error:
        if not _first_to_say(str(error)):
            raise SystemExit(error.status) from None
        raise
    except RuntimeError as error:
        if world() == 1 or not _lost_a_process(error):
            raise
        if not _first_to_say("lost"):
            raise SystemExit(1) from None
        raise UserError(
            "Another process of this training has ended, and with it the training; what that one said tells why. "
            "The next start goes on from the last checkpoint."
        ) from None


class SyncedBatchNorm(nn.BatchNorm2d):
    """BatchNorm by the statistics of the images of all processes, which have equally many; for the CPU.

    torch's own refuses the CPU. The names in the state are those of BatchNorm2d.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape and dtype; half precision is computed in float32."""
        if not self.training or world() == 1:
            return super().forward(inputs)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        # As torch's own does: half precision is too coarse for sums over images, and running statistics are float32.
        values = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        own_variance, own_mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        means, variances = gathered(torch.stack([own_mean, own_variance])).unbind(1)
        mean = means.mean(dim=0)
        variance = (variances + (means - mean).square()).mean(dim=0)
        with torch.no_grad():
            number = world() * inputs.numel() // inputs.shape[1]
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(variance.detach() * number / max(1, number - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        normalized = (values - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normalized.to(inputs.dtype)


class _Gathered(torch.autograd.Function):
    """The tensors of all processes; the gradient into one's own is the sum of those of all losses, as DDP wants it."""

    @staticmethod
    def forward(_context: Any, value: Tensor) -> Tensor:
        return gather(value.unsqueeze(0))

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total[rank()]


def gathered(value: Tensor) -> Tensor:
    """The tensors of all processes, stacked, with gradient into each of them."""
    stacked: Tensor = _Gathered.apply(value)
    return stacked


def synchronize_batchnorm(module: nn.Module, device: torch.device) -> None:
    """Let every BatchNorm2d below `module` see the images of all processes: torch's SyncBatchNorm, but on the CPU."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, _synced(child, device))


def _synced(norm: nn.BatchNorm2d, device: torch.device) -> nn.Module:
    if device.type != "cpu":
        # torch leaves this function without types.
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return converted
    synced = SyncedBatchNorm(norm.num_features, norm.eps, norm.momentum)
    synced.load_state_dict(norm.state_dict())
    for own, given in zip(synced.parameters(), norm.parameters(), strict=True):
        own.requires_grad_(given.requires_grad)
    return synced.train(norm.training)


def _initialized() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _first_to_say(what: str) -> bool:
    if world() == 1:
        return True
    try:
        return bool(_get_default_store().add(f"ucc said {what}", 1) == 1)
    except RuntimeError:
        return False  # the store went down with the first process, which has said what there was to say


def _lost_a_process(error: RuntimeError) -> bool:
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
