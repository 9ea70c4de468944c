"""Measured comparisons, side by side in one run: `make bench`.

Numbers are for people: no benchmark fails because of one. What fails is a measurement that cannot be trusted.
"""
