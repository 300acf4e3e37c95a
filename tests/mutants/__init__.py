"""Seeded bugs that must each turn a test red: `python -m tests.mutants`."""
