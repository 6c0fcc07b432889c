"""The parent process of a worker: lease, sweep, preloading and other threads. Never imports torch."""
