"""Splits, label noise and augmentation."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from ctsl_lib.data.augmentation import Augmentation
from ctsl_lib.data.specs import Digits
from ctsl_lib.data.splits import add_label_noise, stratified
from ctsl_lib.errors import DataError


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_splits_are_stratified_disjoint_and_fixed_by_the_seed() -> None:
    first, again, other = Digits().load(0), Digits().load(0), Digits().load(1)
    assert [len(first.split(name)) for name in ("train", "validation", "test")] == [400, 200, 797]
    assert torch.equal(first.train.images, again.train.images) and torch.equal(
        first.train.labels, again.train.labels
    )
    assert not torch.equal(first.train.images, other.train.images)
    assert torch.equal(
        first.test.images, other.test.images
    )  # nothing tuned on seed 1 has seen test images of seed 0
    # scikit-learn's digits are all different, so images are as good as their numbers.
    assert not rows(first.train.images) & rows(first.validation.images)
    assert not rows(first.test.images) & (rows(first.train.images) | rows(first.validation.images))
    for name in ("train", "validation", "test"):
        counts = torch.bincount(first.split(name).true_labels, minlength=10)
        assert counts.max() - counts.min() <= 0.12 * counts.sum() / 10 + 2


def test_all_images_can_be_trained_on() -> None:
    assert len(Digits(n_train=800).load(0).train) == 800


def test_noise_on_training_labels_only() -> None:
    data = Digits(label_noise=0.4).load(3)
    changed = (data.train.labels != data.train.true_labels).float().mean().item()
    assert 0.3 < changed < 0.4  # 160 of 400 drawn anew, a tenth of them by chance as before
    assert torch.equal(data.test.labels, data.test.true_labels)
    assert torch.equal(data.validation.labels, data.validation.true_labels)
    clean = Digits(label_noise=0).load(3)
    assert torch.equal(clean.train.labels, clean.train.true_labels)
    assert torch.equal(clean.train.images, data.train.images)  # noise does not change the split


def test_noise_is_an_exact_share() -> None:
    labels = torch.full((1000,), 999)
    assert (add_label_noise(labels, 0.25, num_classes=10, seed=0) != 999).sum() == 250


def test_normalised_training_images() -> None:
    data = Digits().load(0)
    values = data.normalise(data.train.images)
    assert values.mean().item() == pytest.approx(0, abs=1e-5) and values.std().item() == pytest.approx(
        1, rel=1e-5
    )


def test_label_noise_in_percent_is_caught() -> None:
    with pytest.raises(ValueError, match=r"label_noise must be in \[0, 1\), got 40. Did you mean 0.4\?"):
        add_label_noise(torch.zeros(5, dtype=torch.long), 40, num_classes=10, seed=0)
    with pytest.raises(ValidationError, match="label_noise"):
        Digits(label_noise=40)
    with pytest.raises(ValidationError, match="n_train"):
        Digits(n_train=5000)


def test_augmentation_against_a_loop() -> None:
    images = torch.randint(1, 255, (20, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    drawn = Augmentation.draw(20, padding=2, mirror=True, seed=0, epoch=0)
    assert len({tuple(shift) for shift in drawn.shifts.tolist()}) > 5 and 0 < drawn.mirrored.sum() < 20
    batch = torch.tensor([3, 3, 17, 0, 11])
    for picture, i in zip(drawn(images, batch), batch.tolist(), strict=True):
        padded = torch.nn.functional.pad(images[i], (2, 2, 2, 2))
        down, right = drawn.shifts[i].tolist()
        expected = padded[:, down : down + 6, right : right + 5]
        assert torch.equal(picture, expected.flip(2) if drawn.mirrored[i] else expected)


def test_augmentation_depends_on_seed_epoch_and_image_alone() -> None:
    images = Digits().load(0).train.images
    first = Augmentation.draw(400, 1, False, seed=0, epoch=0)
    whole = first(images, torch.arange(400))
    assert torch.equal(whole[[7, 300]], Augmentation.draw(400, 1, False, 0, 0)(images, torch.tensor([7, 300])))
    assert not torch.equal(whole, Augmentation.draw(400, 1, False, 0, 1)(images, torch.arange(400)))
    assert torch.equal(images, Augmentation.draw(400, 0, False, 0, 0)(images, torch.arange(400)))


@pytest.mark.parametrize("n_train", [791, 799])
def test_a_part_too_small_for_every_class_is_told(n_train: int) -> None:
    with pytest.raises(
        DataError, match=f"{n_train} of 800 images cannot be split off .* change n_train or n_val"
    ):
        Digits(n_train=n_train).load(0)
    assert len(Digits(n_train=790).load(0).train) == 790 and len(Digits(n_train=800).load(0).train) == 800


def test_a_class_that_cannot_be_in_both_parts_is_named() -> None:
    labels = torch.tensor([0] * 30 + [1] * 30 + [2])
    with pytest.raises(DataError, match=r"class owl has a single image here, and 10 of 61 .* n_train and n_val"):
        stratified(torch.arange(61), labels, size=10, seed=0, names=("cat", "dog", "owl"))
    few = torch.tensor([0] * 60 + [1] * 60 + [2] * 2)  # in proportion, the third class has no image among ten
    with pytest.raises(
        DataError, match="class owl has 2 of the 122 images here, too few to be in both parts when 10"
    ):
        stratified(torch.arange(122), few, size=10, seed=0, names=("cat", "dog", "owl"))


def test_normalising_leaves_the_images_alone_and_takes_only_bytes() -> None:
    data = Digits().load(0)
    images = data.test.images.float()
    before = images.clone()
    assert abs(data.normalise(images).mean()) < 0.1 and torch.equal(images, before)
    with pytest.raises(DataError, match=r"images must be uint8 .* got float32 of shape \(797, 1, 8, 8\)"):
        replace(data.test, images=images)
    with pytest.raises(
        DataError, match=r"labels must be int64 of shape \(N,\) for 797 .* got int64 of shape \(5,\)"
    ):
        replace(data.test, labels=data.test.labels[:5])
    with pytest.raises(DataError, match="true_labels must be int64"):
        replace(data.test, true_labels=data.test.labels.float())


def test_half_of_the_images_are_mirrored() -> None:
    drawn = Augmentation.draw(10_000, 1, True, seed=0, epoch=0)
    assert drawn.mirrored.double().mean().item() == pytest.approx(0.5, abs=0.02)
