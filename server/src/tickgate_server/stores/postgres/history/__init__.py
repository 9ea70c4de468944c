"""The past in PostgreSQL. docs/history-schema.md draws the tables."""
