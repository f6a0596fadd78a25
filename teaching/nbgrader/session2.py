"""Session 2: teacher and student."""

from random import Random

from tasks import Assignment, Case, Drawn, Open, Task, labels, numbers


def draw_loss(random: Random) -> Drawn:
    """Temperature, weight, and this year's power of t in front of the soft term."""
    power = random.choice([0, 0.5, 1, 1.5])
    return {"t": random.choice([1.5, 2.5, 3, 5]), "weight": random.choice([0.3, 0.6, 0.7, 0.8]), "power": power}


def lessons(random: Random, drawn: Drawn) -> list[Case]:
    """Logits of a student, labels, logits of a teacher."""
    cases = []
    for _ in range(4):
        count, classes = random.randint(2, 4), random.randint(3, 5)
        student, teacher = numbers(random, count, classes), numbers(random, count, classes)
        cases.append((student, labels(random, count, classes), teacher))
    return cases


def draw_trust(random: Random) -> Drawn:
    """How much a teacher is trusted with one image."""
    words, code = random.choice(
        [
            ("the largest probability of the teacher's answer", "q.amax(dim=1, keepdim=True)"),
            ("the probability that the teacher gives to the label", "q.gather(1, labels[:, None])"),
            ("1 minus the probability that the teacher gives to the label", "1 - q.gather(1, labels[:, None])"),
        ]
    )
    return {"words": words, "code": code, "t": random.choice([1.5, 2, 3])}


def draw_forgotten(random: Random) -> Drawn:
    """A teacher's logits as logarithms of whole numbers, and a temperature."""
    a, b = random.choice([(3, 2), (4, 3), (5, 2), (5, 3), (6, 5), (7, 4)])
    return {"a": a, "b": b, "t": random.choice([2, 3, 4])}


ASSIGNMENT = Assignment(
    "session2",
    "Teacher and student",
    "Variants of Hinton's loss: notebook 01b.",
    (
        Task(
            "student_gradient",
            "The gradient of another loss",
            r"""
            This year's loss has another power of the temperature:

            $$ L = (1 - \lambda)\,\mathrm{CE}(y, p) + \lambda\, t^{<<power>>}\, \mathrm{KL}(q^t \,\|\, p^t), \qquad
               \lambda = <<weight>>,\quad t = <<t>> $$

            (means over the batch, $q$ the teacher's answer). Return its gradient with respect to the student's
            logits, in closed form, without `backward` or `grad`.
            """,
            stub='''
            def student_gradient(z: Tensor, labels: Tensor, z_teacher: Tensor) -> Tensor:
                """z, z_teacher: (B, C) logits; labels: (B,). The gradient with respect to z, (B, C)."""
            ''',
            solution="""
            y = F.one_hot(labels, z.shape[1])
            hard = z.softmax(dim=1) - y
            soft = ((z / <<t>>).softmax(dim=1) - (z_teacher / <<t>>).softmax(dim=1)) / <<t>>
            return ((1 - <<weight>>) * hard + <<weight>> * <<t>>**<<power>> * soft) / len(z)
            """,
            wrong="""
            y = F.one_hot(labels, z.shape[1])
            soft = (z / <<t>>).softmax(dim=1) - (z_teacher / <<t>>).softmax(dim=1)
            return ((1 - <<weight>>) * (z.softmax(dim=1) - y) + <<weight>> * <<t>>**2 * soft) / len(z)
            """,
            points=4,
            draw=draw_loss,
            cases=lessons,
        ),
        Task(
            "trusting_loss",
            "A teacher who is trusted image by image",
            r"""
            One weight for all images is crude. Give each image a target of its own, $s = c\, q + (1 - c)\, y$,
            where $q$ is the teacher's answer softened by $t = <<t>>$, $y$ the label as a one-hot vector, and $c$
            is **<<words>>** (of $q$). The loss is the cross entropy of the student's *unsoftened* answer with
            $s$, a mean over the batch. The teacher must get no gradient.
            """,
            stub='''
            def trusting_loss(z: Tensor, labels: Tensor, z_teacher: Tensor) -> Tensor:
                """z, z_teacher: (B, C) logits; labels: (B,). A scalar."""
            ''',
            solution="""
            q = (z_teacher.detach() / <<t>>).softmax(dim=1)
            c = <<code>>
            s = c * q + (1 - c) * F.one_hot(labels, z.shape[1])
            return -(s * z.log_softmax(dim=1)).sum(dim=1).mean()
            """,
            wrong="""
            q = (z_teacher / <<t>>).softmax(dim=1)
            c = <<code>>
            s = c * q + (1 - c) * F.one_hot(labels, z.shape[1])
            return -(s * z.log_softmax(dim=1)).sum(dim=1).mean()
            """,
            points=3,
            draw=draw_trust,
            cases=lessons,
            gradient=True,
        ),
        Task(
            "used_probability",
            "Somebody forgot to soften the teacher",
            r"""
            A program compares $\mathrm{softmax}(z / t)$ of the student with $\mathrm{softmax}(z')$ of the
            teacher, which it forgot to soften; $t = <<t>>$. For one image the teacher's logits are $z' = (\ln
            <<a>>, \ln <<b>>, 0)$, and after long training the two sides agree exactly. Which probability does the
            student give to the first class in use, that is at $t = 1$? Set `used_probability`.
            """,
            solution="used_probability = <<a>> ** <<t>> / (<<a>> ** <<t>> + <<b>> ** <<t>> + 1)",
            wrong="used_probability = <<a>> ** (1 / <<t>>) / (<<a>> ** (1 / <<t>>) + <<b>> ** (1 / <<t>>) + 1)",
            points=2,
            draw=draw_forgotten,
        ),
        Open(
            "which_control",
            "In words",
            """
            A colleague shows a student that gains three points from a teacher. Name two controls or rivals that
            you want to see beside it, say for each which outcome would change your mind, and which of the two you
            would run first with a small budget.
            """,
            """
            1 point each for two of: a label-only teacher as soft as the real one; the student alone for the cost of
            teacher and student; a teacher of the student's size; several seeds, paired. 1 point: an outcome is
            named for each. 1 point: the choice follows from cost or from what it would decide.
            """,
            points=4,
        ),
    ),
)
