"""
Side by side with QEMU, AMP and the bare limit: C{python -m benchmarks} prints one table.

L{benchmarks.sections} lists what is measured. In L{benchmarks.load} are the workloads and the clients that make them, in
L{benchmarks.servers} what is compared, in L{benchmarks.cost} what needs no load from outside, in L{benchmarks.report} the
figures, the tables and the charts.
"""
