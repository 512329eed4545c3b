"""
What C{twistd qmon} needs besides a monitor: providers by name (start with L{twisted_qmon._twistd.plugins}), the plugin that runs
beside the monitor (L{twisted_qmon._twistd.hosting}), signals, and errors at the start.
"""
