"""LoRAs and IP-Adapters: weights that are put into a pipeline for one job."""
