"""Random changes of training images, drawn once an epoch for each image and made on whole batches."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_lib.data.types import OnDevice
from ctsl_lib.randomness import generator


@dataclass(frozen=True)
class Augmentation(OnDevice):
    """A random shift, and perhaps a mirror image, for every image of a data set: one epoch's worth.

    Each image has its own draw, which depends on the seed and the epoch alone, not on batches or their order.
    """

    shifts: Tensor
    """(N, 2) pixels down and right, each between 0 and 2 * padding; `padding` means not moved."""
    mirrored: Tensor
    """(N,) bool."""
    padding: int
    mirror: bool

    @classmethod
    def draw(cls, n: int, padding: int, mirror: bool, seed: int, epoch: int) -> "Augmentation":
        """Draws for the images of one epoch.

        Args:
            n: images of the data set.
            padding: the farthest shift, in pixels. mirror: whether half of the images are mirrored.
            seed: of the run. epoch: from 0; each has its own draws.
        """
        source = generator(seed, "augmentation", epoch)
        shifts = torch.randint(2 * padding + 1, (n, 2), generator=source)
        mirrored = torch.rand(n, generator=source) < 0.5 if mirror else torch.zeros(n, dtype=torch.bool)
        return cls(shifts, mirrored, padding, mirror)

    def __call__(self, images: Tensor, indices: Tensor) -> Tensor:
        """Crop each image at its own place out of a border of zeros, and mirror those drawn for it.

        Args:
            images: (N, channels, H, W), the whole data set.
            indices: (B,) which of them make the batch.
        """
        batch = images.index_select(0, indices)
        if self.padding == 0 and not self.mirror:
            return batch
        (height, width), shifts = batch.shape[2:], self.shifts[indices]
        batch = F.pad(batch, (self.padding,) * 4)
        rows = torch.arange(height, device=batch.device) + shifts[:, :1]
        columns = torch.arange(width, device=batch.device) + shifts[:, 1:]
        if self.mirror:
            columns = torch.where(self.mirrored[indices, None], columns.flip(1), columns)
        # One gather crops and mirrors the whole batch: pixel (row, column) of the padded image, for all channels.
        places = rows[:, :, None] * batch.shape[3] + columns[:, None, :]
        places = places.flatten(1)[:, None].expand(-1, batch.shape[1], -1)
        return batch.flatten(2).gather(2, places).view(-1, batch.shape[1], height, width)


@dataclass(frozen=True)
class Erasing(OnDevice):
    """Random erasing: with some probability one rectangle of an image becomes its data set's mean.

    Source: Zhong et al. 2020, arXiv 1708.04896. A rectangle has 2 to 40 % of the image's area and an aspect ratio
    between 0.3 and 1 / 0.3; a side that would be longer than the image's is cut to it.
    """

    boxes: Tensor
    """(N, 4) top, bottom, left, right as shares of the image's sides; top = bottom where nothing is erased."""

    @classmethod
    def draw(cls, n: int, probability: float, aspect: float, seed: int, epoch: int) -> "Erasing":
        """Draws for the images of one epoch.

        Args:
            n: images of the data set.
            probability: that something of an image is erased. aspect: of the images, height / width.
            seed: of the run. epoch: from 0; each has its own draws.
        """
        source = generator(seed, "erasing", epoch)
        chosen, area, shape, down, right = torch.rand(5, n, generator=source)
        area = 0.02 + 0.38 * area
        shape = 0.3 ** (2 * shape - 1)  # height / width, evenly on a logarithmic scale
        height = (area * shape / aspect).sqrt().clamp(max=1) * (chosen < probability)
        width = (area / shape * aspect).sqrt().clamp(max=1)
        top, left = down * (1 - height), right * (1 - width)
        return cls(torch.stack([top, top + height, left, left + width], dim=1))

    def __call__(self, images: Tensor, indices: Tensor) -> Tensor:
        """Erase a box of each image.

        Args:
            images: (B, channels, H, W), normalised: zero is the mean.
            indices: (B,) which images of the data set they are.
        """
        height, width = images.shape[2:]
        top, bottom, left, right = self.boxes[indices].T[:, :, None]
        rows = (torch.arange(height, device=images.device) + 0.5) / height
        columns = (torch.arange(width, device=images.device) + 0.5) / width
        inside = ((top <= rows) & (rows < bottom))[:, :, None] & ((left <= columns) & (columns < right))[:, None]
        return images.masked_fill(inside[:, None], 0)
