"""The strict runner: what papermill lets pass is an error."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ctsl_lib.cli.notebooks import (
    NOTEBOOKS,
    check_parameters,
    declared_parameters,
    find_notebooks,
    profile_for,
    run_notebook,
)
from ctsl_lib.errors import NotebookError
from ctsl_lib.experiments.profiles import load_profile, parse_assignments

PARAMETERS = "epochs: int = 3\nrate: float = 0.1\nflag: bool = True\nseeds: list[int] = [0, 1]"


@pytest.fixture
def make(tmp_path: Path):
    def build(*sources: str, parameters: str = PARAMETERS) -> Path:
        cells = [new_markdown_cell("# 00 · A test"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        notebook = new_notebook(cells=cells + [new_code_cell(source) for source in sources])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = tmp_path / "00_test.ipynb"
        nbformat.write(notebook, path)
        return path

    return build


def test_runs_with_parameters_and_leaves_no_traces_of_time(make, tmp_path: Path) -> None:
    path = make("print(epochs, rate, flag, seeds)")
    target = tmp_path / "deep" / "out.ipynb"
    assert run_notebook(path, target, {"epochs": 5, "flag": False}) > 0
    done = nbformat.read(target, as_version=4)
    assert done.cells[-1].outputs[0].text == "5 0.1 False [0, 1]\n"
    assert "papermill" not in target.read_text()
    before = target.read_bytes()
    run_notebook(path, target, {"epochs": 5, "flag": False})
    injected = [cell for cell in nbformat.read(target, as_version=4).cells if "injected-parameters" in str(cell)]
    assert len(injected) == 1 and len(before) == len(target.read_bytes())


@pytest.mark.slow
def test_a_widget_leaves_its_page_and_its_text_and_no_state(make, tmp_path: Path) -> None:
    source = "from ctsl_course import live\n\nlive.show(live.triangle())"
    run_notebook(make(source, "import ipywidgets\n\nipywidgets.IntSlider()"), tmp_path / "out.ipynb", {})
    done = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert [set(cell.outputs[0].data) for cell in done.cells[-2:]] == [
        {"text/html", "text/plain"},
        {"text/plain"},
    ]
    assert "widgets" not in done.metadata


def test_parameters_are_checked_against_the_declaration(make) -> None:
    path = make()
    assert declared_parameters(path)["seeds"] == (list[int], [0, 1])
    assert check_parameters(path, {"rate": 1, "epochs": 4}) == {"rate": 1.0, "epochs": 4}
    for given, message in [
        ({"epoch": 4}, "has no parameter 'epoch'; it has epochs, rate, flag, seeds"),
        ({"epochs": 1.5}, "epochs must be int .*got 1.5"),
        ({"epochs": "many"}, "epochs must be int .*got 'many'"),
        ({"flag": "false"}, "flag must be bool .*got 'false'"),
        ({"seeds": ["a"]}, r"seeds must be list\[int\] .*got \['a'\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_parameters(path, given)


def test_assignments_are_read_as_a_person_means_them() -> None:
    found = parse_assignments(["a=3", "b=1e-3", "c=false", "d=[0, 1e-2]", "e=text", "f=x=y"])
    assert found == {"a": 3, "b": 0.001, "c": False, "d": [0, 0.01], "e": "text", "f": "x=y"}
    with pytest.raises(ValueError, match="must read NAME=VALUE, got 'epochs'"):
        parse_assignments(["epochs"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "1 / 0(.|\n)*ZeroDivisionError"),
        ("import sys; sys.exit(0)", "SystemExit|ended before"),
        ("import os; os._exit(0)", "did not finish|DeadKernel"),
    ],
)
def test_a_notebook_that_stops_early_is_an_error(make, tmp_path: Path, source: str, message: str) -> None:
    path = make(source, "print('the last cell')")
    before = path.read_bytes()
    for target in (tmp_path / "out.ipynb", path):  # a failure leaves no target, or the one from before
        with pytest.raises(NotebookError, match=message):
            run_notebook(path, target, {})
    assert not (tmp_path / "out.ipynb").exists() and path.read_bytes() == before


@pytest.mark.parametrize("parameters", ["epochs = 3", "epochs: int = 3\nprint(epochs)"])
def test_parameters_need_types(make, parameters: str) -> None:
    with pytest.raises(NotebookError, match="each parameter must read `name: type = value`"):
        declared_parameters(make(parameters=parameters))


def test_notebooks_are_found_by_number(tmp_path: Path) -> None:
    for name in ("03_b.ipynb", "00_a.ipynb", "00b_c.ipynb", "draft.ipynb", "1_one_digit.ipynb", "01-x.ipynb"):
        (tmp_path / name).touch()
    assert [path.name for path in find_notebooks(folder=tmp_path)] == ["00_a.ipynb", "00b_c.ipynb", "03_b.ipynb"]
    assert [path.name for path in find_notebooks(["3", "00"], tmp_path)] == ["03_b.ipynb", "00_a.ipynb"]
    assert {find_notebooks([number], tmp_path)[0].name for number in ("0b", "00b", "00B")} == {"00b_c.ipynb"}
    for wrong in ("4", "x", "", "3b", "003", "0bb"):
        with pytest.raises(ValueError, match=f"NUMBER must be among 00, 00b, 03; got {wrong}$"):
            find_notebooks([wrong], tmp_path)


def test_profiles(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "fast.yaml").write_text("epochs: 3\nrate: 1e-3\n")
    assert load_profile("fast", tmp_path / "profiles") == {"epochs": 3, "rate": 0.001}
    assert load_profile("quick") == {}
    with pytest.raises(
        ValueError, match=r"profile must be one of fast, or the path of a \.yaml file; got 'slow'"
    ):
        load_profile("slow", tmp_path / "profiles")


def test_ranges_come_from_the_specs(make) -> None:
    path = make(parameters="epochs: int = 3\nlabel_noise: float = 0.4\nschedule: str = 'steps'\nother: int = 1")
    assert check_parameters(path, {"epochs": 1, "label_noise": 0, "other": -5}) == {
        "epochs": 1,
        "label_noise": 0.0,
        "other": -5,
    }
    for given, message in [
        ({"epochs": 0}, "epochs must be int .*got 0: Input should be greater than or equal to 1"),
        ({"label_noise": 40}, "label_noise must be float .*got 40: Input should be less than 1"),
        ({"schedule": "linear"}, "schedule must be str .*got 'linear': Input should be 'one_cycle'"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_parameters(path, given)


def test_a_cell_over_its_time_is_an_error(make, tmp_path: Path) -> None:
    endless = "import threading\nthreading.Event().wait()"
    with pytest.raises(NotebookError, match=r"did not finish|TimeoutError"):
        run_notebook(make(endless), tmp_path / "out.ipynb", {}, cell_timeout=2)


def test_a_profile_serves_several_notebooks(make, tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "fast.yaml").write_text("epochs: 7\npairs: [[a, b]]\n")
    assert profile_for(make(), "fast", tmp_path / "profiles") == {"epochs": 7}


@pytest.mark.slow
def test_plain_papermill_runs_a_table_with_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTSL_RECORDS", str(tmp_path / "records"))
    profile = tmp_path / "tiny.yaml"
    profile.write_text(
        "dataset: digits\nrun_missing: true\nn_train: 60\nseeds: 2\nepochs: 1\nbatch_size: 30\n"
        "evaluate_every: 1\npadding: 1\nmirror: false\n"
        "methods: [independent, dml]\npairs: [[tiny_cnn, tiny_cnn]]\n"
    )
    call = [sys.executable, "-m", "papermill", str(NOTEBOOKS / "10_tables.ipynb"), str(tmp_path / "out.ipynb")]
    done = subprocess.run([*call, "-f", str(profile)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "4 runs: 1 pair(s), 2 methods, 2 seeds" in (tmp_path / "out.ipynb").read_text()
    assert len(list((tmp_path / "records" / "digits").glob("*.json"))) == 4


def test_the_kernel_is_this_interpreter(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    foreign = {"argv": ["/bin/false", "{connection_file}"], "display_name": "another", "language": "python"}
    spec.write_text(json.dumps(foreign))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    run_notebook(make("import sys; print(sys.executable)"), tmp_path / "out.ipynb", {})
    assert sys.executable in (tmp_path / "out.ipynb").read_text(encoding="utf-8")


def test_annotations_are_parsed_never_run(make, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = make(parameters=f"epochs: \"[__import__('pathlib').Path('{mark}').touch()]\" = 3")
    with pytest.raises(NotebookError):
        declared_parameters(evil)
    assert not mark.exists()


def test_the_range_of_a_setting_is_that_of_the_data_set_that_is_asked_for(
    make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTSL_DATA", str(tmp_path))
    (tmp_path / "my_images").mkdir()
    path = make(parameters='dataset: str = "digits"\nn_train: "Optional[int]" = 400')
    for dataset, n_train in (("cifar100", 8000), ("my_images", None), ("digits", 800)):
        given = {"n_train": n_train, "dataset": dataset}
        assert check_parameters(path, given) == given
    with pytest.raises(
        ValueError, match=r"n_train must be .*got 8000: Input should be less than or equal to 800"
    ):
        check_parameters(path, {"n_train": 8000})
    for name in ("small", "overnight"):  # the commands of docs/real-images.md and of notebook 10
        table = NOTEBOOKS / "10_tables.ipynb"
        given = profile_for(table, name, dataset="cifar100") | {"dataset": "cifar100"}
        assert check_parameters(table, given)["n_train"] in (5000, 8000)


def test_a_data_set_that_does_not_exist_is_named(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTSL_DATA", str(tmp_path))
    (tmp_path / "my_images").mkdir()
    path = make(parameters='dataset: str = "digits"')
    assert check_parameters(path, {"dataset": "my_images/"}) == {"dataset": "my_images"}
    with pytest.raises(ValueError, match=r"dataset must be one of .*; got 'cifar10O'; did you mean 'cifar10'"):
        check_parameters(path, {"dataset": "cifar10O"})
