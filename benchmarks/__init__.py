"""Side by side with QEMU, AMP and the bare limit: C{python -m benchmarks}."""
