"""What the functions have in common: words, boundaries and the AWS services behind them."""
