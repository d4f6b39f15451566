"""Random canvases of the tasks in `canvas.py`: the same number makes the same canvas.

A canvas is written down as it is made: `a` a task, `a!` one that fails, `a.` an immutable one, `(a | b)` a chain, `[a, b]` a
group, `{a, b -> c}` a chord, `a*3` a map, starmap or chunks of three, `a>b` a link and `a>>b` a link_error.
"""
import random

from celery import chain, chord, group
from celery.canvas import chunks, xmap, xstarmap

from canvas import add, call, fail, note_error, tsum

DEPTH = 4
# Of tasks in one canvas, so that no canvas is most of the work. Within this, nesting is free.
ROOM = 14


class Maker:
    def __init__(self, number):
        self.number = number
        self.random = random.Random(number)
        self.made = 0
        self.shape = ""
        # How likely a task fails: in a third of the canvases none does.
        self.failing = self.random.choice([0, 0.1, 0.25])
        # What the canvas as a whole is called with.
        self.partial = self.random.choice([(), (), (7,), (7, 8)])

    def canvas(self):
        node, self.shape = self.compound(DEPTH)
        self.shape += f" with {self.partial}" if self.partial else ""
        return node

    def node(self, depth):
        if depth == 0 or self.made >= ROOM or self.random.random() < 0.45:
            return self.task()
        return self.compound(depth)

    def compound(self, depth):
        makers = [self.chain, self.chain, self.group, self.chord, self.chord, self.sums, self.many]
        node, shape = self.random.choice(makers)(depth - 1)
        return self.linked(node, shape, 0.06)

    def chain(self, depth):
        nodes, shapes = self.nodes(depth, 2, 4)
        return chain(*nodes), f"({' | '.join(shapes)})"

    def group(self, depth):
        nodes, shapes = self.nodes(depth, 1, 3)
        return group(nodes), f"[{', '.join(shapes)}]"

    def chord(self, depth):
        nodes, shapes = self.nodes(depth, 1, 4)
        body, body_shape = self.node(depth)
        return chord(nodes, body), f"{{{', '.join(shapes)} -> {body_shape}}}"

    def nodes(self, depth, least, most):
        pairs = [self.node(depth) for _ in range(self.random.randint(least, most))]
        return [node for node, _ in pairs], [shape for _, shape in pairs]

    def sums(self, depth):
        """A chord of numbers, which have a type in a guest. These tasks take no label, so a shadow bears it."""
        numbers = [self.random.randint(-9, 9) for _ in range(self.random.randint(1, 3))]
        parts = [add.si(n, 1).set(shadow=self.label("n")) for n in numbers]
        body = tsum.s().set(shadow=self.label("s"))
        return chord(parts, body), f"{{+{numbers}}}"

    def many(self, depth):
        """One task for each of many arguments. Celery drops the label on the way to the task, but the message has it."""
        label = self.label("m")
        task = call.s(label=label)
        count = self.random.randint(1, 4)
        match self.random.randrange(3):
            case 0:
                node = xmap(task, list(range(count)))
            case 1:
                node = xstarmap(task, [(n, -n) for n in range(count)])
            case _:
                node = chunks(task, [(n, -n) for n in range(count)], 2).group()
        return node, f"{label}*{count}"

    def task(self):
        fails = self.random.random() < self.failing
        label = self.label("f" if fails else "t")
        shape = f"{label}!" if fails else label
        args = [self.random.randint(0, 9) for _ in range(self.random.randrange(3))]
        options = {"label": label}
        if self.random.random() < 0.2:
            options["sleep"] = self.random.choice([0.01, 0.03])
        if not fails and self.random.random() < 0.1:
            options["extra"] = {"b": [1, None], "a": True}
        node = (fail if fails else call).s(*args, **options)
        if self.random.random() < 0.12:
            node.set(immutable=True)
            shape += "."
        return self.linked(node, shape, 0.08)

    def linked(self, node, shape, likely):
        if self.random.random() < likely:
            label = self.label("l")
            node.link(call.s(label=label))
            shape += f">{label}"
        if self.random.random() < likely * 2:
            label = self.label("e")
            node.link_error(note_error.s(label=label))
            shape += f">>{label}"
        return node, shape

    def label(self, kind):
        self.made += 1
        return f"{self.number}.{kind}{self.made}"
