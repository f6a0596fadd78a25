"""What must stay as it is whatever is moved: keys of records, initial weights, the numbers of a short run."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from ctsl_lib.experiments.provenance import cpu_name
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.models.registry import build_peer, network_names
from ctsl_lib.training.recipe import Recipe

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
RECORDS = sorted((HERE.parent / "data" / "records").glob("*/*.json"))
SHORT = Spec(
    peers=("tiny_cnn", "tiny_resnet"),
    objective=METHODS["ctsl_mkt"],
    recipe=Recipe(epochs=2, mirror=True, erasing=0.5, precision="bf16"),
    seed=7,
)


def same_arithmetic(*, bf16: bool = False) -> bool:
    """Whether this machine rounds as the one that the golden values come from.

    Vector instructions of one name draw the same weights everywhere. In bf16 a CPU adds in another order if it has no
    instructions for it, or has those for matrices (AMX); so there they count as well, and the model of the CPU.
    """
    torch_version, cpu, instructions = GOLDEN["arithmetic"]
    if torch_version != torch.__version__:
        return False
    if not bf16:
        return cpu.endswith(f", {torch.backends.cpu.get_cpu_capability()}")
    known = Path("/proc/cpuinfo")
    flags = set(known.read_text(encoding="utf-8").split()) if known.exists() else set()
    return cpu == cpu_name() and sorted(flags & {"avx512_bf16", "amx_bf16"}) == instructions


def test_there_are_committed_records() -> None:
    assert RECORDS


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_committed_record_has_the_key_that_it_is_named_for(path: Path) -> None:
    record = Record.model_validate_json(path.read_text(encoding="utf-8"))
    assert record.spec.key == path.stem and record.spec.data.name == path.parent.name


def weights_of(name: str) -> dict[str, object]:
    channels = 3 if name.startswith("reid") else 1
    values = [value.double() for value in build_peer(name, channels, 10, seed=0).state_dict().values()]
    content = hashlib.sha256()
    for value in values:
        content.update(value.float().contiguous().numpy().tobytes())
    squares = sum(float(value.square().sum()) for value in values)
    return {"hash": content.hexdigest()[:16], "squares": squares, "tensors": len(values)}


@pytest.mark.parametrize("name", list(GOLDEN["weights"]))
def test_initial_weights(name: str) -> None:
    found, golden = weights_of(name), GOLDEN["weights"][name]
    assert found["tensors"] == golden["tensors"] and found["squares"] == pytest.approx(
        golden["squares"], rel=1e-6
    )
    if same_arithmetic():
        assert found["hash"] == golden["hash"]


def test_all_networks_are_guarded() -> None:
    assert {name for name in network_names() if not name.startswith("test_")} <= set(GOLDEN["weights"])


def test_a_short_run(store: Store) -> None:
    record = run(SHORT, store)
    assert record.spec.key == GOLDEN["run"]["key"]
    if same_arithmetic(bf16=True):
        assert record.metrics == GOLDEN["run"]["metrics"] and record.history.terms == GOLDEN["run"]["terms"]
    check_terms(record, "run", ce=0.01, others=0.2)  # at most 0.0014 and 0.07 were seen


def test_a_short_run_in_float32(store: Store) -> None:
    """Closer than bf16 on any processor: weight decay left out moves the self term by 4 %."""
    recipe = SHORT.recipe.model_copy(update={"precision": "fp32"})
    record = run(SHORT.model_copy(update={"recipe": recipe}), store)
    assert record.spec.key == GOLDEN["run in float32"]["key"]
    # Other threads and other convolutions moved them by at most 0.001 and 0.014.
    check_terms(record, "run in float32", ce=0.003, others=0.025)


def check_terms(record: Record, name: str, *, ce: float, others: float) -> None:
    """Compare the terms with golden ones, up to these shares."""
    for found, golden in zip(record.history.terms, GOLDEN[name]["terms"], strict=True):
        for term, values in golden.items():
            assert found[term] == pytest.approx(values, rel=ce if term == "ce" else others)
