"""How to train: optimiser, schedule, batches, augmentation, precision."""

import math
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from ctsl_lib.models.precision import Precision


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """How to train: optimiser, schedule, epochs, batches, augmentation."""

    epochs: int = Field(default=12, ge=1)
    batch_size: int = Field(default=32, ge=3)
    """Images a step; the last, incomplete batch of an epoch is left out."""
    images_per_class: int = Field(default=0, ge=0)
    """0: batches are drawn from all images. Else each holds this many of every class in it (identity sampling),
    so that images of one class meet; an epoch has as many batches as otherwise."""
    optimizer: Literal["sgd", "amsgrad"] = "sgd"
    """amsgrad: Adam with AMSGrad, `momentum` its first beta; usual for person re-identification."""
    learning_rate: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    schedule: Literal["one_cycle", "cosine", "steps"] = "one_cycle"
    """one_cycle: up over the first 30 %, then down a cosine. cosine: down. steps: times `drop` at `drop_at`."""
    drop_at: tuple[float, ...] = (0.3, 0.6, 0.8)
    """For `steps`: where to lower the rate, as shares of the training (0.3, 0.6, 0.8 of 200: 60, 120, 160)."""
    drop: float = Field(default=0.2, gt=0, lt=1)
    padding: int = Field(default=1, ge=0)
    """Random shift of each image by up to this many pixels; 0 for none."""
    mirror: bool = False
    """Random left-right flip of each image."""
    erasing: float = Field(default=0.0, ge=0, le=1)
    """Probability that a rectangle of an image is erased."""
    precision: Precision = "fp32"
    """bf16: layers before the embedding compute in bfloat16; weights, logits and losses stay float32."""
    compile: bool = False
    """Compile the relation losses' inner loop, and on a GPU the networks, with torch.compile: it takes seconds to
    minutes at the start, and changes last digits."""
    evaluate_every: int = Field(default=1, ge=1)
    """Epochs between two points of the accuracy curve."""

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


def learning_rate_factor(recipe: Recipe, done: float) -> float:
    """The learning rate, as a share of the recipe's, after the share `done` of the training."""
    if recipe.schedule == "steps":
        return recipe.drop ** sum(done >= share for share in recipe.drop_at)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    rise = 0.3
    if done < rise:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / rise))
    return 0.5 * (1 + math.cos(math.pi * min((done - rise) / (1 - rise), 1)))
