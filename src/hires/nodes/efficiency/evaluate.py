"""Small expressions over numbers and texts, read by a parser of their own: nothing of Python can be reached."""

from __future__ import annotations

import ast
import logging
import math
import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from hires.errors import SettingError
from hires.graph.declare import NodeResult, node
from hires.graph.inputs import Float, Int, OptionalInput, Text
from hires.nodes.efficiency.values import WordOff

log = logging.getLogger(__name__)

CATEGORY = "Efficiency Nodes/Simple Eval"
LONGEST = 4096
"""Characters of an expression or of a text that it makes; also the bits of a whole number."""
DEEPEST = 64

Value = bool | int | float | str
Numbers = Annotated[int, Int(-48_000, 48_000), OptionalInput]
Reals = Annotated[float, Float(-1.7976931348623157e308, 1.7976931348623157e308, 1.0), OptionalInput]
Texts = Annotated[str, Text(), OptionalInput]
Expression = Annotated[str, Text()]

BINARY: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
COMPARE: Mapping[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
UNARY: Mapping[type[ast.AST], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
}  # fmt: skip
CALLS: Mapping[str, Callable[..., Any]] = {
    "int": int, "float": float, "str": str, "abs": abs, "round": round, "min": min, "max": max, "len": len,
}  # fmt: skip


def evaluate(expression: str, names: Mapping[str, Value]) -> Value:
    """The value of an expression of numbers, texts, the names, + - * / // % **, comparisons, `x if c else y`, and/or,
    and the functions of CALLS. SettingError for anything else."""
    try:
        if len(expression) > LONGEST:
            raise ValueError(f"longer than {LONGEST} characters")
        return _value(ast.parse(expression.strip(), mode="eval").body, names, 0)
    except (ValueError, SyntaxError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise SettingError(f"the expression {expression[:80]!r} has no value: {reason}") from None


def _value(tree: ast.AST, names: Mapping[str, Value], depth: int) -> Value:
    if depth > DEEPEST:
        raise ValueError("too deeply nested")

    def of(part: ast.AST) -> Any:
        return _value(part, names, depth + 1)

    match tree:
        case ast.Constant(value=bool() | int() | float() | str()):
            return _bounded(tree.value)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return _combined(type(op), of(left), of(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            result: Value = UNARY[type(op)](of(operand))
            return result
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARE:
            return COMPARE[type(op)](of(left), of(right))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            chosen: Value = of(body) if of(test) else of(orelse)
            return chosen
        case ast.BoolOp(op=op, values=values):
            return _joined(isinstance(op, ast.And), [of(part) for part in values])
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in CALLS:
            return _bounded(CALLS[name](*(of(part) for part in arguments)))
    raise ValueError(f"{ast.unparse(tree)[:40]!r} is not understood")


def _combined(op: type[ast.AST], left: Value, right: Value) -> Value:
    """The result of an operator, refused beforehand where it would fill the memory."""
    if op is ast.Mult and isinstance(left, str) != isinstance(right, str):
        text, times = (left, right) if isinstance(left, str) else (right, left)
        if isinstance(text, str) and isinstance(times, int) and len(text) * times > LONGEST:
            raise ValueError("the text would be too long")
    if op is ast.Mod and isinstance(left, str):
        raise ValueError("texts are not formatted by %")
    if op is ast.Pow and isinstance(left, int | float) and isinstance(right, int | float):
        bits = math.log2(abs(left)) * right if left else 0
        if isinstance(left, int) and isinstance(right, int) and bits > LONGEST:
            raise ValueError("the power is too large")
    return _bounded(BINARY[op](left, right))


def _bounded(value: Any) -> Value:
    if isinstance(value, complex) or not isinstance(value, bool | int | float | str):
        raise ValueError("it is neither a real number nor a text")
    too_long = isinstance(value, str) and len(value) > LONGEST
    if too_long or (isinstance(value, int) and value.bit_length() > LONGEST):
        raise ValueError("it is too long")
    return value


def _joined(all_of: bool, values: list[Value]) -> Value:
    for value in values[:-1]:
        if bool(value) != all_of:
            return value
    return values[-1]


def _numbers(expression: str, names: Mapping[str, Value], shown: str) -> NodeResult:
    value = evaluate(expression, names)
    try:
        outputs = (int(value), float(value), str(value))
    except (ValueError, OverflowError):
        message = f"the expression {expression[:80]!r} gives {str(value)[:40]!r}, which is no number"
        raise SettingError(message) from None
    if shown == "True":
        log.info("%s = %s", expression, value)
    return NodeResult(outputs, ui={"text": [str(value)]})


@node("Evaluate Integers", category=CATEGORY, outputs=("INT", "FLOAT", "STRING"), is_output=True)
def evaluate_integers(
    *,
    python_expression: Expression = "((a + b) - c) / 2",
    print_to_console: WordOff,
    a: Numbers = 0,
    b: Numbers = 0,
    c: Numbers = 0,
) -> NodeResult:
    """The value of an expression as whole number, number and text."""
    return _numbers(python_expression, {"a": a, "b": b, "c": c}, print_to_console)


@node("Evaluate Floats", category=CATEGORY, outputs=("INT", "FLOAT", "STRING"), is_output=True)
def evaluate_floats(
    *,
    python_expression: Expression = "((a + b) - c) / 2",
    print_to_console: WordOff,
    a: Reals = 0.0,
    b: Reals = 0.0,
    c: Reals = 0.0,
) -> NodeResult:
    """The value of an expression as whole number, number and text."""
    return _numbers(python_expression, {"a": a, "b": b, "c": c}, print_to_console)


@node("Evaluate Strings", category=CATEGORY, outputs=("STRING",), is_output=True)
def evaluate_strings(
    *,
    python_expression: Expression = "a + b + c",
    print_to_console: WordOff,
    a: Texts = "Hello",
    b: Texts = " World",
    c: Texts = "!",
) -> NodeResult:
    """The value of an expression as text."""
    value = str(evaluate(python_expression, {"a": a, "b": b, "c": c}))
    if print_to_console == "True":
        log.info("%s = %s", python_expression, value)
    return NodeResult((value,), ui={"text": [value]})
