//! Celery's wire format (protocol 2 and, for reading, 1): bytes to words and back. Pure: no I/O, no clock.
