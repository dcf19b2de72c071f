"""Thin wrappers of the AWS services. No other package of the functions imports boto3."""
