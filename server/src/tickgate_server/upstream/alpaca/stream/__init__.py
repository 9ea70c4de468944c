"""Alpaca's live feeds: one WebSocket for each, on a thread of its own.

    serving loop                            ‖  thread of the socket
    feed      what is wanted          ──────▶  line          connects, waits, gives up
              what happened           ◀──────  connection    greets, authenticates, subscribes
    records   frames to values                 subscriptions what is wanted, what is held
                                    handover   messages      Alpaca's words

Whatever comes back over the ‖ does so through one `Handover`, in the order in which it happened.
"""
