"""A task of the guest `observe` as a Python worker has it, for fleets of both: whoever takes its message runs it.

This worker is as careful as Celery's can be: it acknowledges late and takes no more messages than it has threads.
"""
import os
import time

from celery import Celery, bootsteps

celery = Celery("fleet")
celery.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={
        "visibility_timeout": float(os.environ["VISIBILITY_TIMEOUT"]),
        # A worker that is killed while it restores messages leaves its lock behind, by default for five minutes.
        "unacked_mutex_expire": 5,
    },
)


@celery.task(name="observe.sleep_for")
def sleep_for(seconds):
    time.sleep(seconds)
    return seconds


class RestoreOften(bootsteps.StartStopStep):
    """Restores overdue messages twice a second. Celery itself does so about every 100 s, and 5.4 has no option for it."""

    requires = {"celery.worker.consumer.tasks:Tasks"}

    def start(self, consumer):
        restore = consumer.task_consumer.channel.qos.restore_visible
        consumer.timer.call_repeatedly(0.5, restore, kwargs={"interval": 1})


celery.steps["consumer"].add(RestoreOften)
