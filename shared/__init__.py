"""Code that several functions share: records, errors, and the boundaries to AWS."""

__version__ = "0.1.0"
