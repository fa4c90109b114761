import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from ucc.errors import UserError
from ucc.inference import choose_device, predict, sliding_window, uncertainty
from ucc.models.modes import evaluation_mode


class WindowDependent(nn.Module):
    """Two heads whose scores depend on where in its window a pixel lies, so that windows disagree."""

    def forward(self, images: Tensor) -> list[Tensor]:
        x = images.float() / 255
        rows = torch.arange(x.shape[2]).view(1, 1, -1, 1) / x.shape[2]
        columns = torch.arange(x.shape[3]).view(1, 1, 1, -1) / x.shape[3]
        return [3 * x + rows - columns, 2 * x.flip(1) - rows * columns * 5]


class PerPixel(nn.Module):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [images.float() / 50]


def random_images(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.from_numpy(
        np.random.default_rng(height * 1000 + width).integers(0, 256, (batch, 3, height, width), np.uint8)
    )


def slow_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def slow_starts(length: int, window: int, stride: int) -> list[int]:
    """From 0 in strides while the window ends inside; where pixels are left over, one more that ends with the image."""
    starts = [start for start in range(0, length, stride) if start + window <= length]
    if starts[-1] + window < length:
        starts.append(length - window)
    return starts


def slow_sliding_window(
    segmenter: nn.Module, images: Tensor, window: tuple[int, int], stride: tuple[int, int]
) -> list[NDArray[np.float64]]:
    """For every pixel by itself: the mean over the windows that contain it."""
    _, _, height, width = images.shape
    below, right = max(0, window[0] - height), max(0, window[1] - width)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
    corners = [
        (top, left)
        for top in slow_starts(padded.shape[2], window[0], stride[0])
        for left in slow_starts(padded.shape[3], window[1], stride[1])
    ]
    by_window = {}
    for top, left in corners:
        piece = torch.from_numpy(padded[..., top : top + window[0], left : left + window[1]].copy())
        by_window[top, left] = [slow_softmax(logits.double().numpy()) for logits in segmenter(piece)]
    results = []
    for head in range(2):
        result = np.zeros((images.shape[0], 3, height, width))
        for y in range(height):
            for x in range(width):
                votes = [
                    by_window[top, left][head][:, :, y - top, x - left]
                    for top, left in corners
                    if top <= y < top + window[0] and left <= x < left + window[1]
                ]
                result[:, :, y, x] = np.mean(votes, axis=0)
        results.append(result)
    return results


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(3, 17),
    width=st.integers(3, 17),
    window=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    stride=st.tuples(st.integers(2, 4), st.integers(2, 4)),
)
def test_sliding_window_equals_the_mean_over_windows_of_each_pixel(
    height: int, width: int, window: tuple[int, int], stride: tuple[int, int]
) -> None:
    images = random_images(height, width, batch=2)
    found = sliding_window(WindowDependent(), images, window, stride)
    expected = slow_sliding_window(WindowDependent(), images, window, stride)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        np.testing.assert_allclose(one.numpy(), other, atol=2e-6)


def test_the_last_window_is_shifted_inwards_so_that_every_window_is_full() -> None:
    seen: list[tuple[int, ...]] = []

    class Recorder(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            seen.append((*images.shape[-2:], int(images[0, 0, 0, 0]), int(images[0, 1, 0, 0])))
            return [images.float()]

    rows, columns = torch.meshgrid(torch.arange(10), torch.arange(7), indexing="ij")
    images = torch.stack([rows, columns, rows]).unsqueeze(0)
    sliding_window(Recorder(), images, (6, 6), (4, 4))
    assert seen == [(6, 6, 0, 0), (6, 6, 0, 1), (6, 6, 4, 0), (6, 6, 4, 1)]


def test_an_image_smaller_than_the_window_keeps_its_size_and_the_predictions_of_its_own_pixels() -> None:
    images = random_images(5, 9)
    (found,) = sliding_window(PerPixel(), images, (16, 16), (8, 8))
    (whole,) = predict(PerPixel(), images)
    assert found.shape == whole.shape
    torch.testing.assert_close(found, whole)


def test_predict_gives_for_each_head_the_softmax_of_its_logits() -> None:
    images = random_images(6, 4, batch=2)
    found = predict(WindowDependent(), images)
    for probabilities, logits in zip(found, WindowDependent()(images), strict=True):
        assert probabilities.dtype == torch.float32
        np.testing.assert_allclose(probabilities.numpy(), slow_softmax(logits.double().numpy()), atol=1e-6)


def test_uncertainty_is_one_minus_the_largest_probability() -> None:
    probabilities = torch.tensor([[0.25, 1.0], [0.75, 0.0]]).view(1, 2, 1, 2)
    assert uncertainty(probabilities).tolist() == [[[0.25, 0.0]]]


def test_evaluation_mode_gives_every_module_back_its_own_mode() -> None:
    segmenter = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3))
    segmenter.train()
    segmenter[1].eval()
    with evaluation_mode(segmenter):
        assert not any(module.training for module in segmenter.modules())
    assert [module.training for module in segmenter.modules()] == [True, True, False]


def test_cuda_without_a_device_says_what_to_choose_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match=r"train\.accelerator = cuda.*use auto or cpu"):
        choose_device("cuda")


def test_auto_takes_the_gpu_and_cpu_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")


def test_what_an_image_lacks_of_a_window_continues_its_border_pixels() -> None:
    seen: list[Tensor] = []

    class Recorder(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            seen.append(images)
            return [images.float()]

    images = random_images(5, 9)
    sliding_window(Recorder(), images, (8, 16), (8, 8))
    (window,) = seen
    np.testing.assert_array_equal(window, np.pad(images, ((0, 0), (0, 0), (0, 3), (0, 7)), mode="edge"))
