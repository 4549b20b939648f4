"""Two-party protocols with a dealer, as generators that yield effects and do no I/O."""
