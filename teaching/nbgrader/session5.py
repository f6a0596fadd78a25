"""Session 5: the frozen self, and everything together."""

from random import Random

from tasks import Assignment, Case, Drawn, Open, Task, numbers


def draw_average(random: Random) -> Drawn:
    """The decay of a moving average, and where it starts."""
    decay = random.choice([0.6, 0.7, 0.8, 0.9])
    words, start, end = random.choice(
        [
            ("It starts at the first row.", "weights[0]", "average"),
            (
                "It starts at zero, takes in all rows, and is divided by $1 - d^S$ at the end to make up for that.",
                "torch.zeros_like(weights[0])",
                f"average / (1 - {decay} ** len(weights))",
            ),
            ("It starts at the mean of all rows, and takes in all rows.", "weights.mean(dim=0)", "average"),
        ]
    )
    return {
        "decay": decay,
        "words": words,
        "start": start,
        "end": end,
        "rows": "weights[1:]" if "first" in words else "weights",
    }


def histories(random: Random, drawn: Drawn) -> list[Case]:
    """Weights of a network after each epoch."""
    return [(numbers(random, random.randint(4, 6), random.randint(2, 3)),) for _ in range(3)]


def draw_ensemble(random: Random) -> Drawn:
    """How many snapshots teach, at which temperature, and how they are averaged."""
    words, code = random.choice(
        [
            ("the mean of their probabilities", "z.softmax(dim=2).mean(dim=0)"),
            (
                "the geometric mean of their probabilities, divided by its sum over the classes",
                "z.log_softmax(dim=2).mean(dim=0).softmax(dim=1)",
            ),
            (
                "for each class the largest of their probabilities, divided by the sum over the classes",
                "F.normalize(z.softmax(dim=2).amax(dim=0), p=1, dim=1)",
            ),
        ]
    )
    return {"last": random.choice([2, 3]), "t": random.choice([1.5, 2, 2.5, 4]), "words": words, "code": code}


def snapshots(random: Random, drawn: Drawn) -> list[Case]:
    """Logits of 4 or 5 snapshots."""
    return [(numbers(random, random.randint(4, 5), 2, random.randint(3, 4)),) for _ in range(3)]


def draw_cost(random: Random) -> Drawn:
    """Epochs of both stages, networks that only answer, and what a backward pass costs."""
    return {
        "first": random.choice([6, 8, 10, 14, 16]),
        "second": random.choice([9, 12, 15, 18, 21]),
        "copies": random.choice([1, 2, 3]),
        "backward": random.choice([1.5, 2, 2.5]),
    }


ASSIGNMENT = Assignment(
    "session5",
    "The frozen self, and everything together",
    "Other teachers from one's own past, and the bill: notebooks 04 and 05.",
    (
        Task(
            "moving_average",
            "A teacher that follows slowly",
            r"""
            Instead of freezing a copy, one can let the teacher's weights follow the student's: after each epoch
            $\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta$ with $d = <<decay>>$. <<words>> Return
            $\bar\theta$ after the last row.
            """,
            stub='''
            def moving_average(weights: Tensor) -> Tensor:
                """weights: (S, D), the student's weights after each of S epochs. The teacher's weights, (D,)."""
            ''',
            solution="""
            average = <<start>>
            for theta in <<rows>>:
                average = <<decay>> * average + (1 - <<decay>>) * theta
            return <<end>>
            """,
            wrong="""
            average = <<start>>
            for theta in <<rows>>:
                average = (1 - <<decay>>) * average + <<decay>> * theta
            return <<end>>
            """,
            points=3,
            draw=draw_average,
            cases=histories,
        ),
        Task(
            "snapshot_teacher",
            "An ensemble of one's own past",
            r"""
            Let the last <<last>> snapshots of a network teach together. Their answers, each softened by $t =
            <<t>>$, are combined into one target: **<<words>>**. Return the target's probabilities; they get no
            gradient.
            """,
            stub='''
            def snapshot_teacher(logits: Tensor) -> Tensor:
                """logits: (S, B, C), of S snapshots from the oldest to the newest. Probabilities, (B, C)."""
            ''',
            solution="z = logits.detach()[-<<last>>:] / <<t>>\nreturn <<code>>",
            wrong="z = logits.detach()[:<<last>>] / <<t>>\nreturn <<code>>",
            points=3,
            draw=draw_ensemble,
            cases=snapshots,
        ),
        Task(
            "rival_epochs",
            "The rival of equal cost",
            r"""
            A network is trained on the labels for <<first>> epochs and frozen. Then a fresh one is trained for
            <<second>> epochs; for every batch, <<copies>> frozen network(s) of the same kind answer as well. A
            backward pass costs <<backward>> times a forward pass. For how many epochs (not necessarily whole)
            could one network be trained on the labels alone at the same cost? Set `rival_epochs`.
            """,
            solution="rival_epochs = <<first>> + <<second>> * (1 + <<backward>> + <<copies>>) / (1 + <<backward>>)",
            wrong="rival_epochs = <<first>> + <<second>>",
            points=3,
            draw=draw_cost,
        ),
        Open(
            "worth_its_cost",
            "In writing",
            """
            Is CTSL-MKT worth its cost on the digits? One page, with numbers from notebooks 04 and 05 and their
            intervals.
            """,
            """
            0 to 2: names a number without its interval or its rival. 3 to 5: compares at equal epochs, with
            interval, and says so. 6 to 8: adds the rival of equal cost, the uniform teacher, and how many
            comparisons were made. 9 to 10: also says what the result depends on (few and noisy labels, short
            training), and which run would refute it.
            """,
            points=10,
        ),
    ),
)
