"""What the Makefile calls. Each of these runs by itself with `python -m tools.NAME`."""
