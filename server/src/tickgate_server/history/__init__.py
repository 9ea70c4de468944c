"""The past: answered from what is held, and only what is missing is fetched, once for all who ask."""
