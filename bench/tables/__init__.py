"""The tables of docs/, from bench/results/*.json."""
