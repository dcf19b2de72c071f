locals {
  worker_timeout_seconds  = 900
  webhook_timeout_seconds = 30 # twice the deadline of an attempt

  # The queues that feed the worker. AWS advises a visibility time-out of six times the function's time-out.
  worker_queues = {
    jobs     = { batch_size = 10 }
    isolated = { batch_size = 1 }
  }
  visibility_seconds = 6 * local.worker_timeout_seconds
  retention_seconds  = 14 * 24 * 3600
}

resource "aws_sqs_queue" "worker" {
  for_each = local.worker_queues

  name                       = "${local.prefix}-${each.key}"
  visibility_timeout_seconds = local.visibility_seconds
  message_retention_seconds  = local.retention_seconds
  kms_master_key_id          = aws_kms_key.data.arn
}

resource "aws_sqs_queue" "dead_letter" {
  for_each = local.worker_queues

  name                      = "${local.prefix}-${each.key}-dead-letter"
  message_retention_seconds = local.retention_seconds
  kms_master_key_id         = aws_kms_key.data.arn
}

# A separate resource, so that the two queues can be created at the same time.
resource "aws_sqs_queue_redrive_policy" "worker" {
  for_each = local.worker_queues

  queue_url = aws_sqs_queue.worker[each.key].id
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letter[each.key].arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letter" {
  for_each = local.worker_queues

  queue_url = aws_sqs_queue.dead_letter[each.key].id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.worker[each.key].arn]
  })
}

resource "aws_lambda_event_source_mapping" "worker" {
  for_each = local.worker_queues

  event_source_arn        = aws_sqs_queue.worker[each.key].arn
  function_name           = module.worker.alias_arn
  batch_size              = each.value.batch_size
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.worker_concurrency[each.key]
  }
}

# The queue of the function `webhook`. Its visibility time-out is shorter, because an attempt takes seconds.
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

# One message per invocation, so that a slow receiver delays no other delivery. The function acknowledges every message.
resource "aws_lambda_event_source_mapping" "webhooks" {
  event_source_arn = aws_sqs_queue.webhooks.arn
  function_name    = module.webhook.alias_arn
  batch_size       = 1

  scaling_config {
    maximum_concurrency = var.webhook_concurrency
  }
}
