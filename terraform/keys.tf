# The keys have KMS's default policy: the account decides by IAM who may use them.

# Tokens: the private halves never leave KMS.
resource "aws_kms_key" "signing" {
  for_each = var.published_keys

  description              = "${local.prefix} signs access tokens (${each.key})"
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = "RSA_2048"
  deletion_window_in_days  = 7
}

resource "aws_kms_alias" "signing" {
  for_each = var.published_keys

  name          = "alias/${local.prefix}-signing-${each.key}"
  target_key_id = aws_kms_key.signing[each.key].key_id
}

data "aws_kms_public_key" "signing" {
  for_each = var.published_keys

  key_id = aws_kms_key.signing[each.key].arn
}

# Data at rest: tables, queues and bucket.
resource "aws_kms_key" "data" {
  description             = "${local.prefix} encrypts data"
  enable_key_rotation     = true
  deletion_window_in_days = 7
}

resource "aws_kms_alias" "data" {
  name          = "alias/${local.prefix}-data"
  target_key_id = aws_kms_key.data.key_id
}

locals {
  # What a function needs besides the rights on the data itself.
  use_data_key = {
    Sid      = "UseDataKey"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = [aws_kms_key.data.arn]
  }
}
