"""What comes into a batch: order, identity sampling, random erasing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctsl_lib.data.augmentation import Erasing
from ctsl_lib.data.sampler import order
from ctsl_lib.data.specs import Digits
from ctsl_lib.randomness import generator
from ctsl_lib.training.batches import Batches
from ctsl_lib.training.recipe import Recipe

PLAIN, GROUPED = (12, 0), (12, 3)  # batch size, images of a class


def test_plain_order_is_a_permutation() -> None:
    labels = torch.arange(50) % 7
    found = order(labels, *PLAIN, seed=1, epoch=2)
    assert torch.equal(found, torch.randperm(50, generator=generator(1, "order", 2)))


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=4, max_size=9), seed=st.integers(0, 99), epoch=st.integers(0, 9)
)
def test_identity_sampling(counts: list[int], seed: int, epoch: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)) * 10, torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    if len(labels) < GROUPED[0]:
        return
    found = order(labels, *GROUPED, seed, epoch)
    assert len(found) == len(labels) // 12 * 12  # as many batches as without
    shown = torch.bincount(labels[found], minlength=len(counts) * 10)[::10]
    for batch in found.split(12):
        groups = labels[batch].view(4, 3)
        assert (groups == groups[:, :1]).all() and len(groups[:, 0].unique()) == 4
    assert shown.max() - shown.min() <= 3  # all classes by turns
    for label, count in enumerate(counts):
        images = torch.bincount(found[labels[found] == 10 * label], minlength=len(labels))
        own = images[labels == 10 * label]
        assert own.max() - own.min() <= 1 and own.sum() == shown[label]  # a person's images by turns
        if count >= 3 and shown[label] == 3:
            assert own.max() == 1


def test_identity_sampling_depends_on_seed_and_epoch_alone() -> None:
    labels = torch.arange(60) % 6
    first = order(labels, *GROUPED, 0, 0)
    assert torch.equal(first, order(labels, *GROUPED, 0, 0))
    assert not torch.equal(first, order(labels, *GROUPED, 0, 1))
    assert not torch.equal(first, order(labels, *GROUPED, 1, 0))
    with pytest.raises(ValueError, match="batch_size / images_per_class must be at most the 3 classes, got 4"):
        order(torch.arange(60) % 3, *GROUPED, 0, 0)


def test_erasing_against_a_loop() -> None:
    n, height, width = 200, 32, 16
    images = torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(0)) + 10
    drawn = Erasing.draw(n, 0.5, height / width, seed=0, epoch=0)
    batch = torch.tensor([5, 5, 17, 0, 199])
    for picture, i in zip(drawn(images[batch], batch), batch.tolist(), strict=True):
        top, bottom, left, right = drawn.boxes[i].tolist()
        for row in range(height):
            for column in range(width):
                inside = (
                    top * height <= row + 0.5 < bottom * height and left * width <= column + 0.5 < right * width
                )
                assert torch.equal(picture[:, row, column], images[i, :, row, column] * (not inside))


def test_erasing_hits_as_often_and_as_much_as_stated() -> None:
    n = 4000
    top, bottom, left, right = Erasing.draw(n, 0.3, aspect=2.0, seed=0, epoch=0).boxes.T
    erased = bottom > top
    assert erased.double().mean().item() == pytest.approx(0.3, abs=0.03)
    height, width = (bottom - top)[erased], (right - left)[erased]
    assert ((height * width).max() <= 0.4 + 1e-6) and height.max() <= 1 and width.max() <= 1
    assert 0.1 < (height * width).mean() < 0.3 and (top >= 0).all() and (right <= 1 + 1e-6).all()
    aspect = 2 * height / width
    free = (height < 1) & (width < 1)
    assert aspect[free].min() >= 0.3 - 1e-4 and aspect[free].max() <= 1 / 0.3 + 1e-4
    images = torch.ones(4, 3, 8, 4)
    never = Erasing.draw(4, 0.0, 2.0, 0, 0)
    assert torch.equal(never(images, torch.arange(4)), images)
    assert not torch.equal(Erasing.draw(n, 0.3, 2.0, 0, 1).boxes.T[0], top)


def test_every_epoch_is_augmented_anew() -> None:
    data, recipe = Digits().load(0), Recipe(erasing=0.5)
    first, second = (Batches(data, recipe, 0, epoch) for epoch in (0, 1))
    assert not torch.equal(first.augmentation.shifts, second.augmentation.shifts)
    assert not torch.equal(first.erasing.boxes, second.erasing.boxes)
