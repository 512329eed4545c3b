"""The load: the workloads, and clients in processes of their own."""
