"""The commands of `tickgate-server`, a module for those that need the same parts of the house.

Each is imported when it is called: a health check must not wait for all of a gateway to be read.
"""
