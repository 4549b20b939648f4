"""What an inference costs, known before it runs."""
