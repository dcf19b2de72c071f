# The warming strategies other than on-token, which is a setting of `auth`. docs/warming.md compares them.

# Scheduled pings: named schedules on which the janitor starts warm-ups.
resource "aws_scheduler_schedule" "warm_up" {
  for_each = var.warming.schedule

  name                         = "${local.prefix}-warm-up-${each.key}"
  description                  = "Warms ${each.value.environments} of the worker's environments"
  schedule_expression          = each.value.expression
  schedule_expression_timezone = each.value.timezone

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = module.janitor.alias_arn
    role_arn = aws_iam_role.scheduler.arn
    input    = jsonencode({ warm_up = each.value.environments })

    retry_policy {
      maximum_retry_attempts       = 0
      maximum_event_age_in_seconds = 60
    }
  }
}

# Warms the first environments of a new version before a client needs them. This also measures its first warm-up.
resource "aws_lambda_invocation" "after_deploy" {
  count = var.warming.after_deploy > 0 ? 1 : 0

  function_name = module.janitor.function_name
  qualifier     = module.janitor.alias_name
  input         = jsonencode({ warm_up = var.warming.after_deploy })
  triggers      = { worker_version = module.worker.version }
}

# Provisioned concurrency, always or within windows.
locals {
  provisioned         = try(var.warming.provisioned.environments, 0)
  provisioned_windows = try(var.warming.provisioned.windows, {})

  # Each window becomes two actions: one sets the number at its start, one sets it to 0 at its end.
  provisioned_actions = merge([
    for name, window in local.provisioned_windows : {
      "${name}-start" = { at = window.start, timezone = window.timezone, environments = local.provisioned }
      "${name}-end"   = { at = window.end, timezone = window.timezone, environments = 0 }
    }
  ]...)
}

resource "aws_lambda_provisioned_concurrency_config" "worker" {
  count = local.provisioned > 0 && length(local.provisioned_windows) == 0 ? 1 : 0

  function_name                     = module.worker.function_name
  qualifier                         = module.worker.alias_name
  provisioned_concurrent_executions = local.provisioned
}

resource "aws_appautoscaling_target" "worker" {
  count = length(local.provisioned_windows) > 0 ? 1 : 0

  service_namespace  = "lambda"
  resource_id        = "function:${module.worker.function_name}:${module.worker.alias_name}"
  scalable_dimension = "lambda:function:ProvisionedConcurrency"
  min_capacity       = 0
  max_capacity       = local.provisioned

  # The scheduled actions change these values.
  lifecycle {
    ignore_changes = [min_capacity, max_capacity]
  }
}

resource "aws_appautoscaling_scheduled_action" "worker" {
  for_each = local.provisioned_actions

  name               = "${local.prefix}-${each.key}"
  service_namespace  = aws_appautoscaling_target.worker[0].service_namespace
  resource_id        = aws_appautoscaling_target.worker[0].resource_id
  scalable_dimension = aws_appautoscaling_target.worker[0].scalable_dimension
  schedule           = each.value.at
  timezone           = each.value.timezone

  scalable_target_action {
    min_capacity = each.value.environments
    max_capacity = each.value.environments
  }
}
