"""What runs in the pool's children: device, pipelines, executors, encoding. The only place for torch."""
