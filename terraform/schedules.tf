# Starts the janitor's tick every minute.
resource "aws_scheduler_schedule" "janitor" {
  name                = "${local.prefix}-janitor"
  description         = "Runs the scheduled checks"
  schedule_expression = "rate(1 minute)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = module.janitor.alias_arn
    role_arn = aws_iam_role.scheduler.arn

    # The next tick does the work of a failed one.
    retry_policy {
      maximum_retry_attempts       = 0
      maximum_event_age_in_seconds = 60
    }
  }
}

resource "aws_iam_role" "scheduler" {
  name = "${local.prefix}-scheduler"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "invoke"
  role = aws_iam_role.scheduler.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "InvokeJanitor"
      Effect   = "Allow"
      Action   = ["lambda:InvokeFunction"]
      Resource = [module.janitor.alias_arn]
    }]
  })
}
