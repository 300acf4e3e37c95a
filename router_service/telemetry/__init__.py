"""Logs and metrics. Neither ever holds a prompt, an answer or a secret."""
