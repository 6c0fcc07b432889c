"""What proves who sent a request: API keys, and the secret that signs links."""
