"""Session 6: is it real?"""

from random import Random

from tasks import Assignment, Case, Drawn, Open, Task, row


def draw_test(random: Random) -> Drawn:
    """This year's statistic, and whether both directions count."""
    statistic, code = random.choice(
        [
            ("mean", "mean()"),
            ("sum of the square roots, each with the sign of its difference", "sign().mul(x.abs().sqrt()).sum()"),
            ("sum of the squares, each with the sign of its difference", "mul(x.abs()).sum()"),
            ("number of positive differences minus that of negative ones", "sign().sum()"),
        ]
    )
    both, compare = random.choice(
        [
            ("is at least as far from zero as the observed one", "abs(value) >= abs(observed) - 1e-9"),
            ("is at least as large as the observed one", "value >= observed - 1e-9"),
        ]
    )
    return {"statistic": statistic, "code": code, "both": both, "compare": compare}


def differences(random: Random, drawn: Drawn) -> list[Case]:
    """Paired differences of 6 to 9 seeds."""
    return [([round(random.gauss(0.6, 1), 2) or 0.01 for _ in range(random.randint(6, 9))],) for _ in range(4)]


def draw_level(random: Random) -> Drawn:
    """The confidence of an interval, and the statistic of a sample."""
    words, code = random.choice([("mean", "mean(dim=1)"), ("median (`torch.median`)", "median(dim=1).values")])
    return {"level": random.choice([60, 70, 80, 90]), "words": words, "code": code}


def samples(random: Random, drawn: Drawn) -> list[Case]:
    """Differences, and which of them each sample takes."""
    cases = []
    for _ in range(3):
        count = random.randint(5, 7)
        picks = [[random.randrange(count) for _ in range(count)] for _ in range(12)]
        cases.append(([round(random.gauss(1, 1.5), 2) for _ in range(count)], picks))
    return cases


def draw_table(random: Random) -> Drawn:
    """Accuracies of the eight rows of a factorial with the parts A, B and C."""
    names = ("none", "a", "b", "ab", "c", "ac", "bc", "abc")
    return {name: round(random.uniform(78, 90), 1) for name in names}


def draw_verdict(random: Random) -> Drawn:
    """Paired differences of seven seeds."""
    centre = random.choice([-0.2, 0.3, 0.9, 1.4])
    return {"values": row([round(random.gauss(centre, 1), 1) for _ in range(7)])}


ASSIGNMENT = Assignment(
    "session6",
    "Is it real?",
    "Tests without a formula, conditional effects, a verdict: notebook 06.",
    (
        Task(
            "sign_flip_p",
            "If nothing were there, signs would be luck",
            r"""
            If a method makes no difference, each seed's difference could as well have had the other sign. Go
            through all $2^n$ ways
            to choose the signs of the $n$ differences, compute the **<<statistic>>** for each, and return the share of
            them in which it **<<both>>**. The observed signs are one of the ways. Values that differ by less than
            1e-9 count as equal: they come from rounding. No random numbers are needed.
            """,
            stub='''
            def sign_flip_p(differences: Tensor) -> float:
                """differences: (n,), one for each seed, n at most 10. The p-value."""
            ''',
            solution="""
            def statistic(x):
                return x.<<code>>.item()

            observed, hits = statistic(differences), 0
            for number in range(2 ** len(differences)):
                signs = torch.tensor([1.0 if number >> i & 1 else -1.0 for i in range(len(differences))])
                value = statistic(signs * differences)
                hits += <<compare>>
            return hits / 2 ** len(differences)
            """,
            wrong="""
            from statistics import NormalDist

            ratio = differences.mean() / differences.std() * len(differences) ** 0.5
            return 1 - NormalDist().cdf(ratio.item())
            """,
            points=4,
            draw=draw_test,
            cases=differences,
        ),
        Task(
            "bootstrap_interval",
            "An interval from the seeds themselves",
            r"""
            Draw samples from the seeds, with replacement, and look how the **<<words>>** varies. The draws are
            given, so that there is one right answer: row $r$ of `picks` says which differences sample $r$ takes.
            Return the two ends between which the middle <<level>> % of the samples' values lie; use
            `torch.quantile` with its default interpolation.
            """,
            stub='''
            def bootstrap_interval(differences: Tensor, picks: Tensor) -> Tensor:
                """differences: (n,); picks: (R, n), whole numbers from 0 to n - 1. Lower and upper end, (2,)."""
            ''',
            solution="""
            values = differences[picks].<<code>>
            tail = (1 - <<level>> / 100) / 2
            return torch.stack([values.quantile(tail), values.quantile(1 - tail)])
            """,
            wrong="""
            values = differences[picks].<<code>>
            tail = 1 - <<level>> / 100
            return torch.stack([values.quantile(tail), values.quantile(1 - tail)])
            """,
            points=3,
            draw=draw_level,
            cases=samples,
        ),
        Task(
            "conditional_effects",
            "Effects under a condition",
            r"""
            Accuracies in percent of all eight combinations of the parts A, B and C:

            | | neither A nor B | A | B | A and B |
            |---|---|---|---|---|
            | **without C** | <<none>> | <<a>> | <<b>> | <<ab>> |
            | **with C** | <<c>> | <<ac>> | <<bc>> | <<abc>> |

            Set `conditional_effects` to a list of three numbers: the effect of C where A and B are both there;
            the effect of C averaged over the two rows *without* A; and half the difference between the effect of
            B with C and that without C, in the rows *with* A.
            """,
            solution="""
            conditional_effects = [
                <<abc>> - <<ab>>,
                ((<<c>> - <<none>>) + (<<bc>> - <<b>>)) / 2,
                ((<<abc>> - <<ac>>) - (<<ab>> - <<a>>)) / 2,
            ]
            """,
            wrong="""
            conditional_effects = [
                <<abc>> - <<ab>>,
                (<<c>> + <<ac>> + <<bc>> + <<abc>> - <<none>> - <<a>> - <<b>> - <<ab>>) / 4,
                (<<abc>> - <<ac>>) - (<<ab>> - <<a>>),
            ]
            """,
            points=3,
            draw=draw_table,
        ),
        Open(
            "one_sentence",
            "The verdict, in one sentence",
            """
            A method and its rival of equal cost were run with seven seeds. The paired differences in points are
            <<values>>. Compute the 95 % interval
            (Student's factor for seven seeds is 2.447). Write the verdict in one sentence that a careful reader would
            sign, then one more on what the sentence does not say.
            """,
            """
            1 point: mean and interval are right. 1 point: the verdict follows from the interval (better, worse,
            or not to be told apart; never "no difference"). 1 point: number of seeds and cost are named. 1
            point: the limit is a real one (this data, one comparison of several, what seeds do not vary).
            """,
            points=4,
            draw=draw_verdict,
        ),
    ),
)
