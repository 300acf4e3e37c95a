"""The data plane: Celery workers for routing, provider calls and dead letters, and the janitor."""
