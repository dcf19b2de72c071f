"""Thin wrappers of the AWS services. No other package imports boto3."""
