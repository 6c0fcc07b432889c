"""What goes over the wire: messages of JSON-RPC, the eras of the protocol, and the ids of events."""
