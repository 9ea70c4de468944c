"""Who follows what, and what each has not read yet.

A `Hub` holds one feed and is told of every record. It puts each into the boxes of those who follow it, and nothing
there ever waits for a reader. Behind the boxes everything goes at the reader's pace: a `Mailbox` hands out the mail of
one stream message by message, no faster than it is acknowledged.
"""
