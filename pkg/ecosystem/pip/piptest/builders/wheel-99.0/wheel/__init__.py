"""Stands in for wheel in tests: builds ask for it, and use nothing of it."""
