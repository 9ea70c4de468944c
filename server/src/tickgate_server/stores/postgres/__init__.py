"""PostgreSQL: what is kept for good. Without it the gateway serves the same, and forgets when it ends."""
