"""The README's numbers are those of the records and of what executed notebooks print."""

import re

import pandas as pd
import pytest

from teaching import cited

PERSONS = "table=synthetic_market/small metric=mAP"
RIGHT = {
    images: f"table=digits/digits set=n_train={images};epochs={epochs};label_noise=0"
    for images, epochs in ((100, 48), (400, 12), (800, 6))
}
NOISY = f"{PERSONS} set=label_noise=0.4"
SENTENCES = (
    "| independent | {{ mean independent }} |",
    "| DML | {{ mean dml }} | {{ gain dml }} |",
    "| RKD | {{ mean rkd }} | {{ gain rkd }} |",
    "| Tf-KD | {{ mean tfkd }} | {{ gain tfkd }} |",
    "| CTSL-MKT | {{ mean ctsl_mkt }} | {{ gain ctsl_mkt }} |",
    "twice the epochs gives {{ mean twice part=mean decimals=2 }} %",
    "which is {{ diff independent twice }} points *less*",
    "the same probability reaches {{ mean uniform part=mean decimals=2 }} %",
    "cannot be told from it ({{ diff ctsl_mkt uniform }})",
    "nor can Tf-KD ({{ diff tfkd uniform }})",
    "({{ mean uniform metric=ece part=mean }} % calibration error)",
    "five times the loss ({{ diff tfkd five_times }})",
    "CTSL-MKT is above that ({{ diff ctsl_mkt five_times }})",
    'under Tf-KD\'s weights ({{ printed 05 "CTSL-MKT against large teacher: (.+?) points" }})',
    "({{ effect MLI MLR part=mean decimals=2 }}, interval {{ effect MLI MLR part=range }})",
    "as good as with it ({{ mean without_relation part=mean decimals=2 }} against "
    "{{ mean ctsl_mkt part=mean decimals=2 }} %)",
    "calibration error {{ mean dml metric=ece part=mean }} % against {{ mean independent metric=ece part=mean }} %",
    f"at 10 images per class ({{{{ diff ctsl_mkt independent_2x {RIGHT[100]} }}}})",
    f"behind it at 40 ({{{{ diff ctsl_mkt independent_2x {RIGHT[400]} }}}})",
    f"and at 80 ({{{{ diff ctsl_mkt independent_2x {RIGHT[800]} }}}})",
    f"CTSL-MKT is {{{{ diff independent ctsl_mkt {PERSONS} part=mean decimals=2 }}}} points of mAP below",
    f"independent training ({{{{ gain ctsl_mkt {PERSONS} part=range }}}})",
    f"it is {{{{ diff independent ctsl_mkt {NOISY} part=mean decimals=2 }}}} below",
    f"DML {{{{ gain dml {NOISY} part=mean decimals=2 }}}} above",
)


def plain(text: str) -> str:
    return " ".join(text.replace("**", "").replace("−", "-").split())


def unsigned(text: str) -> str:
    """A sentence that says "below", "above" or "less" has no sign before the number."""
    return re.sub(r"\b(is|DML) \+", r"\1 ", text)


def test_every_number_of_ours_is_that_of_the_records() -> None:
    readme = (cited.ROOT / "README.md").read_text(encoding="utf-8")
    section = plain(readme.partition("## What comes out")[2].partition("## The course")[0])
    for sentence in SENTENCES:
        said = unsigned(plain(cited.fill(sentence)))
        assert said in section, f"the records say: {said}"
        section = section.replace(said, "")
    assert re.findall(r"\d+\.\d+", section) == []


@pytest.mark.parametrize(
    ("side", "words"),
    [
        ("above", "gain ctsl_mkt"), ("above", "diff ctsl_mkt dml"), ("above", "diff ctsl_mkt rkd"),
        ("above", "diff ctsl_mkt tfkd"), ("open", "diff ctsl_mkt uniform"), ("above", "gain ctsl_mkt peers=mixed"),
        ("open", "gain ctsl_mkt noise=0"), ("below", "gain dml noise=0"), ("below", f"gain dml {PERSONS}"),
        ("below", f"gain rkd {PERSONS}"), ("below", f"gain tfkd {PERSONS}"), ("below", f"gain ctsl_mkt {PERSONS}"),
        ("above", f"gain dml {NOISY}"), ("below", f"gain ctsl_mkt {NOISY}"), ("below", "effect MLI MLR"),
        ("open", "diff ctsl_mkt without_relation"), ("open", "diff ctsl_mkt without_response"),
        ("above", "diff ctsl_mkt without_self"), ("open", "diff tfkd five_times"),
        ("above", "diff ctsl_mkt five_times"), ("above", "diff ctsl_mkt twice"), ("below", "diff twice independent"),
        ("below", "diff ctsl_mkt twice noise=0"), ("above", f"diff ctsl_mkt independent_2x {RIGHT[100]}"),
        ("below", f"diff ctsl_mkt independent_2x {RIGHT[400]}"),
        ("below", f"diff ctsl_mkt independent_2x {RIGHT[800]}"),
    ],
)  # fmt: skip
def test_findings_say_no_more_than_the_intervals(side: str, words: str) -> None:
    page = (cited.ROOT / "book" / "findings.md").read_text(encoding="utf-8")
    assert words in " ".join(page.split())
    mean, half = (float(part) for part in plain(cited.cite(words)).split(" ± "))
    assert side == ("open" if abs(mean) <= half else "above" if mean > 0 else "below")


def test_the_table_of_splits_is_that_of_the_search() -> None:
    folder = cited.ROOT / "data" / "search"
    table = pd.read_csv(folder / "cifar100_twice_the_epochs.csv")
    found = {}
    for candidate, mean in zip(table["candidate"], table["mean"], strict=True):
        images, epochs = (int(word.split("=")[1]) for word in candidate.split())
        found[images, epochs] = mean
    lines = (folder / "README.md").read_text(encoding="utf-8")
    for (images, epochs), accuracy in found.items():
        if (images, 2 * epochs) in found:
            twice = found[images, 2 * epochs]
            row = f"| {images:,} x {epochs} | {accuracy:.2f} | {twice:.2f} | {twice - accuracy:+.2f} |"
            assert row in lines
    assert len(found) == 6
