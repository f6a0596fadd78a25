"""Session 1: soft answers."""

from random import Random

from tasks import Assignment, Case, Drawn, Open, Task, numbers


def draw_temperature(random: Random) -> Drawn:
    """This year's measure of how sure an answer is, and the value that is asked for."""
    words, code = random.choice(
        [
            ("its largest probability", "p[0]"),
            ("the difference of its two largest probabilities", "p[0] - p[1]"),
            ("the sum of its two largest probabilities", "p[0] + p[1]"),
        ]
    )
    goal = random.randint(50, 60) if "+" not in code else random.randint(65, 85)
    return {"words": words, "code": code, "goal": goal / 100}


def logits_of_one_image(random: Random, drawn: Drawn) -> list[Case]:
    """Distinct logits of 4 to 7 classes."""
    return [
        (random.sample([round(-3 + 0.37 * i, 2) for i in range(20)], random.randint(4, 7)),) for _ in range(4)
    ]


def draw_effective(random: Random) -> Drawn:
    """This year's way to count classes, and the temperature."""
    formula, code = random.choice(
        [
            (r"$\exp\big(-\sum_c p^t_c \ln p^t_c\big)$", "(-(p * p.log()).sum(dim=1)).exp()"),
            (r"$1 / \sum_c (p^t_c)^2$", "1 / p.square().sum(dim=1)"),
            (r"$\big(\sum_c \sqrt{p^t_c}\,\big)^2$", "p.sqrt().sum(dim=1).square()"),
        ]
    )
    return {"formula": formula, "code": code, "t": random.choice([0.6, 0.8, 1.5, 2.5, 3.5])}


def batches(random: Random, drawn: Drawn) -> list[Case]:
    """Batches of different shapes."""
    return [(numbers(random, random.randint(2, 4), random.randint(3, 6)),) for _ in range(3)]


def draw_twice(random: Random) -> Drawn:
    """Two shares of labels that are redrawn, and the number of classes."""
    first, second = random.sample([15, 20, 25, 30, 35, 45], 2)
    return {"first": first / 100, "second": second / 100, "classes": random.choice([4, 5, 8, 20, 25])}


ASSIGNMENT = Assignment(
    "session1",
    "Soft answers",
    "Temperature, entropy, wrong labels: notebooks 00 and 01.",
    (
        Task(
            "find_temperature",
            "The temperature for an asked confidence",
            r"""
            How hot must an answer be read to be as sure as we want it to be? Write a function that takes the
            logits of one image
            and returns the temperature $t > 0$ at which **<<words>>** is **<<goal>>**; do not round it. There is no
            formula for it; halve an interval. The right $t$ lies between 0.001 and 1000.
            """,
            stub='''
            def find_temperature(logits: Tensor) -> float:
                """logits: (C,), all different. The temperature at which the softened answer is as sure as asked."""
            ''',
            solution="""
            low, high = 1e-3, 1e3
            for _ in range(100):
                t = (low * high) ** 0.5
                p = (logits / t).softmax(dim=0).sort(descending=True).values
                low, high = (t, high) if <<code>> > <<goal>> else (low, t)
            return t
            """,
            wrong="""
            low, high = 1e-3, 1e3
            for _ in range(100):
                t = (low * high) ** 0.5
                p = (logits * t).softmax(dim=0).sort(descending=True).values
                low, high = (low, t) if <<code>> > <<goal>> else (t, high)
            return t
            """,
            points=4,
            draw=draw_temperature,
            cases=logits_of_one_image,
        ),
        Task(
            "effective_classes",
            "How many classes are in play?",
            r"""
            An answer that halves its probability between two classes has two classes in play; a certain answer
            has one. This year we count them as <<formula>>, at $t = <<t>>$. Return that number for each image of
            a batch.
            """,
            stub='''
            def effective_classes(logits: Tensor) -> Tensor:
                """logits: (B, C). The number of classes in play, (B,)."""
            ''',
            solution="p = (logits / <<t>>).softmax(dim=1)\nreturn <<code>>",
            wrong="p = logits.softmax(dim=1)\nreturn <<code>>",
            points=3,
            draw=draw_effective,
            cases=batches,
        ),
        Task(
            "wrong_share",
            "Redrawn twice",
            r"""
            A share of <<first>> of all labels is redrawn from all <<classes>> classes. Then somebody else redraws
            a share of <<second>>, chosen anew among all labels, again from all classes. Which share of the labels
            is expected to be wrong at the end? Set `wrong_share`.
            """,
            solution="wrong_share = (1 - (1 - <<first>>) * (1 - <<second>>)) * (1 - 1 / <<classes>>)",
            wrong="wrong_share = (<<first>> + <<second>>) * (1 - 1 / <<classes>>)",
            points=2,
            draw=draw_twice,
        ),
        Open(
            "why_temperature",
            "In words",
            """
            Temperature changes no answer's first class. Why can it change what a student learns from that answer?
            Five sentences at most, with one example of three logits.
            """,
            """
            1 point: the order of classes stays, the ratios of probabilities do not. 1 point: the loss or its
            gradient is "answer minus target", so small probabilities that grow pull more. 1 point: an example
            whose numbers are right.
            """,
            points=3,
        ),
    ),
)
