"""The servers that the tests need: found, or started for the length of one command."""
