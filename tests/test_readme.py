"""The README's numbers are those of the records and of what executed notebooks print."""

import re

import pandas as pd
import pytest

from teaching import cited

PERSONS = "table=synthetic_market/small metric=mAP"
RIGHT = {
    images: f"n_train={images} epochs={epochs} label_noise=0"
    for images, epochs in ((100, 48), (400, 12), (800, 6))
}
NOISY = f"{PERSONS} label_noise=0.4"
NOISY_SPLITS = [f"n_train={n} epochs={e}" for n, e in ((100, 48), (200, 24), (400, 12), (800, 6))]
MAP = [*NOISY_SPLITS, *(f"{split} label_noise=0" for split in NOISY_SPLITS)]
SENTENCES = (
    "| independent | {{ mean independent }} |",
    "| DML | {{ mean dml }} | {{ gain dml }} |",
    "| RKD | {{ mean rkd }} | {{ gain rkd }} |",
    "| Tf-KD | {{ mean tfkd }} | {{ gain tfkd }} |",
    "| CTSL-MKT | {{ mean ctsl_mkt }} | {{ gain ctsl_mkt }} |",
    "twice the epochs gives {{ mean independent_2x part=mean decimals=2 }} %",
    "which is {{ diff independent independent_2x }} points *less*",
    "under five times the loss, reaches {{ mean uniform part=mean decimals=2 }} %",
    "cannot be told from it ({{ diff ctsl_mkt uniform }})",
    "nor can Tf-KD ({{ diff tfkd uniform }})",
    "({{ mean uniform metric=ece part=mean }} % calibration error)",
    'is still ahead ({{ printed 05 "CTSL-MKT against independent, 2× epochs, own recipe: (.+?) points" }})',
    "from 10 images per class ({{ diff ctsl_mkt uniform n_train=100 epochs=48 }})",
    "to 80 ({{ diff ctsl_mkt uniform n_train=800 epochs=6 }})",
    "Neither Tf-KD ({{ diff tfkd five_times }})",
    "nor DML ({{ diff dml five_times }})",
    "CTSL-MKT is above that ({{ diff ctsl_mkt five_times }})",
    'under Tf-KD\'s weights ({{ printed 05 "CTSL-MKT against large teacher: (.+?) points" }})',
    "({{ effect MLI MLR part=mean decimals=2 }}, interval {{ effect MLI MLR part=range }})",
    "as good as with it ({{ mean MLI+SLI part=mean decimals=2 }} against "
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


MAIN_ROWS = {
    "independent": "independent",
    "independent, twice the epochs": "independent_2x",
    "DML": "dml",
    "RKD": "rkd",
    "Tf-KD": "tfkd",
    "CTSL-MKT": "ctsl_mkt",
}
PARTS = {
    "CTSL-MKT, warm start": "ctsl_mkt_warm",
    "without self knowledge": "MLI+MLR",
    "without relation knowledge": "MLI+SLI",
    "without response knowledge": "MLR+SLI",
}


@pytest.mark.parametrize("name", [*MAIN_ROWS, *PARTS])
def test_the_rows_on_real_images_are_those_of_the_records(name: str) -> None:
    readme = (cited.ROOT / "README.md").read_text(encoding="utf-8")
    short, method = ("@long", MAIN_ROWS[name]) if name in MAIN_ROWS else ("@parts", PARTS[name])
    seeds = cited.SHORT[short].rpartition("seeds=")[2]
    means = [
        f"{{{{ mean {method} {short} part=mean metric={metric} }}}}" for metric in ("top1", "ece", "agreement")
    ]
    gain = f"{{{{ gain {method} {short} }}}}" if method != "independent" else "–"
    row = f"| {name} | {seeds} | {' | '.join([means[0], gain, *means[1:]])} |"
    assert plain(cited.fill(row)) in plain(readme.partition("## What we know on real images")[2])


VOTE = r"\d(?:, \d)* \d+\.\d+ (\d+\.\d+)"
SENTENCES_ON_REAL_IMAGES = (
    "its rival of equal cost, twice the epochs ({{ diff ctsl_mkt independent_2x @long }})",
    "above what costs half, DML ({{ diff ctsl_mkt dml @long }})",
    "and RKD ({{ diff ctsl_mkt rkd @long }}); from Tf-KD",
    "it is not told apart ({{ diff ctsl_mkt tfkd @long }})",
    "without self knowledge ({{ diff ctsl_mkt MLI+MLR @parts }})",
    "without responses ({{ diff ctsl_mkt MLR+SLI @parts }})",
    "without relations ({{ diff ctsl_mkt MLI+SLI @parts }})",
    'the mean of their answers (seeds {{ printed 22 "independent (\\d(?:, \\d)*) \\d+\\.\\d+ \\d+\\.\\d+" }})',
    f'alone reach {{{{ printed 22 "independent {VOTE}" }}}} %, '
    f'and {{{{ printed 22 "independent, 2× epochs {VOTE}" }}}} % after twice the epochs',
    f'each other by DML {{{{ printed 22 "DML {VOTE}" }}}} %, by CTSL-MKT {{{{ printed 22 "CTSL-MKT {VOTE}" }}}} %',
)


@pytest.mark.parametrize("sentence", SENTENCES_ON_REAL_IMAGES)
def test_what_is_said_of_real_images_is_in_the_records(sentence: str) -> None:
    readme = (cited.ROOT / "README.md").read_text(encoding="utf-8")
    assert plain(cited.fill(sentence)) in plain(readme.partition("## What we know on real images")[2])


SIDES = {
    "above": (
        "diff ctsl_mkt nine_times",
        f"gain dml {NOISY_SPLITS[0]}",
        f"diff dml uniform {NOISY_SPLITS[0]}",
        f"diff ctsl_mkt nine_times {RIGHT[100]}",
        "gain ctsl_mkt",
        "gain ctsl_mkt peers=tiny_cnn+tiny_resnet",
        "diff ctsl_mkt dml",
        "diff ctsl_mkt rkd",
        "diff ctsl_mkt tfkd",
        "diff ctsl_mkt five_times",
        "diff ctsl_mkt MLI+MLR",
        "diff ctsl_mkt independent_2x",
        f"diff ctsl_mkt independent_2x {RIGHT[100]}",
        f"gain dml {NOISY}",
    ),
    "open": (
        *(f"diff ctsl_mkt uniform {split}" for split in MAP),
        f"gain tfkd {NOISY_SPLITS[0]}",
        "diff dml five_times",
        "diff rkd five_times",
        "gain ctsl_mkt label_noise=0",
        "diff ctsl_mkt uniform",
        "diff ctsl_mkt MLI+SLI",
        "diff ctsl_mkt MLR+SLI",
        "diff tfkd five_times",
    ),
    "below": (
        f"diff ctsl_mkt dml {NOISY_SPLITS[0]}",
        f"diff ctsl_mkt nine_times {RIGHT[800]}",
        "gain dml label_noise=0",
        "effect MLI MLR",
        "diff independent_2x independent",
        "diff ctsl_mkt independent_2x label_noise=0",
        f"diff ctsl_mkt independent_2x {RIGHT[400]}",
        f"diff ctsl_mkt independent_2x {RIGHT[800]}",
        f"gain dml {PERSONS}",
        f"gain rkd {PERSONS}",
        f"gain tfkd {PERSONS}",
        f"gain ctsl_mkt {PERSONS}",
        f"gain ctsl_mkt {NOISY}",
    ),
}
"""On which side of zero the page "What we found" says that an interval lies."""


@pytest.mark.parametrize(("side", "words"), [(side, words) for side, many in SIDES.items() for words in many])
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
