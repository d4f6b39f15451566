"""The task of guest-tasks/divide as a Python worker has it. The tests hold what they expect of `host` against this."""
import time

from celery import Celery

celery = Celery("app")


@celery.task(name="app.divide")
def divide(x, y, sleep=None):
    if sleep is not None:
        time.sleep(sleep)
    return x / y
