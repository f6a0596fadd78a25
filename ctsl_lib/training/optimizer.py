"""The optimiser that a recipe names."""

import torch

from ctsl_lib.training.recipe import Recipe


def make_optimizer(parameters: list[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser that the recipe names.

    Args:
        parameters: what it changes.
        recipe: optimiser, learning rate, momentum and weight decay.
    """
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "amsgrad":
        betas = (recipe.momentum, 0.999)
        return torch.optim.Adam(parameters, lr=rate, betas=betas, weight_decay=decay, amsgrad=True)
    return torch.optim.SGD(parameters, lr=rate, momentum=recipe.momentum, weight_decay=decay)
