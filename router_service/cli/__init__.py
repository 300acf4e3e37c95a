"""The command `waybill`: a client of the API, and the way to start each role of the service."""
