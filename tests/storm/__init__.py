"""The suite that tries to break the gateway: every call under every fault, judged by an oracle of its own.

`python -m tests.storm --minutes 10` is `make faults`; docs/faults.md says what is thrown and how to read the report.
Nothing here but `stage` starts a part of the gateway, and nothing at all imports it.
"""
