"""The task of the fault suite as Celery's own worker has it. It says on the worker's standard error when it runs."""
import os
import time

from celery import Celery

celery = Celery("faults")


@celery.task(name="observe.sleep_for", bind=True)
def sleep_for(self, seconds):
    # Past Python's buffers and Celery's log, so that it is said even when the worker dies at once.
    os.write(2, f"started [{self.request.id}]\n".encode())
    time.sleep(seconds)
    return seconds
