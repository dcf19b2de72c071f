# The bucket of artifacts, inputs and results. Nothing in it is public. Objects of jobs expire.
resource "aws_s3_bucket" "main" {
  bucket        = "${local.prefix}-${data.aws_caller_identity.current.account_id}-${data.aws_region.current.name}"
  force_destroy = local.is_local
}

resource "aws_s3_bucket_public_access_block" "main" {
  bucket = aws_s3_bucket.main.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Access control lists are off: only policies decide.
resource "aws_s3_bucket_ownership_controls" "main" {
  bucket = aws_s3_bucket.main.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "main" {
  bucket = aws_s3_bucket.main.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.data.arn
    }
  }
}

resource "aws_s3_bucket_policy" "main" {
  bucket = aws_s3_bucket.main.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "EncryptedTransportOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.main.arn, "${aws_s3_bucket.main.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  # The local cloud uses plain HTTP on the loopback interface.
  count = local.is_local ? 0 : 1
}

resource "aws_s3_bucket_lifecycle_configuration" "main" {
  bucket = aws_s3_bucket.main.id

  # A job's items expire after 7 days. Its objects expire a day later, so that no item points to a deleted object. An
  # upload may wait up to 7 days for its job.
  dynamic "rule" {
    for_each = { inputs = 8, results = 8, uploads = 16 }

    content {
      id     = "expire-${rule.key}"
      status = "Enabled"

      filter {
        prefix = "${rule.key}/"
      }

      expiration {
        days = rule.value
      }
    }
  }

  rule {
    id     = "abort-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

locals {
  artifacts = merge(
    { for name, entry in local.manifest.functions : name => entry },
    { for name, entry in local.manifest.layers : "layer-${name}" => entry },
  )
}

resource "aws_s3_object" "artifact" {
  for_each = local.artifacts

  bucket = aws_s3_bucket.main.id
  # The hash in the name keeps the code of earlier function and layer versions.
  key         = "artifacts/${each.value.sha256}/${each.value.file}"
  source      = "${var.artifacts}/${each.value.file}"
  source_hash = each.value.sha256

  # Tags on every object would cost extra requests.
  override_provider {
    default_tags {
      tags = {}
    }
  }

  # The running version needs the old object until the alias has moved.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_s3_object" "model" {
  bucket      = aws_s3_bucket.main.id
  key         = "models/${local.model.sha256}/${local.model.file}"
  source      = "${var.artifacts}/${local.model.file}"
  source_hash = local.model.sha256

  override_provider {
    default_tags {
      tags = {}
    }
  }

  # The running version needs the old object until the alias has moved.
  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = !var.warming.snapstart || local.model.size < 400 * 1048576
      error_message = "SnapStart allows 512 MB of /tmp, and this model needs more. Set `warming.snapstart` to false and choose another strategy."
    }
  }
}
