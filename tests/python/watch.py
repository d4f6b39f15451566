"""Sees everything that workers and clients write to a Redis, and tells what became of each task.

It reads Redis's own log of commands (`MONITOR`), so it needs nothing from a worker.
"""
import ast
import base64
import json
import re
import socket
import threading
import time
from collections import defaultdict

import redis

WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
RESULT = b"celery-task-meta-"
QUEUE_LISTS = ["celery", "celery\x06\x163", "celery\x06\x166", "celery\x06\x169"]
# What else waits in `host`, the chords that are complete among it.
WAITING = ["host:delayed", "host:parked", "host:chords:since"]


class Watch:
    def __init__(self, url):
        self.redis = redis.Redis.from_url(url)
        self.names = {}  # of tasks, by id
        self.members = defaultdict(set)  # labels of each group's members
        self.messages = {}  # headers and arguments of each task that was sent, by id
        self.places = defaultdict(set)  # ids of a chord's parts, by the chord's group and the place in it
        self.sent = defaultdict(set)  # delivery tags under which each task was sent
        self.stored = defaultdict(list)  # results of each task, in order
        self.in_bodies = set()  # labels of what is in the body of some chord
        self.markers = set()
        port = self.redis.connection_pool.connection_kwargs["port"]
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(b"MONITOR\r\n")
        lines = connection.makefile("rb")
        assert lines.readline() == b"+OK\r\n"
        threading.Thread(target=self.follow, args=[lines], daemon=True).start()

    def follow(self, lines):
        for line in lines:
            if RESULT in line or b"body_encoding" in line or b"marker" in line:
                words = [ast.literal_eval(f'b"{word.decode()}"') for word in WORD.findall(line)]
                self.take(words[0].lower(), *words[1:])

    def take(self, command, key=b"", *values):
        if command == b"echo":
            self.markers.add(key)
        elif command == b"publish" and key.startswith(RESULT):
            meta = json.loads(values[0])
            self.stored[meta["task_id"]].append(meta)
        elif command in (b"lpush", b"rpush") and key.decode() in QUEUE_LISTS:
            for value in values:
                self.take_message(json.loads(value))

    def take_message(self, envelope):
        headers = envelope["headers"]
        args, kwargs, embed = json.loads(base64.b64decode(envelope["body"]))
        label = label_of(kwargs, headers) or f"{headers['task']}{args}"
        if headers["task"] == "celery.starmap":
            label += f"#{headers.get('group_index')}"
        name = self.name(headers["id"], label)
        if headers.get("group"):
            self.members[headers["group"]].add(name)
        self.sent[headers["id"]].add(envelope["properties"]["delivery_tag"])
        self.messages.setdefault(headers["id"], (headers, args))
        if embed.get("chord"):
            self.places[headers.get("group"), headers.get("group_index")].add(headers["id"])
        self.learn(embed.get("callbacks"), False)
        self.learn(embed.get("errbacks"), False)
        self.learn(embed.get("chain"), False)
        self.learn(embed.get("chord"), True)

    def learn(self, value, in_body):
        """The ids and labels in a signature, or in a list of them."""
        if isinstance(value, list):
            for one in value:
                self.learn(one, in_body)
        if not isinstance(value, dict):
            return
        kwargs, options = value.get("kwargs") or {}, value.get("options") or {}
        label = label_of(kwargs, options)
        if label and in_body:
            self.in_bodies.add(label)
        if label and options.get("task_id"):
            self.name(options["task_id"], label)
        for inner in ("tasks", "header", "task"):
            self.learn(kwargs.get(inner), in_body)
        self.learn(kwargs.get("body"), True)
        for inner in ("link", "link_error", "chain"):
            self.learn(options.get(inner), in_body)
        self.learn(options.get("chord"), True)

    def name(self, id, label):
        return self.names.setdefault(id, label)

    def until_quiet(self, patience):
        """Waits until no message waits or is held, and what was written so far has been seen here."""
        give_up = time.monotonic() + patience
        quiet = 0
        while quiet < 5:
            left = self.left()
            quiet = 0 if left else quiet + 1
            if time.monotonic() > give_up:
                raise SystemExit(f"after {patience} s there are still messages: {left}")
            time.sleep(0.05)
        marker = f"marker {time.monotonic()}"
        self.redis.echo(marker)
        while marker.encode() not in self.markers:
            time.sleep(0.01)

    def left(self):
        """How many messages there are, by the key that has some."""
        pipe = self.redis.pipeline()
        for list in QUEUE_LISTS:
            pipe.llen(list)
        pipe.hlen("unacked")
        for set in WAITING:
            pipe.zcard(set)
        return {key: count for key, count in zip([*QUEUE_LISTS, "unacked", *WAITING], pipe.execute()) if count}

    def facts(self, prefix):
        """What became of the tasks whose labels begin so, and whether chance had a hand in it: two parts of a chord had the
        same place in it, so that their ids say which result comes first, or two tasks had one id."""
        seen, chance = {}, False
        for id, label in list(self.names.items()):
            if not label.startswith(prefix):
                continue
            if id in self.messages:
                headers, args = self.messages[id]
                place = headers.get("group"), headers.get("group_index")
                chance |= len(self.places[place]) > 1 or len(self.sent[id]) > 1
                seen[f"{label} sent"] = len(self.sent[id])
                seen[f"{label} args"] = self.readable(args)
                # The place shows in the order of results. Where there are none, Celery gives a group in a group one for all.
                seen[f"{label} group"] = self.readable(headers.get("group") or "none")
                # Whichever part of a chord ends last sends the body.
                if label.split("#")[0] not in self.in_bodies:
                    seen[f"{label} parent, root"] = self.readable([headers.get("parent_id"), headers.get("root_id")])
            if self.stored[id]:
                meta = self.stored[id][-1]
                seen[f"{label} result"] = self.readable([meta["status"], meta["result"]])
                # To the body of a chord that failed, Celery gives no group and the children of the part that ended last.
                if "ChordError" not in json.dumps(meta["result"]):
                    seen[f"{label} children"] = self.readable(children(meta.get("children")))
                    seen[f"{label} stored with"] = self.readable(meta.get("group_id"))
        return seen, chance

    def readable(self, value):
        """The same with names instead of ids."""
        text = value if isinstance(value, str) else json.dumps(value)
        return UUID.sub(lambda id: self.readable_id(id.group()), text)

    def readable_id(self, id):
        if id in self.names:
            return self.names[id]
        if id in self.members:
            return f"group of {', '.join(sorted(self.members[id]))}"
        return "somebody"


def children(tuples):
    """Results as `children` has them. The ids of groups within are dropped: for a chord inside a chain, Celery makes one up
    that is not the group's."""
    if tuples is None:
        return None
    return [result(one) for one in tuples]


def result(tuple):
    (id, parent), members = tuple
    parent = parent and result(parent)
    return [id, parent] if members is None else [parent, children(members)]


def label_of(kwargs, options):
    """Of a task that takes a label, of one that has it for a shadow, or of a map."""
    task = kwargs.get("task")
    return (
        kwargs.get("label")
        or options.get("shadow")
        or (label_of(task.get("kwargs") or {}, {}) if isinstance(task, dict) else None)
    )
