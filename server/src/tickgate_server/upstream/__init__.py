"""Adapters to upstreams, one package for each."""
