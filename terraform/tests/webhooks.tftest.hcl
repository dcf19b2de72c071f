# Webhooks: their queue, what their function may do, and what only the local cloud may.

mock_provider "aws" {
  source          = "./tests/answers"
  override_during = plan
}

variables {
  artifacts = "./tests/fixtures"
}

run "queue" {
  command = plan

  assert {
    condition = (
      aws_lambda_event_source_mapping.webhooks.event_source_arn == aws_sqs_queue.webhooks.arn
      && aws_lambda_event_source_mapping.webhooks.function_name == module.webhook.alias_arn
      && aws_lambda_event_source_mapping.webhooks.batch_size == 1
      && aws_lambda_event_source_mapping.webhooks.scaling_config[0].maximum_concurrency == 50
    )
    error_message = "The queue must feed the function's alias, one message at a time."
  }

  assert {
    condition     = aws_sqs_queue.webhooks.visibility_timeout_seconds >= 6 * module.webhook.timeout_seconds && module.webhook.timeout_seconds >= 20
    error_message = "An attempt of 15 s must fit into the time-out, and six of those into the visibility."
  }

  assert {
    condition = (
      jsondecode(aws_sqs_queue_redrive_policy.webhooks.redrive_policy) == { deadLetterTargetArn = aws_sqs_queue.webhooks_dead_letter.arn, maxReceiveCount = 5 }
      && jsondecode(aws_sqs_queue_redrive_allow_policy.webhooks_dead_letter.redrive_allow_policy).sourceQueueArns == [aws_sqs_queue.webhooks.arn]
    )
    error_message = "Dead letters must go to the queue's own dead-letter queue, after 5 receives."
  }

  assert {
    condition     = alltrue([for queue in [aws_sqs_queue.webhooks, aws_sqs_queue.webhooks_dead_letter] : queue.kms_master_key_id == aws_kms_key.data.arn && queue.message_retention_seconds == 1209600])
    error_message = "Both queues must be encrypted and keep messages for 14 days."
  }

  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.dead_letter) == ["isolated", "jobs", "webhooks"]
    error_message = "Every dead-letter queue must have its alarm."
  }
}

run "permissions" {
  command = plan

  assert {
    condition = [
      for name, policy in local.function_policies : name
      if anytrue([for statement in jsondecode(policy).Statement : contains(flatten([statement.Resource]), aws_kms_key.webhook_secrets.arn)])
    ] == ["webhook"]
    error_message = "Only webhook may open signing secrets."
  }

  assert {
    condition = [
      for statement in jsondecode(local.function_policies.webhook).Statement : statement.Action
      if contains(flatten([statement.Resource]), aws_kms_key.webhook_secrets.arn)
    ] == [["kms:Decrypt"]]
    error_message = "The function may open signing secrets, and make none."
  }

  assert {
    condition     = aws_kms_key.webhook_secrets.arn != aws_kms_key.data.arn && aws_kms_key.webhook_secrets.enable_key_rotation && jsondecode(aws_kms_key.webhook_secrets.policy) == jsondecode(aws_kms_key.data.policy)
    error_message = "Signing secrets must have a key of their own, which rotates and is this account's alone."
  }

  assert {
    condition = alltrue([
      for name in ["submit", "worker", "janitor", "webhook"] : anytrue([
        for statement in jsondecode(local.function_policies[name]).Statement :
        statement.Action == ["sqs:SendMessage"] && statement.Resource == [aws_sqs_queue.webhooks.arn]
      ])
    ])
    error_message = "Every function that ends a run must be able to send webhook messages."
  }

  assert {
    condition = alltrue([
      for action in ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"] : anytrue([
        for statement in jsondecode(local.function_policies.webhook).Statement :
        contains(flatten([statement.Action]), action) && statement.Resource == [aws_sqs_queue.webhooks.arn]
      ])
    ])
    error_message = "The mapping polls with the function's role: it must be allowed to."
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(local.function_policies.janitor).Statement :
      contains(flatten([statement.Action]), "sqs:DeleteMessage") && contains(flatten([statement.Resource]), aws_sqs_queue.webhooks_dead_letter.arn)
    ])
    error_message = "The janitor must be able to drain the dead letters."
  }
}

run "settings" {
  command = plan

  assert {
    condition     = output.settings.webhook.ALLOW_LOOPBACK_WEBHOOKS == "false" && output.settings.submit.ALLOW_LOOPBACK_WEBHOOKS == "false"
    error_message = "Loopback must be refused unless it is asked for."
  }

  assert {
    condition     = jsondecode(output.settings.webhook.WEBHOOK_DELAYS_SECONDS) == [0, 5, 300, 1800, 7200, 18000, 36000, 36000]
    error_message = "The schedule must be the documented one."
  }

  assert {
    condition = (
      [for name in ["submit", "worker", "janitor", "webhook"] : output.settings[name].WEBHOOKS_QUEUE_URL] == [for name in ["submit", "worker", "janitor", "webhook"] : aws_sqs_queue.webhooks.id]
      && output.settings.janitor.WEBHOOKS_DEAD_LETTER_QUEUE_URL == aws_sqs_queue.webhooks_dead_letter.id
    )
    error_message = "Each function must get the queue, and the janitor its dead-letter queue."
  }
}

run "local_cloud_may_shorten_the_schedule_and_call_loopback" {
  command = plan

  variables {
    environment             = "local"
    allow_loopback_webhooks = true
    webhook_delays_seconds  = [0, 1, 1, 1, 1, 1, 1, 1]
  }

  assert {
    condition     = output.settings.webhook.ALLOW_LOOPBACK_WEBHOOKS == "true" && jsondecode(output.settings.webhook.WEBHOOK_DELAYS_SECONDS) == [0, 1, 1, 1, 1, 1, 1, 1]
    error_message = "The local cloud must be as it is told."
  }
}

run "no_other_may" {
  command = plan

  variables {
    environment             = "locals"
    allow_loopback_webhooks = true
    webhook_delays_seconds  = [0, 5, 300, 1800, 7200, 18000, 36000, 35999]
    webhook_concurrency     = 1001
  }

  expect_failures = [var.allow_loopback_webhooks, var.webhook_delays_seconds, var.webhook_concurrency]
}

run "seven_attempts" {
  command = plan

  variables {
    environment            = "local"
    webhook_delays_seconds = [0, 1, 1, 1, 1, 1, 1]
    webhook_concurrency    = 1
  }

  expect_failures = [var.webhook_delays_seconds, var.webhook_concurrency]
}

run "a_first_attempt_that_waits" {
  command = plan

  variables {
    environment            = "local"
    webhook_delays_seconds = [1, 1, 1, 1, 1, 1, 1, 1]
  }

  expect_failures = [var.webhook_delays_seconds]
}

run "attempts_past_the_expiry" {
  command = plan

  variables {
    webhook_delays_seconds = [0, 5, 300, 1800, 7200, 18000, 36000, 46000]
  }

  expect_failures = [var.webhook_delays_seconds]
}
