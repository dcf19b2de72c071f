# A dead letter that the janitor cannot read stays where it is: one that is older than a few ticks is for a person.
resource "aws_cloudwatch_metric_alarm" "dead_letter" {
  for_each = local.is_local ? {} : aws_sqs_queue.dead_letter # the local cloud has no metrics

  alarm_name          = "${each.value.name}-stays"
  alarm_description   = "A dead letter of the lane ${each.key} is not drained: read it, then delete it or queue it again."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = each.value.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 300
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
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
