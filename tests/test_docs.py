"""A public function with two or more parameters documents each of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ctsl_lib

ROOT = Path(ctsl_lib.__file__).parent.parent
PACKAGES = ("ctsl_lib", "ctsl_check", "ctsl_share")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
REGISTERS = ("register", "term", "metric", "command", "callback")
"""Decorators whose functions all have one signature, which the decorator documents; for commands their help does."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(tree: ast.Module) -> Iterator[Function]:
    for node in tree.body:
        if isinstance(node, Function):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (member for member in node.body if isinstance(member, Function))


def registers(decorator: ast.expr) -> bool:
    call = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")) in REGISTERS


def undocumented(source: str) -> list[str]:
    names = []
    for function in public_functions(ast.parse(source)):
        given = function.args
        parameters = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        parameters += [argument.arg for argument in (given.vararg, given.kwarg) if argument is not None]
        count = len([name for name in parameters if name not in ("self", "cls")])
        private = function.name.startswith("_") or any(map(registers, function.decorator_list))
        if count >= 2 and not private and "Args:" not in (ast.get_docstring(function) or ""):
            names.append(function.name)
    return names


def test_what_counts_as_documented() -> None:
    assert undocumented("def f(a): ...\ndef _g(a, b): ...\n@register('h')\ndef h(a, b): ...") == []
    assert undocumented("def f(a, *, b): ...") == ["f"]
    assert undocumented("class A:\n  def f(self, a): ...\n  def g(self, a, b):\n    'Do.'") == ["g"]
    assert undocumented('def f(a, b):\n  """Do.\n\n  Args:\n    a: one.\n    b: two."""') == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_with_several_parameters_document_them(path: Path) -> None:
    assert undocumented(path.read_text(encoding="utf-8")) == []
