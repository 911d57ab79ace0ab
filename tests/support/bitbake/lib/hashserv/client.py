"""bb.siggen imports this module and asks nothing of it until a server is used."""
