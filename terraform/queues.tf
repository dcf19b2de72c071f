locals {
  worker_timeout_seconds  = 900
  webhook_timeout_seconds = 30 # twice the deadline of an attempt

  # The lanes that feed the worker. AWS advises a visibility of six times the function's time-out.
  lanes = {
    jobs = { batch_size = 10 }
    solo = { batch_size = 1 }
  }
  visibility_seconds = 6 * local.worker_timeout_seconds
  retention_seconds  = 14 * 24 * 3600
}

resource "aws_sqs_queue" "lane" {
  for_each = local.lanes

  name                       = "${local.prefix}-${each.key}"
  visibility_timeout_seconds = local.visibility_seconds
  message_retention_seconds  = local.retention_seconds
  kms_master_key_id          = aws_kms_key.data.arn
}

resource "aws_sqs_queue" "dead_letter" {
  for_each = local.lanes

  name                      = "${local.prefix}-${each.key}-dead-letter"
  message_retention_seconds = local.retention_seconds
  kms_master_key_id         = aws_kms_key.data.arn
}

# Apart from the queues, which can then be created at the same time.
resource "aws_sqs_queue_redrive_policy" "lane" {
  for_each = local.lanes

  queue_url = aws_sqs_queue.lane[each.key].id
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letter[each.key].arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letter" {
  for_each = local.lanes

  queue_url = aws_sqs_queue.dead_letter[each.key].id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.lane[each.key].arn]
  })
}

resource "aws_lambda_event_source_mapping" "lane" {
  for_each = local.lanes

  event_source_arn        = aws_sqs_queue.lane[each.key].arn
  function_name           = module.worker.alias_arn
  batch_size              = each.value.batch_size
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.worker_concurrency[each.key]
  }
}

# Announcements. Apart from the lanes: it feeds another function, for seconds and not for minutes.
resource "aws_sqs_queue" "webhooks" {
  name                       = "${local.prefix}-webhooks"
  visibility_timeout_seconds = 6 * local.webhook_timeout_seconds
  message_retention_seconds  = local.retention_seconds
  kms_master_key_id          = aws_kms_key.data.arn
}

resource "aws_sqs_queue" "webhooks_dead_letter" {
  name                      = "${local.prefix}-webhooks-dead-letter"
  message_retention_seconds = local.retention_seconds
  kms_master_key_id         = aws_kms_key.data.arn
}

resource "aws_sqs_queue_redrive_policy" "webhooks" {
  queue_url = aws_sqs_queue.webhooks.id
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.webhooks_dead_letter.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "webhooks_dead_letter" {
  queue_url = aws_sqs_queue.webhooks_dead_letter.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.webhooks.arn]
  })
}

# One at a time: a receiver that hangs holds up nobody else's delivery. Nothing is reported: all is acknowledged.
resource "aws_lambda_event_source_mapping" "webhooks" {
  event_source_arn = aws_sqs_queue.webhooks.arn
  function_name    = module.webhook.alias_arn
  batch_size       = 1

  scaling_config {
    maximum_concurrency = var.webhook_concurrency
  }
}
