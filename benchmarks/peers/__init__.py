"""What others would run instead of the gateway, as small programs of our own, measured beside it."""
