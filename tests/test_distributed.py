"""BatchNorm over the images of all processes."""

import pytest
import torch
from torch import nn

from ucc.distributed import SyncedBatchNorm, synchronize_batchnorm


def test_synchronised_batchnorm_keeps_the_names_of_the_state() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4)))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    synchronize_batchnorm(module, torch.device("cpu"))
    assert isinstance(module[1][0], SyncedBatchNorm)
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    synchronize_batchnorm(module, torch.device("cuda"))
    assert isinstance(module[1][0], nn.SyncBatchNorm)
    assert module.state_dict().keys() == before.keys()


def test_synchronised_batchnorm_of_half_precision_is_that_of_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if two processes had the same images: the statistics are those of the batch twice over."""
    monkeypatch.setattr("ucc.distributed.world", lambda: 2)
    monkeypatch.setattr("ucc.distributed.gathered", lambda value: torch.stack([value, value]))
    # A mean far from 0, of which bfloat16 keeps three digits at most.
    images = (300 + torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))).bfloat16()
    synced, plain = SyncedBatchNorm(3), nn.BatchNorm2d(3)
    with torch.autocast("cpu", torch.bfloat16):
        found = synced(images)
    expected = plain(torch.cat([images, images]).float())[:4]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=1e-3)  # the rounding of the result alone
    torch.testing.assert_close(synced.running_mean, plain.running_mean)
    torch.testing.assert_close(synced.running_var, plain.running_var)
