"""The task that the speed table is about, for Celery's own worker."""
from celery import Celery

celery = Celery("app")


@celery.task
def divide(x, y):
    return x / y
