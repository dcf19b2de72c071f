# The janitor leaves a dead letter that it cannot read in its queue. After ten minutes an operator must look at it. The
# alarm does not use the age of the oldest message, because that metric ignores messages that were received several times.
resource "aws_cloudwatch_metric_alarm" "dead_letter" {
  # The local cloud publishes no SQS metrics.
  for_each = local.is_local ? {} : merge(aws_sqs_queue.dead_letter, { webhooks = aws_sqs_queue.webhooks_dead_letter })

  alarm_name          = "${each.value.name}-stays"
  alarm_description   = "A dead letter of the queue ${each.key} stays undrained. Read it, then delete it or send it again."
  evaluation_periods  = 10
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns

  metric_query {
    id          = "dead_letters"
    expression  = "visible + received"
    label       = "Dead letters"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { visible = "ApproximateNumberOfMessagesVisible", received = "ApproximateNumberOfMessagesNotVisible" }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/SQS"
        metric_name = metric_query.value
        dimensions  = { QueueName = each.value.name }
        stat        = "Maximum"
        period      = 60
      }
    }
  }
}

# While the janitor fails no job is lost, but interrupted jobs do not continue.
resource "aws_cloudwatch_metric_alarm" "janitor" {
  count = local.is_local ? 0 : 1

  alarm_name          = "${local.prefix}-janitor-fails"
  alarm_description   = "The janitor fails, so interrupted jobs and deliveries do not continue. Read its log."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = module.janitor.function_name }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 3
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
}
