"""What the gateway shows over HTTP: whether it lives, whether it is ready, and its numbers."""
