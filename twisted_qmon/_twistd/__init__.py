"""
What C{twistd qmon} needs of other packages: providers by name, and plugins that run beside the monitor.
"""
