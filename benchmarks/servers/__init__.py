"""The servers that are compared, each in a process of its own: ours, and the least that could answer the same load."""
