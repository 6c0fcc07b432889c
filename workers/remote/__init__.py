"""Back ends: servers of others that compute jobs over HTTP. Does not import torch."""
