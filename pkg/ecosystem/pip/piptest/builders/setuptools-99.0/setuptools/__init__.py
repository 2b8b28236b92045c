"""Stands in for setuptools in tests: setup() remembers what it was told."""

told = {}


def setup(**options):
    told.clear()
    told.update(options)


def find_packages(*_):
    import os
    return sorted(d for d in os.listdir(".") if os.path.exists(os.path.join(d, "__init__.py")))
