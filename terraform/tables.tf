# Keys and indexes: ARCHITECTURE.md, "Data".
resource "aws_dynamodb_table" "jobs" {
  name                        = "${local.prefix}-jobs"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "id"
  range_key                   = "part"
  deletion_protection_enabled = !local.is_local

  attribute {
    name = "id"
    type = "S"
  }

  attribute {
    name = "part"
    type = "S"
  }

  attribute {
    name = "client_id"
    type = "S"
  }

  attribute {
    name = "open_client"
    type = "S"
  }

  attribute {
    name = "check_partition"
    type = "N"
  }

  attribute {
    name = "next_check_at"
    type = "N"
  }

  # Lists a client's jobs. It projects keys only, so that a change of status does not write to it.
  global_secondary_index {
    name            = "by_client"
    hash_key        = "client_id"
    range_key       = "id"
    projection_type = "KEYS_ONLY"
  }

  # Counts a client's open jobs against its limit.
  global_secondary_index {
    name            = "open"
    hash_key        = "open_client"
    range_key       = "id"
    projection_type = "KEYS_ONLY"
  }

  # Lists the scheduled checks by their time, for the janitor.
  global_secondary_index {
    name            = "checks"
    hash_key        = "check_partition"
    range_key       = "next_check_at"
    projection_type = "KEYS_ONLY"
  }

  ttl {
    attribute_name = "expires_at"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.data.arn
  }
}

resource "aws_dynamodb_table" "clients" {
  name                        = "${local.prefix}-clients"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "client_id"
  deletion_protection_enabled = !local.is_local

  attribute {
    name = "client_id"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.data.arn
  }
}
