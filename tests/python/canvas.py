"""The tasks of the guest `canvas` as a Python worker has them. Canvases of them must come out the same, whoever runs them.

Each result is a text that says what was called with what, so that a wrong order or a lost argument shows in it.
"""
import time

from celery import Celery

celery = Celery("canvas")
# Late, so that a message is held until all that follows from it is sent: then nothing held means nothing to come.
celery.conf.task_acks_late = True


@celery.task
def add(x, y):
    return x + y


@celery.task
def mul(x, y):
    return x * y


@celery.task
def tsum(numbers):
    return sum(numbers)


@celery.task
def call(*args, label="call", sleep=0, **kwargs):
    time.sleep(sleep)
    words = [render(value) for value in args]
    words += [f"{name}={render(kwargs[name])}" for name in sorted(kwargs)]
    return shortened(f"{label}({','.join(words)})")


@celery.task
def fail(*args, label="fail", sleep=0):
    time.sleep(sleep)
    raise ValueError(label)


@celery.task
def note_error(id, *, label="note_error"):
    """An errback that takes one argument: Celery sends it as a task of its own, and does not call it on the spot."""
    return f"{label}({id})"


def render(value):
    match value:
        case str():
            return value
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return f"[{','.join(map(render, value))}]"
        case dict():
            return f"{{{','.join(f'{name}:{render(value[name])}' for name in sorted(value))}}}"
    return str(value)


def shortened(text):
    """Where each of many tasks gets the results of many, texts would grow out of hand. The hash is FNV-1a."""
    if len(text) <= 400:
        return text
    hash = 0xCBF29CE484222325
    for byte in text.encode():
        hash = (hash ^ byte) * 0x100000001B3 % 2**64
    return f"{text[:60]}#{hash:016x}"
