r"""One objective for all methods: a method is a row of weights over the named terms.

.. math:: L^k = \alpha\, L_{CE}^k + \beta\, (L_{DD} + \beta_1 L_{AD} + \beta_2 L_{KL}^{k \leftarrow j})
          + \gamma\, L_{SD}^k
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, Field, field_validator, model_validator

if TYPE_CHECKING:
    from torch import Tensor

    from ctsl_lib.losses.terms import Step
    from ctsl_lib.models.peer import PeerOutput

    Compute = Callable[[Step, int], Tensor]

TERMS = ("ce", "response", "distance", "angle", "self")
"""The paper's terms. An objective may also have the triplet term and a user's own terms."""
BUILT_IN = (*TERMS, "triplet")
GROUPS: dict[str, tuple[str, ...]] = {"MLI": ("response",), "MLR": ("distance", "angle"), "SLI": ("self",)}
"""The paper's three kinds of knowledge besides the labels, and the terms of each."""

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Needs = Literal["labels", "peers", "frozen"]


class Term(NamedTuple):
    """A term of the objective: the function that computes it, and what that function needs."""

    compute: "Compute"
    needs: Needs


REGISTERED: dict[str, Term] = {}
"""Name -> term. The built-in terms are added when `ctsl_lib.losses.terms` is imported."""


def term(
    name: str, needs: Needs = "labels"
) -> "Callable[[Callable[[Step, int], Tensor]], Callable[[Step, int], Tensor]]":
    """Add a term to the objective: decorate a function (step, k) -> scalar loss of peer k.

    `step` is a `ctsl_lib.losses.terms.Step`. From then on an objective may give the term a weight, and runs train with
    it, go on after a stop and leave records as with any other term.

    >>> @term("certainty")
    ... def certainty(step, k):  # the largest probability of each answer
    ...     return step.outputs[k].logits.softmax(dim=1).amax(dim=1).mean()
    >>> Objective(ce=1, certainty=0.1).active
    {'ce': 1.0, 'certainty': 0.1}

    Args:
        name: a new name, which could be that of a Python variable.
        needs: "peers" if it compares peers, so that a single peer does not have it; "frozen" if it needs the frozen
            copies' or the teacher's answers, so that stage 1 is run first; else "labels".

    Returns: the decorator. Raises: ValueError if the name is taken or could not be a variable's.
    """

    def add(compute: "Compute") -> "Compute":
        own = compute.__module__ == "ctsl_lib.losses.terms"
        if name in REGISTERED or (name in Objective.model_fields and not own) or not name.isidentifier():
            raise ValueError(f"the name of a term must be new and like a variable's, got {name!r}")
        if needs not in get_args(Needs):
            raise ValueError(f"needs must be one of {', '.join(get_args(Needs))}, got {needs!r}")
        REGISTERED[name] = Term(compute, needs)
        return compute

    return add


class Objective(BaseModel, frozen=True, extra="forbid"):
    """A method: the weights of the terms, and switches for what the paper leaves open.

    A term of weight 0 is never computed.

    >>> mine = Objective(ce=1, response=2, self=0.5, temperature=4)
    >>> mine.active
    {'ce': 1.0, 'response': 2.0, 'self': 0.5}
    >>> mine.without("self").active
    {'ce': 1.0, 'response': 2.0}
    """

    ce: Weight = 1.0
    """Cross entropy with the labels (alpha)."""
    response: Weight = 0.0
    """KL divergence from the other peers' answers, with temperature 1 (beta * beta2)."""
    distance: Weight = 0.0
    """Difference from the other peers' relative distances (beta)."""
    angle: Weight = 0.0
    """Difference from the other peers' angles (beta * beta1)."""
    self: Weight = 0.0
    """KL divergence from the frozen copy's softened answers (gamma)."""
    triplet: Weight = 0.0
    """Batch-hard triplet loss of the own embedding, from labels: usual for re-identification, not in the paper."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """The temperature t of the self term; it softens the peer's answers and the copy's."""
    margin: float = Field(default=0.3, ge=0, allow_inf_nan=False)
    """The margin of the triplet term."""
    extra: tuple[tuple[str, Weight], ...] = ()
    """Weights of a user's own terms, by name; see `term`. They may be given like the others: Objective(my_term=2)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The share of each label that cross entropy spreads evenly over all classes (Szegedy et al. 2016)."""
    teacher: str | None = None
    """Whom terms that need a frozen network learn from: None for the peer's own frozen copy, or the name of a network
    that is trained alone, then frozen, and teaches every peer (Hinton et al. 2015)."""
    detach_relations: bool = True
    """True: the other peer's relations are a fixed target. False: both peers move towards each other. With
    simultaneous updates this is the same as doubling the weights of the relation terms, as Huber is even."""
    start: Literal["fresh", "pretrained"] = "fresh"
    """What the peers of stage 2 start from: new initial weights, or the weights that stage 1 ended with."""
    scale_self_by_t2: bool = False
    """Whether to multiply the self term by temperature ** 2, as Hinton et al. 2015 do."""
    update: Literal["simultaneous", "sequential"] = "simultaneous"
    """Whether all peers take a step at once, from the same answers, or one after the other, each from new answers.
    One after the other, batch norm takes the averages of each batch K times, as all peers answer at each turn."""

    @model_validator(mode="before")
    @classmethod
    def _own_terms(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        own = {name: values[name] for name in values if name in REGISTERED and name not in BUILT_IN}
        try:
            extra = dict(values.get("extra", ())) | own
        except (TypeError, ValueError):
            return values  # the check of the field itself says what is wrong
        return {name: value for name, value in values.items() if name not in own} | {
            "extra": tuple(sorted(extra.items(), key=lambda pair: str(pair[0])))
        }

    @field_validator("extra")
    @classmethod
    def _no_setting(cls, pairs: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
        for name, _ in pairs:
            if name in cls.model_fields:
                raise ValueError(f"must name terms of your own; {name} is a setting of the objective itself")
        return tuple((name, weight) for name, weight in pairs if weight > 0)

    @model_validator(mode="after")
    def _has_a_term(self) -> "Objective":
        if not self.active:
            raise ValueError(
                f"at least one of {', '.join(BUILT_IN)} must be above 0: without any term there is nothing to learn"
            )
        return self

    @model_validator(mode="after")
    def _teacher_teaches(self) -> "Objective":
        if self.teacher is not None and self.start == "pretrained":
            raise ValueError("start must be 'fresh' with a teacher: there is no own copy to start from")
        # What a term needs that is not registered here, nobody can say.
        learns = self.learns_from_frozen or not dict(self.extra).keys() <= REGISTERED.keys()
        if self.teacher is not None and not learns:
            raise ValueError(
                f"teacher {self.teacher!r} needs a term that learns from it, such as self, above 0; got {self.in_words}"
            )
        return self

    @classmethod
    def from_paper(
        cls, alpha: float, beta: float, gamma: float, beta1: float, beta2: float, t: float
    ) -> "Objective":
        """The objective with the coefficients of the paper's formula, which stands at the top of this module.

        Args:
            alpha: weight of cross entropy.
            beta: weight of all that is learned from other peers.
            gamma: weight of self-learning.
            beta1, beta2: weights of angles and of responses, relative to that of distances.
            t: temperature of self-learning.
        """
        return cls.model_validate(
            {
                "ce": alpha,
                "response": beta * beta2,
                "distance": beta,
                "angle": beta * beta1,
                "self": gamma,
                "temperature": t,
            }
        )

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the paper's terms by name, in the order of TERMS."""
        return {term: getattr(self, term) for term in TERMS}

    @property
    def in_words(self) -> str:
        """The terms with their weights, then the switches that change them, such as "1 ce + 4 self, t = 4"."""
        terms = " + ".join(f"{weight:g} {name}" for name, weight in self.active.items())
        margin = type(self).model_fields["margin"].default
        compares = any(needs(name) == "peers" for name in self.active)
        switches = {
            f"label smoothing {self.label_smoothing:g}": self.ce > 0 and self.label_smoothing > 0,
            f"teacher {self.teacher}": self.learns_from_frozen and self.teacher is not None,
            # A term of one's own that learns from a teacher may soften answers as well.
            f"t = {self.temperature:g}": self.learns_from_frozen and self.temperature != 1,
            "self times t²": self.self > 0 and self.temperature != 1 and self.scale_self_by_t2,
            f"margin {self.margin:g}": self.triplet > 0 and self.margin != margin,
            "relations not detached": self.distance + self.angle > 0 and not self.detach_relations,
            "sequential updates": compares and self.update == "sequential",
            "warm start": self.start == "pretrained",
        }
        return ", ".join([terms, *(switch for switch, changes in switches.items() if changes)])

    @property
    def active(self) -> dict[str, float]:
        """The weights of all terms that are not 0, by name, a user's own terms included."""
        every = {name: getattr(self, name) for name in BUILT_IN} | dict(self.extra)
        return {name: weight for name, weight in every.items() if weight > 0}

    @property
    def needs_frozen(self) -> bool:
        """Whether stage 1 must be run first, for frozen copies to learn from or for weights to start from."""
        return self.learns_from_frozen or self.start == "pretrained"

    @property
    def learns_from_frozen(self) -> bool:
        """Whether a term needs the answers of frozen copies."""
        return any(needs(name) == "frozen" for name in self.active)

    def without(self, *terms: str) -> "Objective":
        """The same objective without these terms.

        Without the self term its temperature goes as well, and without all that learn from it the teacher.
        """
        unknown = set(terms) - set(BUILT_IN) - set(dict(self.extra))
        if unknown:
            raise ValueError(
                f"terms must be among {', '.join((*BUILT_IN, *dict(self.extra)))}; got {', '.join(sorted(unknown))}"
            )
        changes: dict[str, Any] = {name: 0.0 for name in terms if name in BUILT_IN}
        changes["extra"] = tuple((name, weight) for name, weight in self.extra if name not in terms)
        if "self" in terms:
            changes |= {"temperature": 1.0, "scale_self_by_t2": False}
        if not any(needs(name) == "frozen" for name in self.active if name not in terms):
            changes["teacher"] = None
        return Objective.model_validate(self.model_dump() | changes)

    def check_terms(self) -> None:
        """Raise a ValueError if a term has no code; see `term`."""
        unknown = [name for name in self.active if name not in BUILT_IN and name not in REGISTERED]
        if unknown:
            known = dict.fromkeys((*BUILT_IN, *REGISTERED))
            raise ValueError(
                f"term must be one of {', '.join(known)}; got {', '.join(unknown)}. A term of your own must be in a "
                "module or file that CTSL_PLUGINS names, so that worker processes know it"
            )

    def check_peers(self, count: int) -> None:
        """Raise a ValueError if there is no peer, or a single one and all terms compare peers: it learns nothing."""
        if count < 1:
            raise ValueError("there must be one peer or more, got none")
        if count == 1 and all(needs(name) == "peers" for name in self.active):
            raise ValueError(
                "ce, self or triplet must be above 0 for a single peer, as it has no other peer to learn from"
            )

    def __call__(
        self,
        outputs: "Sequence[PeerOutput]",
        labels: "Tensor",
        frozen: "Sequence[PeerOutput] | None" = None,
        *,
        only: Iterable[int] | None = None,
        compiled: bool = False,
    ) -> "list[dict[str, Tensor]]":
        """The weighted terms of each peer's loss; their sum over terms and peers is what training minimises.

        Args:
            outputs: (B, C) logits and (B, D_k) embedding of each of the K peers, for the same B images.
            labels: (B,) class indices.
            frozen: for each peer what its frozen copy, or the teacher, answers to these images, if a term needs it.
            only: the peers whose terms to compute; by default all.
            compiled: compile the inner loop of the relation losses; see `relation_losses`.

        Returns: for each of these peers a dict: term -> weighted scalar. Terms that compare peers are averaged over
            the other peers; a single peer does not have them.
        Raises: ValueError on an unknown term, without anything to learn, and on frozen answers that are missing.
        """
        from ctsl_lib.losses.terms import weighted_terms

        chosen = list(range(len(outputs)) if only is None else only)
        return weighted_terms(self, outputs, labels, frozen, chosen, compiled)


def needs(name: str) -> Needs:
    """What a term needs; for the built-in terms this is known before `ctsl_lib.losses.terms` is imported.

    Args:
        name: of a term; one that is not registered here is taken to need labels alone.
    """
    known: dict[str, Needs] = {"response": "peers", "distance": "peers", "angle": "peers", "self": "frozen"}
    return REGISTERED[name].needs if name in REGISTERED else known.get(name, "labels")
