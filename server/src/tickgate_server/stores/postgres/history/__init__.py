"""The past in PostgreSQL. docs/history.md draws the tables."""
