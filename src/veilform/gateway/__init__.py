"""The gateway: an HTTP API and a page in front of a client, on the user's own machine."""
