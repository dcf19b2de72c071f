locals {
  # IAM policies of the account decide who may use the keys, so the account cannot lock itself out. In a key policy, `*` is
  # the key itself.
  key_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AccountDecidesByIam"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

# Keys that sign access tokens. The private keys never leave KMS.
resource "aws_kms_key" "signing" {
  for_each = var.published_keys

  description              = "${local.prefix} signs access tokens (${each.key})"
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = "RSA_2048"
  deletion_window_in_days  = 7
  policy                   = local.key_policy
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

# The key that encrypts the tables, the queues and the bucket.
resource "aws_kms_key" "data" {
  description             = "${local.prefix} encrypts data"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  policy                  = local.key_policy
}

resource "aws_kms_alias" "data" {
  name          = "alias/${local.prefix}-data"
  target_key_id = aws_kms_key.data.key_id
}

# The key that encrypts the secrets that sign webhooks, with the client's id as encryption context. It is separate from
# the data key, which every function may use.
resource "aws_kms_key" "webhook_secrets" {
  description             = "${local.prefix} encrypts the secrets that sign webhooks"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  policy                  = local.key_policy
}

resource "aws_kms_alias" "webhook_secrets" {
  name          = "alias/${local.prefix}-webhook-secrets"
  target_key_id = aws_kms_key.webhook_secrets.key_id
}

locals {
  # Every function needs this besides its permissions for the data itself.
  use_data_key = {
    Sid      = "UseDataKey"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = [aws_kms_key.data.arn]
  }
}
