"""The weather, in the monitor of any Twisted process."""
