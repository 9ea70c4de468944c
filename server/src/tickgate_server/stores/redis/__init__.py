"""Redis, for what replicas share. Nothing here may ever be a caller's problem."""
