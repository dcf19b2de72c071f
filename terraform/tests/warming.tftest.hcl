# Each strategy of warming, off by itself and on by a switch.

mock_provider "aws" {
  source          = "./tests/answers"
  override_during = plan
}

variables {
  artifacts = "./tests/fixtures"
}

run "by_default" {
  command = plan

  assert {
    condition = (
      length(aws_scheduler_schedule.warm_up) == 0 && length(aws_lambda_provisioned_concurrency_config.worker) == 0
      && length(aws_appautoscaling_target.worker) == 0 && length(aws_appautoscaling_scheduled_action.worker) == 0
      && length(aws_autoscaling_group.fleet) == 0 && length(aws_launch_template.fleet) == 0
    )
    error_message = "By default nothing but tokens and deploys may warm."
  }

  assert {
    condition = (
      aws_lambda_invocation.after_deploy[0].function_name == module.janitor.function_name
      && jsondecode(aws_lambda_invocation.after_deploy[0].input) == { warm_up = 1 }
      && aws_lambda_invocation.after_deploy[0].triggers.worker_version == module.worker.version
    )
    error_message = "A new version of the worker must be warmed once, by the janitor."
  }

  assert {
    condition     = module.worker.snapstart == "None" && module.worker.storage_mb > 512
    error_message = "Without SnapStart the worker has room for its model."
  }
}

run "nothing" {
  command = plan

  variables {
    warming = { on_token = { environments = 0 }, after_deploy = 0 }
  }

  assert {
    condition     = length(aws_lambda_invocation.after_deploy) == 0 && output.settings.auth.WARM_UP_ENVIRONMENTS == "0"
    error_message = "Everything must be possible to turn off."
  }
}

run "on_schedules" {
  command = plan

  variables {
    warming = {
      schedule = {
        office = { expression = "cron(0/4 8-17 ? * MON-FRI *)", timezone = "Europe/London", environments = 5 }
        always = { expression = "rate(4 minutes)" }
      }
    }
  }

  assert {
    condition = { for name, schedule in aws_scheduler_schedule.warm_up : name => [
      schedule.schedule_expression, schedule.schedule_expression_timezone, jsondecode(schedule.target[0].input).warm_up
      ] } == {
      office = ["cron(0/4 8-17 ? * MON-FRI *)", "Europe/London", 5]
      always = ["rate(4 minutes)", "UTC", 1]
    }
    error_message = "Each schedule must warm as many as it says, when and where it says."
  }

  assert {
    condition     = alltrue([for schedule in aws_scheduler_schedule.warm_up : schedule.target[0].arn == module.janitor.alias_arn])
    error_message = "Schedules must call the janitor's alias."
  }
}

run "provisioned_always" {
  command = plan

  variables {
    warming = { provisioned = { environments = 5 } }
  }

  assert {
    condition = (
      aws_lambda_provisioned_concurrency_config.worker[0].provisioned_concurrent_executions == 5
      && aws_lambda_provisioned_concurrency_config.worker[0].qualifier == module.worker.alias_name
      && length(aws_appautoscaling_target.worker) == 0
    )
    error_message = "Without windows the alias must have its environments always."
  }
}

run "provisioned_within_windows" {
  command = plan

  variables {
    warming = {
      provisioned = {
        environments = 5
        windows      = { office = { start = "cron(45 7 ? * MON-FRI *)", end = "cron(0 18 ? * MON-FRI *)", timezone = "Europe/London" } }
      }
    }
  }

  assert {
    condition = { for name, action in aws_appautoscaling_scheduled_action.worker : name => [
      action.schedule, action.timezone, action.scalable_target_action[0].min_capacity, action.scalable_target_action[0].max_capacity
      ] } == {
      office-start = ["cron(45 7 ? * MON-FRI *)", "Europe/London", "5", "5"]
      office-end   = ["cron(0 18 ? * MON-FRI *)", "Europe/London", "0", "0"]
    }
    error_message = "A window must begin with its environments and end with none."
  }

  assert {
    condition = (
      aws_appautoscaling_target.worker[0].resource_id == "function:${module.worker.function_name}:${module.worker.alias_name}"
      && length(aws_lambda_provisioned_concurrency_config.worker) == 0
    )
    error_message = "Windows must scale the alias, and nothing else must."
  }
}

run "snapstart" {
  command = plan

  variables {
    warming = { snapstart = true }
  }

  assert {
    condition     = module.worker.snapstart == "PublishedVersions" && module.worker.storage_mb == 512
    error_message = "Published versions must have snapshots, within what SnapStart allows."
  }
}

run "fleet" {
  command = plan

  variables {
    warming = { fleet = { max = 4, subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] } }
  }

  assert {
    condition = (
      aws_autoscaling_group.fleet["main"].min_size == 1 && aws_autoscaling_group.fleet["main"].max_size == 4
      && aws_launch_template.fleet["main"].metadata_options[0].http_tokens == "required"
      && aws_launch_template.fleet["main"].instance_type == "c7i.large"
      && contains(aws_autoscaling_group.fleet["main"].enabled_metrics, "GroupInServiceInstances")
      && output.settings.submit.ASSIGN_JOBS_TO_WARM_UPS == "false"
    )
    error_message = "A fleet must have its machines, and they their metadata for themselves."
  }

  assert {
    condition = alltrue([
      for text in [
        "functions.worker.poll", aws_s3_object.artifact["worker"].key, aws_s3_object.artifact["layer-worker"].key,
        "JOBS_TABLE=${aws_dynamodb_table.jobs.name}", "TimeoutStopSec=60", "TMPDIR=/var/lib/samovar",
      ] : strcontains(base64decode(aws_launch_template.fleet["main"].user_data), text)
    ])
    error_message = "A machine must install the worker's artifacts, with the worker's settings, and run the poller."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.fleet["main"].policy).Statement :
      !contains(flatten([statement.Action]), "*") && !contains(flatten([statement.Resource]), "*")
    ])
    error_message = "Machines may do what the worker may, and nothing more."
  }
}

run "fleet_of_the_other_architecture" {
  command = plan

  variables {
    warming = { fleet = { max = 4, instance_type = "c7g.large", subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] } }
  }

  expect_failures = [aws_launch_template.fleet]
}
