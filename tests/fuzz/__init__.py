"""Nonsense from callers and from the upstream, by the hundred thousand: `python -m tests.fuzz` is `make fuzz`.

Every run has a seed, which is printed: the same seed mutates the same things in the same ways.
"""
