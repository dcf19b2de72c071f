# One Lambda function with its own role, log group and alias `live`.

locals {
  full_name = "${var.prefix}-${var.name}"

  write_logs = {
    Sid      = "WriteLogs"
    Effect   = "Allow"
    Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    Resource = ["${aws_cloudwatch_log_group.main.arn}:*"]
  }
}

resource "aws_cloudwatch_log_group" "main" {
  name              = "/aws/lambda/${local.full_name}"
  retention_in_days = var.log_retention_days
}

resource "aws_iam_role" "main" {
  name = local.full_name

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "main" {
  name = "function"
  role = aws_iam_role.main.id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.write_logs], var.statements)
  })
}

resource "aws_lambda_function" "main" {
  function_name    = local.full_name
  role             = aws_iam_role.main.arn
  runtime          = var.runtime
  architectures    = [var.architecture]
  handler          = "functions.${var.name}.handler.handler"
  s3_bucket        = var.bucket
  s3_key           = var.artifact.key
  source_code_hash = var.artifact.sha256_base64
  layers           = var.layers
  memory_size      = var.memory_mb
  timeout          = var.timeout_seconds
  publish          = true

  ephemeral_storage {
    size = var.storage_mb
  }

  dynamic "snap_start" {
    for_each = var.snapstart ? [1] : []

    content {
      apply_on = "PublishedVersions"
    }
  }

  environment {
    variables = merge({ POWERTOOLS_SERVICE_NAME = var.name }, var.environment)
  }

  logging_config {
    log_format = "Text" # Powertools writes JSON itself
    log_group  = aws_cloudwatch_log_group.main.name
  }

  # The first invocation needs the permissions.
  depends_on = [aws_iam_role_policy.main]
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "The latest published version. Callers use this alias."
  function_name    = aws_lambda_function.main.function_name
  function_version = aws_lambda_function.main.version
}
