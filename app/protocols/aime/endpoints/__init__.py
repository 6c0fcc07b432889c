"""The endpoints of a server: their configuration files, parsed and checked."""
