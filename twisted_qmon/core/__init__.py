"""
What a monitor is: commands, requests, events. No bytes, no transport, no reactor.
"""
