"""The three processes of a private inference service, and a client for them."""
