"""What the functions have in common: words, boundaries and the AWS services behind them."""

__version__ = "0.1.0"
