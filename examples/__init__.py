"""`make demo`, and the makers of what it and the tests start from where there is no network."""
