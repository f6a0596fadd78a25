"""Session 3: peers without a teacher."""

from random import Random

from tasks import Assignment, Case, Drawn, Open, Task, numbers, row


def draw_trusted(random: Random) -> Drawn:
    """How much each of four peers is trusted, and the direction of the divergence."""
    formula, code = random.choice(
        [
            (r"\mathrm{KL}(p_j \,\|\, p_k)", "(log_q.exp() * (log_q - log_p)).sum(dim=1).mean()"),
            (r"\mathrm{KL}(p_k \,\|\, p_j)", "(log_p.exp() * (log_p - log_q)).sum(dim=1).mean()"),
        ]
    )
    return {"formula": formula, "code": code, "trust": row(random.sample([1, 2, 3, 4, 5, 6, 7], 4))}


def groups(random: Random, drawn: Drawn) -> list[Case]:
    """Peer k, and the logits of four peers."""
    cases = []
    for k in random.sample(range(4), 4):
        count, classes = random.randint(2, 3), random.randint(3, 4)
        cases.append((k, tuple(numbers(random, count, classes) for _ in range(4))))
    return cases


def draw_mixture(random: Random) -> Drawn:
    """The share of the target in the mixture."""
    return {"share": random.choice([0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.6, 0.65, 0.7, 0.8])}


def pairs(random: Random, drawn: Drawn) -> list[Case]:
    """Own logits and a target's."""
    cases = []
    for _ in range(3):
        shape = random.randint(2, 4), random.randint(3, 5)
        cases.append((numbers(random, *shape), numbers(random, *shape)))
    return cases


def draw_answers(random: Random) -> Drawn:
    """Answers of two peers to a wrongly labelled image: both prefer the truth."""
    first, second = random.choice([50, 55, 60]), random.choice([35, 40, 45])
    given = random.sample([5, 10, 15, 20], 2)
    weights = random.sample([1, 2, 3, 4, 5], 2)
    return {
        "true1": first / 100,
        "true2": second / 100,
        "given1": given[0] / 100,
        "given2": given[1] / 100,
        "w1": weights[0],
        "w2": weights[1],
    }


ASSIGNMENT = Assignment(
    "session3",
    "Peers without a teacher",
    "Groups of peers, other divergences, effective labels: notebook 02.",
    (
        Task(
            "loss_of",
            "Peers that are trusted differently",
            r"""
            Four peers learn together, but not all are trusted alike: peer $j$ has the trust $w_j$ with $w =
            (<<trust>>)$. The response loss of peer $k$ is

            $$ L^k = \frac{\sum_{j \ne k} w_j\, <<formula>>}{\sum_{j \ne k} w_j} , $$

            at $t = 1$, a mean over the batch. Mind which side stands in front. The other peers must get no
            gradient from it.
            """,
            stub='''
            def loss_of(k: int, logits: list[Tensor]) -> Tensor:
                """k: whose loss, from 0; logits: of the four peers, each (B, C). A scalar."""
            ''',
            solution="""
            trust = [<<trust>>]
            log_p = logits[k].log_softmax(dim=1)
            total = torch.zeros((), dtype=log_p.dtype)
            for j in range(4):
                if j != k:
                    log_q = logits[j].detach().log_softmax(dim=1)
                    total = total + trust[j] * <<code>>
            return total / (sum(trust) - trust[k])
            """,
            wrong="""
            trust = [<<trust>>]
            log_p = logits[k].log_softmax(dim=1)
            total = torch.zeros((), dtype=log_p.dtype)
            for j in range(4):
                if j != k:
                    log_q = logits[j].log_softmax(dim=1)
                    total = total + trust[j] * <<code>>
            return total / (sum(trust) - trust[k])
            """,
            points=4,
            draw=draw_trusted,
            cases=groups,
            gradient=True,
        ),
        Task(
            "meeting_loss",
            "Meeting on the way",
            r"""
            Let both answers be compared with a mixture of the two. With $\pi = <<share>>$ and the target's answer
            $q$ (which gets no gradient),

            $$ m = \pi\, q + (1 - \pi)\, p, \qquad
               L = \pi\, \mathrm{KL}(q \,\|\, m) + (1 - \pi)\, \mathrm{KL}(p \,\|\, m) . $$

            The mixture $m$ contains $p$, so the gradient flows through it as well. At $t = 1$, a mean over the
            batch.
            """,
            stub='''
            def meeting_loss(z: Tensor, z_target: Tensor) -> Tensor:
                """z, z_target: (B, C) logits. A scalar."""
            ''',
            solution="""
            p, q = z.softmax(dim=1), z_target.detach().softmax(dim=1)
            m = <<share>> * q + (1 - <<share>>) * p
            target, own = q * (q.log() - m.log()), p * (p.log() - m.log())
            return (<<share>> * target + (1 - <<share>>) * own).sum(dim=1).mean()
            """,
            wrong="""
            p, q = z.softmax(dim=1), z_target.detach().softmax(dim=1)
            m = (<<share>> * z_target.detach() + (1 - <<share>>) * z).softmax(dim=1)
            target, own = q * (q.log() - m.log()), p * (p.log() - m.log())
            return (<<share>> * target + (1 - <<share>>) * own).sum(dim=1).mean()
            """,
            points=3,
            draw=draw_mixture,
            cases=pairs,
            gradient=True,
        ),
        Task(
            "largest_alpha",
            "When the truth wins",
            r"""
            An image carries a wrong label. A peer hears the label with weight $\alpha$ and two fellow peers with
            the weights <<w1>> and <<w2>>. The first gives <<true1>> to the true class and <<given1>> to the given
            one, the second <<true2>> and <<given2>>. Below which $\alpha$ does the effective label give more to
            the true class than to the given one? Set `largest_alpha`.
            """,
            solution="largest_alpha = <<w1>> * (<<true1>> - <<given1>>) + <<w2>> * (<<true2>> - <<given2>>)",
            wrong="""
            pull = <<w1>> * (<<true1>> - <<given1>>) + <<w2>> * (<<true2>> - <<given2>>)
            largest_alpha = pull / (<<w1>> + <<w2>>)
            """,
            points=2,
            draw=draw_answers,
        ),
        Open(
            "agree_or_right",
            "In words",
            """
            Two peers that learn together agree on more images than two that do not. Why is that no evidence that
            either of them got better? Describe a measurement that would be, and what has to be the same in both
            trainings.
            """,
            """
            1 point: the loss asks for agreement directly, and peers can agree on mistakes. 1 point: accuracy on
            clean test images, over several seeds. 1 point: paired, with the same data, wrong labels, first
            weights and order of images.
            """,
            points=3,
        ),
    ),
)
