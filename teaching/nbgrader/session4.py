"""Session 4: what a relation sees."""

from itertools import combinations
from random import Random

from tasks import Assignment, Case, Drawn, Open, Task, numbers


def draw_centre(random: Random) -> Drawn:
    """From where this year's directions are seen."""
    words, code = random.choice(
        [
            ("the mean of the batch", "f.mean(dim=0)"),
            ("the mean of the first two images of the batch", "f[:2].mean(dim=0)"),
            (
                "halfway between the smallest and the largest value of each coordinate",
                "(f.amin(0) + f.amax(0)) / 2",
            ),
            ("the mean of all images but the first", "f[1:].mean(dim=0)"),
            ("the mean of all images but the last", "f[:-1].mean(dim=0)"),
            ("twice the mean of the batch", "2 * f.mean(dim=0)"),
        ]
    )
    return {"words": words, "code": code}


def embeddings(random: Random, drawn: Drawn) -> list[Case]:
    """Embeddings of one batch each."""
    return [(numbers(random, random.randint(4, 6), random.randint(2, 4)),) for _ in range(3)]


def draw_relation(random: Random) -> Drawn:
    """This year's distance, its unit, and where Huber's parabola ends."""
    distance, distance_code = random.choice(
        [
            ("the sum of the absolute differences of the coordinates", "sum(dim=2)"),
            ("the largest absolute difference of a coordinate", "amax(dim=2)"),
        ]
    )
    unit, unit_code = random.choice(
        [
            ("the root of the mean square of all distances", "square().mean().sqrt()"),
            ("the median of all distances (`torch.median`)", "median()"),
            ("the largest distance", "max()"),
        ]
    )
    return {
        "distance": distance,
        "distance_code": distance_code,
        "unit": unit,
        "unit_code": unit_code,
        "delta": random.choice([0.1, 0.15, 0.2, 0.25]),
    }


def without_ties(random: Random, count: int, width: int) -> list[list[float]]:
    """Embeddings whose coordinates differ by unequal amounts: where two are the largest, gradients are not unique."""
    while True:
        drawn = numbers(random, count, width)
        gaps = [[round(abs(a - b), 6) for a, b in zip(x, y, strict=True)] for x, y in combinations(drawn, 2)]
        if all(len(set(gap)) == width for gap in gaps):
            return drawn


def two_peers(random: Random, drawn: Drawn) -> list[Case]:
    """Embeddings of two peers, of different widths."""
    cases = []
    for _ in range(4):
        count = random.randint(4, 5)
        own, other = random.randint(2, 3), random.randint(3, 4)
        cases.append((without_ties(random, count, own), without_ties(random, count, other)))
    return cases


def draw_triangles(random: Random) -> Drawn:
    """Sides of two triangles, in the same order."""
    triangles = [(a, b, c) for c in range(6, 20) for b in range(4, c) for a in range(3, b) if a + b > c]
    first, second = random.sample(triangles, 2)
    return {"first": list(first), "second": list(second)}


ASSIGNMENT = Assignment(
    "session4",
    "What a relation sees",
    "Other distances, other directions: notebook 03.",
    (
        Task(
            "directions",
            "Directions from a centre",
            r"""
            Seen from a centre, each image lies in some direction. This year the centre is **<<words>>**. Return
            the matrix of cosines between the directions of all pairs of images.
            """,
            stub='''
            def directions(f: Tensor) -> Tensor:
                """f: (B, D) embeddings. Entry (u, v) is the cosine between the directions of images u and v, (B, B)."""
            ''',
            solution="""
            e = F.normalize(f - (<<code>>), dim=1)
            return e @ e.T
            """,
            wrong="""
            e = F.normalize(f, dim=1)
            return e @ e.T
            """,
            points=3,
            draw=draw_centre,
            cases=embeddings,
        ),
        Task(
            "relation_loss",
            "Another distance, another unit",
            r"""
            This year's distance of two images is **<<distance>>** of their embeddings, and its unit is
            **<<unit>>** over all ordered pairs of *different* images of the batch. The loss is the mean of
            $\mathrm{Huber}_\delta$ over these pairs, of the differences between the two peers' relative
            distances; $\delta = <<delta>>$, and

            $$ \mathrm{Huber}_\delta(x) = \begin{cases}
               \tfrac12 x^2 & |x| \le \delta \\ \delta\,(|x| - \tfrac12 \delta) & |x| > \delta \end{cases} $$

            The target gets no gradient.
            """,
            stub='''
            def relation_loss(f: Tensor, f_target: Tensor) -> Tensor:
                """f: (B, D) and f_target: (B, E) embeddings of the same images. A scalar."""
            ''',
            solution="""
            def relative(e):
                gaps = (e[:, None] - e[None]).abs().<<distance_code>>
                pairs = gaps[~torch.eye(len(e), dtype=torch.bool)]
                return pairs / pairs.<<unit_code>>

            return F.huber_loss(relative(f), relative(f_target.detach()), delta=<<delta>>)
            """,
            wrong="""
            def relative(e):
                gaps = (e[:, None] - e[None]).abs().<<distance_code>>
                return gaps / gaps.<<unit_code>>

            return F.huber_loss(relative(f), relative(f_target.detach()), delta=<<delta>>)
            """,
            points=5,
            draw=draw_relation,
            cases=two_peers,
            gradient=True,
        ),
        Task(
            "triangle_loss",
            "Two triangles by hand",
            r"""
            Three images lie at the corners of a triangle. For one peer its sides AB, AC, BC are <<first>>, for
            the other one <<second>>. What is the distance loss (03.2) of the course, with the usual Huber
            function? Set `triangle_loss`, computed and not rounded.
            """,
            solution="""
            a, b = <<first>>, <<second>>
            gaps = [3 * a[i] / sum(a) - 3 * b[i] / sum(b) for i in range(3)]
            triangle_loss = sum(gap**2 / 2 for gap in gaps) / 3
            """,
            wrong="""
            a, b = <<first>>, <<second>>
            gaps = [3 * a[i] / sum(a) - 3 * b[i] / sum(b) for i in range(3)]
            triangle_loss = sum(gap**2 / 2 for gap in gaps) / 6
            """,
            points=2,
            draw=draw_triangles,
        ),
        Open(
            "what_is_free",
            "In words",
            """
            Which changes of an embedding leave this year's `relation_loss` as it is: a shift, another scale, a
            turn by 30 degrees, a new order of the coordinates, a mirror image along one axis? Say for each why.
            One of them is free for the distance of the course and not for this one.
            """,
            """
            1 point: shift and scale are free, with reasons (differences; the unit). 1 point: order of coordinates
            and mirror image along an axis are free (absolute values per coordinate). 2 points: a turn is not
            free, with a reason or an example of two points.
            """,
            points=4,
        ),
    ),
)
