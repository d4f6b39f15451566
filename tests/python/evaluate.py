"""Runs pieces of Python code, a JSON list of them on standard input, and prints the values of their last expressions.

Each piece has its own names, beside these: the tutorial's `app` module with its `celery` and `divide`, `Result(id)` for a
result known only by its id, and `raised(function, ...)`. Exceptions are printed as `module.Class('argument', ...)`.
"""
import ast
import json
import signal
import sys

from celery.result import AsyncResult

from app import celery, divide


def raised(function, *args, **kwargs):
    """The exception that the call raises."""
    try:
        value = function(*args, **kwargs)
    except Exception as exception:
        return exception
    return f"nothing raised, but returned {value!r}"


def evaluate(code):
    names = {"celery": celery, "divide": divide, "Result": AsyncResult, "raised": raised}
    *statements, last = ast.parse(code).body
    try:
        exec(compile(ast.Module(statements, []), "<test>", "exec"), names)
        return eval(compile(ast.Expression(last.value), "<test>", "eval"), names)
    except Exception:
        print(f"in the test's code:\n{code}", file=sys.stderr)
        raise


def readable(value):
    """What JSON has no word for."""
    if isinstance(value, BaseException):
        return f"{type(value).__module__}.{value!r}"
    return repr(value)


signal.alarm(120)  # Ends the process: a client that waits for ever fails its test.
values = [evaluate(code) for code in json.load(sys.stdin)]
print(json.dumps(values, default=readable))
