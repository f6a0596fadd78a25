"""`config.json` beside shared weights: what the networks are and what they were trained on."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from ctsl_lib.errors import shown
from ctsl_lib.experiments.provenance import Provenance
from ctsl_lib.experiments.spec import Spec

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
Finite = Annotated[float, Field(allow_inf_nan=False)]


class WeightsConfig(BaseModel, frozen=True, extra="forbid"):
    """Everything but the numbers of the networks."""

    format: Literal["ctsl-weights 1"] = "ctsl-weights 1"
    key: str
    """Of the spec."""
    spec: Spec
    channels: int = Field(ge=1, le=100_000)
    image_size: tuple[int, int]
    """Height and width of the test images."""
    classes: list[str] = Field(min_length=1, max_length=100_000)
    """What each logit stands for."""
    mean: list[Finite]
    """Of each channel over the training images, in units of a uint8 step; images are normalised with it."""
    std: list[Finite]
    data_digest: str
    metrics: dict[str, list[Finite]]
    """In percent: a value for each peer, or one for the group."""
    provenance: Provenance

    @model_validator(mode="after")
    def _fits_together(self) -> "WeightsConfig":
        if self.key != self.spec.key:
            raise ValueError(f"key must be that of the spec, {self.spec.key}, got {shown(self.key)}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(
                    f"{name} must have {self.channels} values, one for each channel, got {len(getattr(self, name))}"
                )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0, got {shown(self.std)}")
        return self
