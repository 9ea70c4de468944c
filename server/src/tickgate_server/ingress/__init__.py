"""The validation pipeline: a raw upstream record becomes a market value or a reasoned refusal.

Nothing behind this package sees a record that has not passed it.
"""
