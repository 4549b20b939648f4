"""What a private inference will take, in seconds and money, before anything runs."""
