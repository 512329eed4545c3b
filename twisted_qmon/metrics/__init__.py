"""
The monitor in numbers, for Prometheus and for C{query-metrics}.

Start with L{Metrics<twisted_qmon.metrics.provider.Metrics>}, the provider. L{twisted_qmon.metrics.families} has the numbers,
L{twisted_qmon.metrics.server} serves them over HTTP.
"""
