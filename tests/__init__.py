"""Waybill's tests. A package so that `python -m tests.lock_consistency` and `tests.support` have one name everywhere."""
