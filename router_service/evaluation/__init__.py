"""Measurements of the running system, as commands that print numbers."""
