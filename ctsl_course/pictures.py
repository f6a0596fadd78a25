"""Pictures that explain: what images, answers, distances and embeddings look like."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from ctsl_lib.data.types import RetrievalSplit, Sightings, Split
from ctsl_lib.evidence.labels import label
from ctsl_lib.losses.objective import Objective
from ctsl_lib.losses.reference import relative_distances
from ctsl_lib.metrics.retrieval import RankedQuery
from ctsl_lib.plots.style import COLOURS, look, style


def images(split: Split, class_names: Sequence[str], count: int = 12) -> Figure:
    """The first images of a split with their labels; a cross marks a label that noise has made wrong.

    Args:
        split: N images, N >= count.
        class_names: what label 0, 1, ... means.
        count: how many to show.

    Returns: a figure of one row.
    """
    with style():
        figure, panels = plt.subplots(1, count, figsize=(0.85 * count, 1.35), squeeze=False)
        for axes, image, given, true in zip(
            panels[0], split.images[:count], split.labels[:count], split.true_labels[:count], strict=True
        ):
            _show_image(axes, image)
            wrong = int(given) != int(true)
            axes.set_title(
                ("✗ " if wrong else "") + class_names[int(given)], color=COLOURS[1] if wrong else "black"
            )
        return figure


def _show_image(axes: Axes, image: Tensor) -> None:
    array = image.permute(1, 2, 0).cpu().numpy()
    axes.imshow(array if array.shape[2] == 3 else array[:, :, 0], cmap="gray_r")
    axes.set_axis_off()


def persons(split: Sightings, count: int = 6) -> Figure:
    """The first persons (rows) as each camera saw them first (columns).

    Args:
        split: images with identity and camera; identities below 1 (distractors, junk) are left out.
        count: how many persons.

    Returns: a figure with a panel for each person and camera; empty where that camera did not see that person.
    """
    people = split.identity[split.identity > 0].unique()[:count].tolist()
    cameras = split.camera.unique().tolist()
    height, width = split.images.shape[2:]
    with style():
        figure, panels = plt.subplots(
            len(people),
            len(cameras),
            squeeze=False,
            figsize=(0.9 * len(cameras), 0.9 * len(people) * height / width),
        )
        for row, person in enumerate(people):
            for column, camera in enumerate(cameras):
                axes = panels[row, column]
                axes.set_axis_off()
                there = ((split.identity == person) & (split.camera == camera)).nonzero().flatten()
                if len(there):
                    _show_image(axes, split.images[there[0]])
                if row == 0:
                    axes.set_title(f"camera {camera}", fontsize=8)
            panels[row, 0].text(
                -0.15, 0.5, str(person), transform=panels[row, 0].transAxes, ha="right", va="center"
            )
        return figure


def ranked_galleries(split: RetrievalSplit, ranked: Sequence[RankedQuery], rows: Sequence[int]) -> Figure:
    """Queries (left) and the images ranked first for them; right and wrong by symbol, colour and frame.

    Args:
        split: the query and gallery images that were ranked.
        ranked: for each query its nearest valid gallery images, best first; see `retrieval.ranked_gallery`.
        rows: the queries to show, by index.

    Returns: a figure with a row for each of these queries.
    """
    columns = 1 + max(len(ranked[row].gallery) for row in rows)
    height, width = split.query.images.shape[2:]
    with style():
        figure, panels = plt.subplots(
            len(rows), columns, squeeze=False, figsize=(0.95 * columns, len(rows) * (0.95 * height / width + 0.3))
        )
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            axes.spines[:].set_visible(False)
        for line, row in zip(panels, rows, strict=True):
            query = split.query
            _show_image(line[0], query.images[row])
            line[0].set_title(f"{int(query.identity[row])}, camera {int(query.camera[row])}", fontsize=8)
            hits = ranked[row]
            for axes, index, right in zip(line[1:], hits.gallery.tolist(), hits.right.tolist(), strict=False):
                axes.imshow(split.gallery.images[index].permute(1, 2, 0).cpu().numpy())
                identity, camera = int(split.gallery.identity[index]), int(split.gallery.camera[index])
                axes.set_title(f"{'✓' if right else '✗'} {identity}, c{camera}", fontsize=8)
                axes.spines[:].set(
                    visible=True, linewidth=3, color=COLOURS[0 if right else 1], linestyle="-" if right else ":"
                )
        for axes, words in zip(panels[0], ("query", "best first →"), strict=False):
            axes.set_title(f"{words}\n{axes.get_title()}", fontsize=8)
        return figure


def soft_targets(
    image: Tensor, logits: Tensor, class_names: Sequence[str], temperatures: Sequence[float]
) -> Figure:
    """One image and a network's answer to it at several temperatures, as bars.

    Args:
        image: (channels, height, width).
        logits: (classes,) the network's answer.
        class_names: what class 0, 1, ... means.
        temperatures: t > 0, one for each panel.

    Returns: a figure of one row: the image, then softmax(logits / t) for each t.
    """
    with style():
        figure, panels = plt.subplots(1, 1 + len(temperatures), figsize=(2.6 * (1 + len(temperatures)), 2.4))
        _show_image(panels[0], image)
        for position, (axes, t) in enumerate(zip(panels[1:], temperatures, strict=True)):
            shares = (logits.double() / t).softmax(dim=0).cpu().numpy()
            axes.bar(range(len(shares)), shares, color=COLOURS[position % len(COLOURS)])
            axes.set(title=f"temperature {t:g}", ylim=(0, 1), xlabel="class")
            axes.set_xticks(range(len(shares)), class_names, fontsize=8)
        panels[1].set_ylabel("probability")
        return figure


def reliability(answers: dict[str, Tensor], labels: Tensor, bins: int = 10) -> Figure:
    """Accuracy against confidence; the diagonal is perfect calibration.

    Args:
        answers: name of a network -> its logits, (N, classes).
        labels: (N,) true classes.
        bins: of equal width in confidence; one with fewer than 5 images is not drawn.

    Returns: a figure with a line for each network.
    """
    with style():
        figure, axes = plt.subplots(figsize=(4.6, 4.2))
        axes.plot([0, 100], [0, 100], color="#7F7F7F", linewidth=1, label="perfect")
        for position, (name, logits) in enumerate(answers.items()):
            confidence, answer = logits.double().softmax(dim=1).max(dim=1)
            index = (confidence * bins).ceil().long().clamp(1, bins) - 1
            hit = (answer == labels).double()
            filled = [b for b in range(bins) if (index == b).sum() >= 5]
            x = [100 * confidence[index == b].mean().item() for b in filled]
            y = [100 * hit[index == b].mean().item() for b in filled]
            axes.plot(x, y, label=label(name), markersize=6, **look(position))  # type: ignore[arg-type]
        axes.set(xlabel="confidence (%)", ylabel="accuracy (%)", xlim=(0, 100), ylim=(0, 100))
        axes.legend(loc="best")
        return figure


def relation_matrices(embeddings: Sequence[Tensor], labels: Tensor, names: Sequence[str]) -> Figure:
    """Relative distances within a batch as two peers see them, and their difference; images sorted by class.

    Args:
        embeddings: of two peers, (B, D) each; the widths D may differ.
        labels: (B,) classes.
        names: of the two peers.

    Returns: a figure of three panels.
    Raises: ValueError unless there are two peers.
    """
    if len(embeddings) != 2:
        raise ValueError(f"embeddings must be those of 2 peers, got {len(embeddings)}")
    order = labels.argsort(stable=True).cpu()
    matrices = [relative_distances(one.detach())[order][:, order].cpu().numpy() for one in embeddings]
    top = max(matrix.max() for matrix in matrices)
    with style():
        figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.5))
        for axes, matrix, name in zip(panels, matrices, names, strict=False):
            shown = axes.imshow(matrix, cmap="viridis", vmin=0, vmax=top, interpolation="nearest")
            axes.set_title(name)
        figure.colorbar(shown, ax=list(panels[:2]), label="distance / mean distance", shrink=0.85)
        difference = matrices[0] - matrices[1]
        bound = max(float(np.abs(difference).max()), 1e-6)
        shown = panels[2].imshow(difference, cmap="PuOr", vmin=-bound, vmax=bound, interpolation="nearest")
        figure.colorbar(shown, ax=panels[2], label="difference", shrink=0.85)
        panels[2].set_title(f"{names[0]} − {names[1]}")
        classes = labels[order].cpu()
        middles = {str(int(c)): (classes == c).nonzero().double().mean().item() for c in classes.unique()}
        for axes in panels:
            axes.grid(False)
            axes.set_xticks(list(middles.values()), list(middles), fontsize=8)
            axes.set_yticks(list(middles.values()), list(middles), fontsize=8)
            axes.set(xlabel="images, by class", ylabel="images, by class")
        return figure


def method_diagram(objective: Objective, peers: Sequence[str] = ("peer 1", "peer 2")) -> Figure:
    """Who teaches whom what: labels, the two peers, their frozen copies; terms of weight 0 are not drawn.

    Args:
        objective: a method as a row of weights.
        peers: names of the two peers.

    Returns: a figure with one panel.
    Raises: ValueError unless there are two peers.
    """
    if len(peers) != 2:
        raise ValueError(f"peers must be 2 names, got {len(peers)}")
    relation = objective.distance > 0 or objective.angle > 0
    with style():
        bottom = 0 if objective.self > 0 else 1.8  # without frozen copies the lower third would be empty
        figure, axes = plt.subplots(figsize=(9, 0.75 * (5.2 - bottom)))
        axes.set(xlim=(0, 12), ylim=(bottom, 5.2))
        axes.set_axis_off()
        places = {0: (2.2, 2.6), 1: (9.8, 2.6)}
        for k, (x, y) in places.items():
            _box(axes, x, y, peers[k], COLOURS[k])
            if objective.self > 0:
                _box(axes, x, 0.5, f"frozen copy of {peers[k]}", "#7F7F7F")
                _arrow(axes, (x, 0.95), (x, y - 0.45), "self knowledge", "-.", offset=(0.15, 0), align="left")
        if objective.ce > 0:
            _box(axes, 6, 4.7, "labels", "#000000")
            _arrow(axes, (5.0, 4.25), (2.2, 3.05), "cross entropy", "-", offset=(-1.3, 0.35))
            _arrow(axes, (7.0, 4.25), (9.8, 3.05), "cross entropy", "-", offset=(1.3, 0.35))
        if objective.response > 0:
            _arrow(axes, (3.7, 2.85), (8.3, 2.85), "response knowledge (KL)", "--", both=True, offset=(0, 0.22))
        if relation:
            _arrow(axes, (3.7, 2.3), (8.3, 2.3), "relation knowledge (distances, angles)", ":", both=True,
                   offset=(0, -0.28))  # fmt: skip
        return figure


def _box(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    box = FancyBboxPatch((x - 1.4, y - 0.35), 2.8, 0.7, boxstyle="round,pad=0.08", edgecolor=colour,
                         facecolor="white", linewidth=2)  # fmt: skip
    axes.add_patch(box)
    axes.text(x, y, text, ha="center", va="center")


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str, line: str, *,
    both: bool = False, offset: tuple[float, float] = (0, 0), align: str = "center",
) -> None:  # fmt: skip
    arrow = FancyArrowPatch(start, end, arrowstyle="<|-|>" if both else "-|>", mutation_scale=14, linewidth=1.6,
                            linestyle=line, color="#333333", shrinkA=0, shrinkB=0)  # fmt: skip
    axes.add_patch(arrow)
    x, y = (start[0] + end[0]) / 2 + offset[0], (start[1] + end[1]) / 2 + offset[1]
    axes.text(x, y, text, ha=align, va="center", fontsize=9)
