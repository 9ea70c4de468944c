"""What the gateway shows of itself: counters that anyone may count in, and logs that only `app` starts."""
