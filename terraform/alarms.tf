# A dead letter that the janitor cannot read stays where it is: one that is there for ten minutes is for a person. Not by
# the age of the oldest message, which leaves out what was received several times.
resource "aws_cloudwatch_metric_alarm" "dead_letter" {
  # The local cloud has no metrics.
  for_each = local.is_local ? {} : merge(aws_sqs_queue.dead_letter, { webhooks = aws_sqs_queue.webhooks_dead_letter })

  alarm_name          = "${each.value.name}-stays"
  alarm_description   = "A dead letter of the lane ${each.key} is not drained: read it, then delete it or queue it again."
  evaluation_periods  = 10
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns

  metric_query {
    id          = "letters"
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

# Nothing is lost while the janitor fails, but nothing is taken up either.
resource "aws_cloudwatch_metric_alarm" "janitor" {
  count = local.is_local ? 0 : 1

  alarm_name          = "${local.prefix}-janitor-fails"
  alarm_description   = "The janitor's ticks fail: what dies is not taken up."
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
