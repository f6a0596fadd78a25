"""How to train: optimiser, schedule, batches, augmentation, precision."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from ctsl_lib.models.precision import Precision


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """How to train: optimiser, schedule, epochs, batches, augmentation."""

    epochs: int = Field(default=12, ge=1)
    batch_size: int = Field(default=32, ge=3)
    """Images in each step; the last, incomplete batch of an epoch is left out."""
    images_per_class: int = Field(default=0, ge=0)
    """0: batches are drawn from all images. Otherwise each batch has this many images of every class that occurs in
    it (identity sampling), so that images of one class meet. The number of batches in an epoch is the same."""
    optimizer: Literal["sgd", "amsgrad"] = "sgd"
    """amsgrad: Adam with AMSGrad and `momentum` as its first beta; usual for person re-identification."""
    learning_rate: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    schedule: Literal["one_cycle", "cosine", "steps"] = "one_cycle"
    """The learning rate over time. one_cycle: it rises for the first 30 % of the training, then falls along a cosine.
    cosine: it falls along a cosine from the start. steps: it is multiplied by `drop` at each point of `drop_at`."""
    drop_at: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.3, 0.6, 0.8)
    """For `steps`: when the rate drops, as shares of the training. Of 200 epochs these are 60, 120 and 160."""
    drop: float = Field(default=0.2, gt=0, lt=1)
    padding: int = Field(default=1, ge=0)
    """Each image is shifted at random by up to this many pixels; 0 for no shift."""
    mirror: bool = False
    """Whether each image is flipped left to right at random."""
    erasing: float = Field(default=0.0, ge=0, le=1)
    """Probability that a rectangle of an image is erased."""
    precision: Precision = "fp32"
    """bf16: layers before the embedding compute in bfloat16; weights, logits and losses stay float32."""
    compile: bool = False
    """Compile the inner loop of the relation losses, and on a GPU the networks, with torch.compile. This takes
    seconds to minutes at the start and changes the last digits of results."""
    evaluate_every: int = Field(default=1, ge=1)
    """The accuracy is measured after every so many epochs, and after the last one."""

    @model_validator(mode="after")
    def _whole_groups(self) -> "Recipe":
        if self.images_per_class and self.batch_size % self.images_per_class:
            raise ValueError(
                "batch_size must be a multiple of images_per_class, "
                f"got {self.batch_size} and {self.images_per_class}"
            )
        return self

    @property
    def augments(self) -> bool:
        """Whether images change from epoch to epoch."""
        return self.padding > 0 or self.mirror or self.erasing > 0

    def evaluates(self, epoch: int) -> bool:
        """Whether the accuracy is measured after this epoch, counted from 1."""
        return epoch % self.evaluate_every == 0 or epoch == self.epochs


def learning_rate_factor(recipe: Recipe, done: float) -> float:
    """The learning rate at one moment of the training, as a share of `recipe.learning_rate`.

    Args:
        recipe: names the schedule.
        done: how much of the training is done, from 0 to 1.
    """
    if recipe.schedule == "steps":
        return recipe.drop ** sum(done >= share for share in recipe.drop_at)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    rise = 0.3
    if done < rise:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / rise))
    return 0.5 * (1 + math.cos(math.pi * min((done - rise) / (1 - rise), 1)))
