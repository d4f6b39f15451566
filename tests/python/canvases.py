"""Builds random canvases, applies them with Celery's client, waits until nothing moves any more, and prints all that was seen.

    python canvases.py FIRST COUNT PATIENCE      canvases number FIRST and so on, PATIENCE in seconds

What is printed is a JSON list with, for each canvas, its number, its shape, whether it came to an `end`, whether the order of
its results was left to `chance`, and `seen`: an object of facts by name. Ids are random, so in all facts a task's id is
replaced by its label, and a group's by the labels of its members. The same numbers give the same canvases; workers that
agree give the same facts. `watch.py` gathers them, `shapes.py` makes the canvases.
"""
import functools
import json
import sys

from celery.exceptions import TimeoutError
from celery.result import GroupResult

from canvas import celery
from shapes import Maker
from watch import Watch

# How many are under way at the same time.
BATCH = 50


def main(first, count, patience):
    watch = Watch(celery.conf.broker_url)
    # A client that waits in vain looks at the clock once a second; many would do so here, one after the other.
    drainer = celery.backend.result_consumer.drainer
    drainer.drain_events_until = functools.partial(drainer.drain_events_until, interval=0.02)
    seen = []
    for begin in range(first, first + count, BATCH):
        numbers = range(begin, min(begin + BATCH, first + count))
        makers = [Maker(number) for number in numbers]
        applied = [(maker, *apply(maker)) for maker in makers]
        watch.until_quiet(patience)
        seen += [facts(watch, *canvas) for canvas in applied]
    json.dump(seen, sys.stdout)


def apply(maker):
    """The result of a new canvas and its shape. `None` when the client itself could not send it."""
    canvas = maker.canvas()
    shape = maker.shape
    try:
        return canvas.apply_async(maker.partial), shape
    except Exception as error:
        return None, f"{shape} cannot be sent: {error!r}"


def facts(watch, maker, result, shape):
    seen, chance = watch.facts(f"{maker.number}.")
    end = result is None or result.ready()
    if result is not None:
        seen["get"] = outcome(watch, result)
        seen["walk"] = walk(watch, result)
    return {"number": maker.number, "shape": shape, "end": end, "chance": chance, "seen": seen}


def outcome(watch, result):
    """What the caller gets, now that all has come to an end."""
    try:
        return watch.readable(result.get(timeout=0.1, interval=0.01))
    except TimeoutError:
        return "nothing"
    except Exception as error:
        return watch.readable(f"raises {type(error).__name__}{error.args}")


def walk(watch, result):
    """State and value of every result that the client can reach from this one, of tasks that were sent."""
    steps = []
    seen = set()
    queue = [result]
    while queue:
        node = queue.pop(0)
        if node is None or node.id in seen:
            continue
        seen.add(node.id)
        queue.append(node.parent)
        if isinstance(node, GroupResult):
            queue.extend(node.results)
        elif node.id in watch.messages:
            steps.append(watch.readable(f"{node.id} {node.state} {node.result!r}"))
            queue.extend(node.children or [])
    return sorted(steps)


main(*map(int, sys.argv[1:]))
