import multiprocessing
import pickle
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from ucc.config import Params
from ucc.data import loader, samples
from ucc.data.augment import PADDING_COLOR, Pixels
from ucc.data.batch import Batch
from ucc.data.images import read_image, write_png
from ucc.data.loader import StepBatches, load_sample, training_batches
from ucc.data.manifest import Manifest, Sample
from ucc.errors import UserError

CPU = torch.device("cpu")
LoadParams = Callable[..., Params]


def batches(dataset: Path, manifest: Manifest, params: Params, rank: int = 0, world: int = 1) -> StepBatches:
    return StepBatches(dataset, manifest, params, unlabeled=True, rank=rank, world=world)


def tensors(batch: Batch) -> dict[str, Tensor]:
    assert batch.unlabeled is not None
    return {f"labeled {k}": v for k, v in vars(batch.labeled).items()} | dict(vars(batch.unlabeled))


def assert_same(first: Batch, second: Batch) -> None:
    one, other = tensors(first), tensors(second)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_the_number_of_workers_does_not_change_a_batch(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    prepared = batches(tiny_dataset, tiny_manifest, tiny_params())
    reference = list(training_batches(prepared, 0, 5, workers=0, device=CPU))
    for workers in (2, 3):
        others = list(training_batches(prepared, 0, 5, workers=workers, device=CPU))
        assert len(others) == len(reference) == 5
        for one, other in zip(reference, others, strict=True):
            assert_same(one, other)


def test_batches_are_the_same_from_a_worker_that_was_not_forked(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    prepared = batches(tiny_dataset, tiny_manifest, tiny_params())
    sent = pickle.loads(pickle.dumps(prepared))
    assert_same(prepared[3], sent[3])


def test_a_batch_is_the_same_wherever_training_starts(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    params = tiny_params()
    through = list(training_batches(batches(tiny_dataset, tiny_manifest, params), 0, 6, 0, CPU))
    resumed = list(training_batches(batches(tiny_dataset, tiny_manifest, params), 4, 6, 0, CPU))
    for one, other in zip(through[4:], resumed, strict=True):
        assert_same(one, other)


def test_batches_differ_from_step_to_step_and_from_seed_to_seed(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    prepared = batches(tiny_dataset, tiny_manifest, tiny_params())
    other_seed = batches(tiny_dataset, tiny_manifest, tiny_params("train.seed=1"))
    names = ("labeled images", "weak", "strong")
    first = tensors(prepared[0])
    assert all(not torch.equal(first[name], tensors(prepared[1])[name]) for name in names)
    assert all(not torch.equal(first[name], tensors(other_seed[0])[name]) for name in names)


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        (1, {"labeled images": 4, "weak": 4}),
        # Of the size of the crop, an image stays as it is, and only what is drawn for the strong view can change it.
        (0, {"labeled images": 1, "weak": 1, "strong": 4}),
    ],
    ids=["weak views", "strong views"],
)
def test_one_image_is_shown_differently_in_every_step(
    moved: int, expected: dict[str, int], tiny_params: LoadParams, tmp_path: Path
) -> None:
    write_png(tmp_path / "image.png", np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    write_png(tmp_path / "mask.png", np.zeros((32, 32), np.uint8))
    one_each = Manifest(Sample(subset, "image.png", "mask.png", subset) for subset in ("labeled", "unlabeled"))
    params = tiny_params("views.flip_probability=0", f"views.scale_probability={moved}")
    prepared = batches(tmp_path, one_each, params)
    steps = [tensors(prepared[step]) for step in range(4)]
    assert {name: len({step[name].numpy().tobytes() for step in steps}) for name in expected} == expected


def test_the_shares_of_all_processes_make_up_the_batch_of_one(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    params = tiny_params("train.batch_labeled=4", "train.batch_unlabeled=6")
    for step in (0, 3):
        whole = tensors(batches(tiny_dataset, tiny_manifest, params)[step])
        shares = [tensors(batches(tiny_dataset, tiny_manifest, params, rank, 2)[step]) for rank in (0, 1)]
        for name, value in whole.items():
            images = 1 if name in ("strong", "strong_valid") else 0
            assert torch.equal(value, torch.cat([share[name] for share in shares], dim=images)), name


def test_a_batch_that_cannot_be_shared_equally_is_refused(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    with pytest.raises(UserError, match=r"train\.batch_unlabeled = 3 .* multiple of their number, 2"):
        batches(tiny_dataset, tiny_manifest, tiny_params("train.batch_unlabeled=3"), world=2)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that a test reads, in order."""
    names: list[str] = []

    def note(path: Path) -> Pixels:
        names.append(path.stem)
        return read_image(path)

    for module in (loader, samples):
        monkeypatch.setattr(module, "read_image", note)
    return names


def test_every_sample_is_seen_once_per_epoch_in_a_new_order_each_time(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, seen: list[str]
) -> None:
    prepared = batches(tiny_dataset, tiny_manifest, tiny_params())
    for step in range(15):
        prepared[step]
    for subset, epochs in (("unlabeled", 6), ("labeled", 10)):
        order = [stem for stem in seen if stem.startswith(subset)]
        size = len(order) // epochs
        passes = [tuple(order[start : start + size]) for start in range(0, len(order), size)]
        assert all(set(epoch) == {f"{subset}_{index}" for index in range(size)} for epoch in passes)
        assert len(set(passes)) > 1


def test_masks_of_unlabeled_images_are_never_opened(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    unlabeled = tiny_manifest.subset("unlabeled")
    present = [sample for sample in unlabeled if (tiny_dataset / sample.mask).exists()]
    assert len(present) == 1
    with pytest.raises(UserError, match="not an image"):
        load_sample(tiny_dataset, present[0])
    prepared = batches(tiny_dataset, tiny_manifest, tiny_params())
    for step in range(3):
        assert prepared[step].unlabeled is not None


def test_shapes_and_types_are_the_documented_ones(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    found = tensors(batches(tiny_dataset, tiny_manifest, tiny_params("views.crop=[32,48]"))[0])
    assert {name: (tuple(value.shape), value.dtype) for name, value in found.items()} == {
        "labeled slots": ((2,), torch.int64),
        "labeled images": ((2, 3, 32, 48), torch.uint8),
        "labeled masks": ((2, 32, 48), torch.int64),
        "slots": ((2,), torch.int64),
        "weak": ((2, 3, 32, 48), torch.uint8),
        "weak_valid": ((2, 32, 48), torch.bool),
        "strong": ((2, 2, 3, 32, 48), torch.uint8),
        "strong_valid": ((2, 2, 32, 48), torch.bool),
    }


def test_methods_without_unlabeled_images_get_none(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    assert StepBatches(tiny_dataset, tiny_manifest, tiny_params(), unlabeled=False)[0].unlabeled is None


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_in_which_unlabeled_images_do_not_count_read_none_and_all_else_stays(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, workers: int
) -> None:
    changes = {"warm-up": "train.supervised_warmup=3", "never": "method.unsup_weight=0"}
    prepared = {name: batches(tiny_dataset, tiny_manifest, tiny_params(change)) for name, change in changes.items()}
    made = {name: list(training_batches(each, 0, 5, workers, CPU)) for name, each in prepared.items()}
    always = batches(tiny_dataset, tiny_manifest, tiny_params())
    assert [batch.unlabeled is None for batch in made["warm-up"]] == [True, True, True, False, False]
    assert [batch.unlabeled for batch in made["never"]] == [None] * 5
    for each in made.values():
        for step, batch in enumerate(each):
            assert_same(replace(always[step], labeled=batch.labeled), always[step])
    for step in (3, 4):
        assert_same(made["warm-up"][step], always[step])


def test_no_file_of_an_unlabeled_image_is_opened_in_the_warm_up(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "read_image", lambda path: pytest.fail(f"{path} was read"))
    batches(tiny_dataset, tiny_manifest, tiny_params("train.supervised_warmup=1"))[0]


def test_the_images_of_a_step_are_counted_over_all_processes(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    params = tiny_params("train.batch_labeled=4", "train.batch_unlabeled=6", "train.supervised_warmup=2")
    shares = [batches(tiny_dataset, tiny_manifest, params, rank, 2) for rank in (0, 1)]
    for step, expected in enumerate((4, 4, 10)):
        parts = [part for share in shares for part in (share[step].labeled, share[step].unlabeled) if part is not None]
        assert sum(len(part.slots) for part in parts) == expected
        assert [share.images(step) for share in shares] == [expected] * 2
    assert StepBatches(tiny_dataset, tiny_manifest, params, unlabeled=False).images(2) == 4


@pytest.mark.parametrize("mode", ["none", "strong", "weak", "weak_strong"])
@pytest.mark.parametrize("count", [0, 1])
def test_no_more_views_are_made_than_are_looked_at(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, mode: str, count: int
) -> None:
    params = tiny_params(f"method.views={mode}")
    fewer = StepBatches(tiny_dataset, tiny_manifest, params, unlabeled=True, strong_views=count)[0].unlabeled
    both = StepBatches(tiny_dataset, tiny_manifest, params, unlabeled=True)[0].unlabeled
    assert fewer is not None
    assert both is not None
    assert len(fewer.strong) == len(fewer.strong_valid) == count
    assert torch.equal(fewer.weak, both.weak)
    assert torch.equal(fewer.strong, both.strong[:count])


@pytest.mark.parametrize("photometric_first", [True, False])
def test_strong_views_have_the_geometry_of_their_weak_view(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, photometric_first: bool
) -> None:
    params = tiny_params("views.strong_operations=[0,0]", f"views.photometric_first={photometric_first}")
    prepared = batches(tiny_dataset, tiny_manifest, params)
    for step in range(8):
        unlabeled = prepared[step].unlabeled
        assert unlabeled is not None
        assert not unlabeled.weak_valid.all() or step < 7
        for view in range(2):
            assert torch.equal(unlabeled.strong[view], unlabeled.weak)
            assert torch.equal(unlabeled.strong_valid[view], unlabeled.weak_valid)


def test_padding_is_valid_in_no_view(tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams) -> None:
    # Images of 40 x 48 in a crop of 96 x 96: at most 1/4 of the crop at scale 1.
    params = tiny_params("views.crop=[96,96]", "views.scale_probability=0", "views.strong_operations=[1,1]")
    for photometric_first in (True, False):
        views = replace(params.views, photometric_first=photometric_first)
        unlabeled = batches(tiny_dataset, tiny_manifest, replace(params, views=views))[0].unlabeled
        assert unlabeled is not None
        assert unlabeled.weak_valid.sum(dim=(1, 2)).tolist() == [40 * 48, 40 * 48]
        assert not (unlabeled.strong_valid & ~unlabeled.weak_valid).any()
        padding = unlabeled.weak.permute(0, 2, 3, 1)[~unlabeled.weak_valid]
        assert (padding == torch.tensor(PADDING_COLOR)).all()


def test_padding_of_labeled_images_is_ignored(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    labeled = batches(tiny_dataset, tiny_manifest, tiny_params("views.crop=[96,96]", "views.scale_probability=0"))[0]
    # The two unlabelled rows on top of each mask are ignored too.
    assert (labeled.labeled.masks != 255).sum(dim=(1, 2)).tolist() == [38 * 48, 38 * 48]


@pytest.mark.parametrize("photometric_first", [True, False])
def test_dropped_out_pixels_are_invalid_in_their_strong_view_only(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, photometric_first: bool
) -> None:
    params = tiny_params("views.strong_operations=[1,1]", f"views.photometric_first={photometric_first}")
    prepared = batches(tiny_dataset, tiny_manifest, params)
    prepared.strong_view.pool = [prepared.strong_view.pool[3]] * 9
    unlabeled = prepared[0].unlabeled
    assert unlabeled is not None
    for strong, valid in zip(unlabeled.strong, unlabeled.strong_valid, strict=True):
        dropped = unlabeled.weak_valid & ~valid
        assert dropped.any()
        changed = (strong != unlabeled.weak).any(dim=1)
        # Scaling after the dropout blends its border into the pixels beside it.
        border = torch.nn.functional.max_pool2d(dropped.float(), 5, 1, 2).bool() if photometric_first else dropped
        assert not (changed & ~border).any()


def test_each_head_gets_a_strong_view_of_its_own_if_asked_for(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    prepared = batches(tiny_dataset, tiny_manifest, tiny_params())
    pairs = [tensors(prepared[step])["strong"] for step in range(4)]
    assert all(pair.shape[0] == 2 for pair in pairs)
    assert all(not torch.equal(pair[0], pair[1]) for pair in pairs)
    shared = batches(tiny_dataset, tiny_manifest, tiny_params("views.strong_per_head=false"))
    assert tensors(shared[0])["strong"].shape[0] == 1


def test_photometric_first_shows_the_whole_image_to_the_operations(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    def sizes(photometric_first: bool) -> set[tuple[int, ...]]:
        prepared = batches(tiny_dataset, tiny_manifest, tiny_params(f"views.photometric_first={photometric_first}"))
        seen = set()

        # It stands in for an operation, and those are given a seed.
        def note(image: Pixels, valid: Pixels, seed: int) -> tuple[Pixels, Pixels]:  # noqa: ARG001
            seen.add(image.shape[:2])
            return image, valid

        prepared.strong_view.pool = [note] * 9
        prepared[0]
        return seen

    assert sizes(True) == {(40, 48)}
    assert sizes(False) == {(32, 32)}


def test_table_4_chooses_the_views_that_teach_and_learn(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    def views(mode: str) -> list[dict[str, Tensor]]:
        prepared = batches(tiny_dataset, tiny_manifest, tiny_params(f"method.views={mode}"))
        return [tensors(prepared[step]) for step in range(5)]

    modes = {mode: views(mode) for mode in ("none", "weak", "strong", "weak_strong")}
    for mode in ("none", "weak", "strong"):
        for batch in modes[mode]:
            assert batch["strong"].shape[0] == 1
            assert torch.equal(batch["strong"][0], batch["weak"])
            assert torch.equal(batch["strong_valid"][0], batch["weak_valid"])
    for weak, strong, both in zip(modes["weak"], modes["strong"], modes["weak_strong"], strict=True):
        assert torch.equal(both["weak"], weak["weak"])
        assert torch.equal(both["strong"][0], strong["weak"])
        assert not torch.equal(both["strong"][0], both["weak"])


def test_views_none_shows_a_plain_crop(tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams) -> None:
    prepared = batches(tiny_dataset, tiny_manifest, tiny_params("method.views=none"))
    originals = [read_image(tiny_dataset / sample.image) for sample in tiny_manifest.subset("unlabeled")]
    windows = {
        image[top : top + 32, left : left + 32].tobytes()
        for image in originals
        for top in range(40 - 32 + 1)
        for left in range(48 - 32 + 1)
    }
    for step in range(5):
        for image in tensors(prepared[step])["weak"].permute(0, 2, 3, 1):
            assert image.numpy().tobytes() in windows


def test_a_manifest_without_the_images_that_a_method_needs_is_refused(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    without = {
        subset: Manifest(sample for sample in tiny_manifest.samples if sample.subset != subset)
        for subset in ("labeled", "unlabeled")
    }
    with pytest.raises(UserError, match=r"no labelled image.*partition\.ratio"):
        batches(tiny_dataset, without["labeled"], tiny_params())
    with pytest.raises(UserError, match=r"set method\.name: supervised"):
        batches(tiny_dataset, without["unlabeled"], tiny_params())


def test_an_image_and_a_mask_of_different_sizes_are_refused_by_name(tmp_path: Path) -> None:
    write_png(tmp_path / "image.png", np.zeros((4, 6, 3), np.uint8))
    write_png(tmp_path / "mask.png", np.zeros((4, 5), np.uint8))
    with pytest.raises(UserError, match="val/x: the image is 4x6 but its mask 4x5"):
        load_sample(tmp_path, Sample("val/x", "image.png", "mask.png", "val"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_in_one_line(tmp_path: Path, tiny_params: LoadParams, workers: int) -> None:
    damaged = Manifest([Sample("train/x", "x.png", "m.png", "labeled")])
    (tmp_path / "x.png").write_bytes(b"no image")
    prepared = StepBatches(tmp_path, damaged, tiny_params(), unlabeled=False)
    with pytest.raises(UserError, match=r"x\.png: not an image") as caught:
        next(iter(training_batches(prepared, 0, 3, workers, CPU)))
    assert "\n" not in str(caught.value)
    # As long as there are any, Python waits for them at its end; they do not end by a signal.
    assert multiprocessing.active_children() == []


def test_workers_end_when_batches_are_no_longer_wanted(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    prepared = training_batches(batches(tiny_dataset, tiny_manifest, tiny_params()), 0, 500, 2, CPU)
    next(prepared)
    assert len(multiprocessing.active_children()) == 2
    prepared.close()
    assert multiprocessing.active_children() == []


def test_a_batch_moves_to_a_device_with_its_slots_left_behind(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    moved = tensors(batches(tiny_dataset, tiny_manifest, tiny_params())[0].to(torch.device("meta")))
    assert Counter(value.device.type for value in moved.values()) == {"cpu": 2, "meta": 6}
    assert moved["labeled slots"].device.type == moved["slots"].device.type == "cpu"


def test_workers_use_one_thread_each_and_leave_signals_to_the_trainer() -> None:
    threads = cv2.getNumThreads()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        loader._start_worker(0)
        assert cv2.getNumThreads() == 1
        assert all(signal.getsignal(number) is signal.SIG_IGN for number in handlers)
    finally:
        cv2.setNumThreads(threads)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def only_one_image(folder: Path) -> Manifest:
    """One labelled and one unlabelled sample of the size of the crop, of the same files."""
    write_png(folder / "image.png", np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    write_png(folder / "mask.png", np.zeros((32, 32), np.uint8))
    return Manifest(Sample(subset, "image.png", "mask.png", subset) for subset in ("labeled", "unlabeled"))


def test_an_image_that_is_in_a_batch_twice_is_shown_differently(tiny_params: LoadParams, tmp_path: Path) -> None:
    one_each = only_one_image(tmp_path)
    moving = batches(tmp_path, one_each, tiny_params("views.scale_probability=1"))
    still = batches(tmp_path, one_each, tiny_params("views.flip_probability=0", "views.scale_probability=0"))
    for step in range(4):
        found = tensors(moving[step])
        assert not torch.equal(*found["labeled images"])
        assert not torch.equal(*found["weak"])
    views = [tensors(still[step])["strong"] for step in range(4)]
    assert sum(not torch.equal(view[0], view[1]) for pair in views for view in pair) >= 6


def test_the_seed_decides_the_order_the_crops_and_the_strong_views_each(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, tmp_path: Path
) -> None:
    one_each = only_one_image(tmp_path)
    still = ("views.flip_probability=0", "views.scale_probability=0")
    orders, crops, strong = [], [], []
    for seed in ("train.seed=0", "train.seed=1"):
        prepared = batches(tiny_dataset, tiny_manifest, tiny_params(seed))
        orders.append([prepared.names(step) for step in range(8)])
        crops.append(tensors(batches(tmp_path, one_each, tiny_params(seed, "views.scale_probability=1"))[0]))
        strong.append(tensors(batches(tmp_path, one_each, tiny_params(seed, *still))[0])["strong"])
    for kind in ("labeled", "unlabeled"):
        assert [names[kind] for names in orders[0]] != [names[kind] for names in orders[1]]
    assert all(not torch.equal(crops[0][name], crops[1][name]) for name in ("labeled images", "weak"))
    assert not torch.equal(*strong)


def test_epochs_are_complete_where_the_two_batches_differ_in_size(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams, seen: list[str]
) -> None:
    prepared = batches(tiny_dataset, tiny_manifest, tiny_params("train.batch_labeled=2", "train.batch_unlabeled=4"))
    for step in range(15):
        prepared[step]
    assert Counter(seen) == {f"labeled_{i}": 10 for i in range(3)} | {f"unlabeled_{i}": 12 for i in range(5)}


def test_a_process_gets_its_share_of_each_part_of_the_batch(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    params = tiny_params("train.batch_labeled=8", "train.batch_unlabeled=8", "train.accumulation=2")
    slots = [batches(tiny_dataset, tiny_manifest, params, rank, 2).labeled_slots for rank in (0, 1)]
    assert slots == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_the_strength_of_strong_views_is_that_of_the_parameters(
    tiny_dataset: Path, tiny_manifest: Manifest, tiny_params: LoadParams
) -> None:
    for strength, same in ((0, True), (1, False)):
        prepared = batches(tiny_dataset, tiny_manifest, tiny_params(f"views.strong_strength={strength}"))
        unlabeled = [prepared[step].unlabeled for step in range(4)]
        assert all(torch.equal(each.strong[0], each.weak) for each in unlabeled if each is not None) is same
