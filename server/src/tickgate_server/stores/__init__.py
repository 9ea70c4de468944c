"""What outlives a call outside of this process: the cache and the budget that replicas share, and the error log."""
