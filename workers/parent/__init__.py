"""The parent process of a worker: leases, sweeps and threads. Never imports torch."""
