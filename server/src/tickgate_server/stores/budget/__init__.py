"""The budget of upstream requests: counted in Redis where replicas share it, in this process otherwise."""
