# The warming strategies. docs/warming.md compares them. On-token is a setting of `auth`; the fleet is in fleet.tf.
variable "warming" {
  type = object({
    on_token = optional(object({
      environments     = optional(number, 1)
      cooldown_seconds = optional(number, 120)
    }), {})
    after_deploy = optional(number, 1)
    schedule = optional(map(object({
      expression   = string
      timezone     = optional(string, "UTC")
      environments = optional(number, 1)
    })), {})
    provisioned = optional(object({
      environments = number
      windows = optional(map(object({
        start    = string
        end      = string
        timezone = optional(string, "UTC")
      })), {})
    }))
    snapstart = optional(bool, false)
    fleet = optional(object({
      min                  = optional(number, 1)
      max                  = number
      instance_type        = optional(string)
      subnet_ids           = list(string)
      security_group_ids   = list(string)
      backlog_per_instance = optional(number, 100)
    }))
  })
  description = <<-EOT
    Strategies that keep the worker warm, alone or together. docs/warming.md helps to choose.
    `on_token`: issuing a token warms `environments` environments, at most once per cooldown. 0 turns it off.
    `after_deploy`: number of environments that each deployment of a new version warms. 0 turns it off.
    `schedule`: named schedules (cron, rate or at), each of which warms `environments` environments.
    `provisioned`: provisioned concurrency, always or within named windows (cron expressions).
    `snapstart`: environments start from a snapshot with the model loaded. It excludes provisioned concurrency.
    `fleet`: `min` to `max` EC2 instances that poll the queues beside Lambda, one more for each `backlog_per_instance`
    waiting messages. The default type is the smallest compute-optimised one of the architecture. Its subnets need a route
    to S3, SQS, DynamoDB, KMS and the package index.
  EOT
  default     = {}

  validation {
    condition     = var.warming.on_token.environments >= 0 && var.warming.on_token.environments <= 100
    error_message = "warming.on_token.environments must be 0 to 100."
  }

  validation {
    condition     = var.warming.on_token.cooldown_seconds >= 10 && var.warming.on_token.cooldown_seconds <= 3600
    error_message = "warming.on_token.cooldown_seconds must be 10 to 3,600."
  }

  validation {
    condition     = var.warming.after_deploy >= 0 && var.warming.after_deploy <= 100
    error_message = "warming.after_deploy must be 0 to 100."
  }

  validation {
    condition = alltrue([
      for name, schedule in var.warming.schedule :
      can(regex("^[a-z0-9-]{1,20}$", name)) && can(regex("^(cron|rate|at)\\(.+\\)$", schedule.expression))
      && can(regex("^[A-Za-z]+(/[A-Za-z0-9_+-]+)*$", schedule.timezone))
      && schedule.environments >= 1 && schedule.environments <= 100
    ])
    error_message = "A schedule needs a name of lower-case letters, digits and hyphens, an expression such as rate(4 minutes), a time zone such as Europe/London, and 1 to 100 environments."
  }

  validation {
    condition     = try(var.warming.provisioned.environments, 1) >= 1 && try(var.warming.provisioned.environments, 1) <= 1000
    error_message = "warming.provisioned.environments must be 1 to 1,000."
  }

  validation {
    condition = alltrue([
      for name, window in try(var.warming.provisioned.windows, {}) :
      can(regex("^[a-z0-9-]{1,20}$", name)) && can(regex("^cron\\(.+\\)$", window.start)) && can(regex("^cron\\(.+\\)$", window.end))
      && can(regex("^[A-Za-z]+(/[A-Za-z0-9_+-]+)*$", window.timezone)) && window.start != window.end
    ])
    error_message = "A window needs a name of lower-case letters, digits and hyphens, different cron expressions for its start and its end, and a time zone such as Europe/London."
  }

  validation {
    condition = var.warming.fleet == null || (
      try(var.warming.fleet.min, 0) >= 0 && try(var.warming.fleet.max, 1) >= 1 && try(var.warming.fleet.max >= var.warming.fleet.min, true)
      && try(var.warming.fleet.max, 1) <= 100 && try(var.warming.fleet.backlog_per_instance, 1) >= 1
      && try(length(var.warming.fleet.subnet_ids) > 0 && length(var.warming.fleet.security_group_ids) > 0, true)
    )
    error_message = "A fleet needs 0 to 100 instances, a `max` of at least 1 and at least `min`, a backlog of at least 1, and at least one subnet and one security group."
  }

  validation {
    condition     = !(var.warming.snapstart && var.warming.provisioned != null)
    error_message = "Lambda refuses SnapStart together with provisioned concurrency. Set only one of them."
  }

  validation {
    condition     = !var.warming.snapstart || !contains(["python3.11"], var.runtime)
    error_message = "SnapStart needs python3.12 or later."
  }
}

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
