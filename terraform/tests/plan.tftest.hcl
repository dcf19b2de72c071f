# What a plan says, with mocked answers: no credentials, no account.

mock_provider "aws" {
  source          = "./tests/answers"
  override_during = plan
}

variables {
  artifacts = "./tests/fixtures"
}

run "queues" {
  command = plan

  assert {
    condition     = alltrue([for mapping in aws_lambda_event_source_mapping.worker : mapping.function_name == module.worker.alias_arn])
    error_message = "Every queue of the worker must feed its alias."
  }

  assert {
    condition     = alltrue([for name, mapping in aws_lambda_event_source_mapping.worker : mapping.event_source_arn == aws_sqs_queue.worker[name].arn])
    error_message = "Every mapping must read its own queue."
  }

  assert {
    condition     = { for name, mapping in aws_lambda_event_source_mapping.worker : name => mapping.scaling_config[0].maximum_concurrency } == { jobs = 50, isolated = 50 }
    error_message = "A queue's concurrency must equal the variable's."
  }

  assert {
    condition     = alltrue([for queue in concat(values(aws_sqs_queue.worker), values(aws_sqs_queue.dead_letter)) : queue.message_retention_seconds == 1209600])
    error_message = "Every queue must keep its messages for 14 days."
  }

  assert {
    condition     = alltrue([for queue in concat(values(aws_sqs_queue.worker), values(aws_sqs_queue.dead_letter)) : queue.kms_master_key_id == aws_kms_key.data.arn])
    error_message = "Every queue must be encrypted with the data key."
  }

  assert {
    condition     = alltrue([for queue in aws_sqs_queue.worker : queue.visibility_timeout_seconds >= 6 * module.worker.timeout_seconds])
    error_message = "A queue's visibility time-out must be at least six times the worker's time-out."
  }

  assert {
    condition     = alltrue([for mapping in aws_lambda_event_source_mapping.worker : contains(mapping.function_response_types, "ReportBatchItemFailures")])
    error_message = "Every mapping must report partial failures."
  }

  assert {
    condition     = alltrue([for mapping in aws_lambda_event_source_mapping.worker : endswith(mapping.function_name, ":live")])
    error_message = "Every mapping must call the alias."
  }

  assert {
    condition = alltrue([
      for name, policy in aws_sqs_queue_redrive_policy.worker :
      jsondecode(policy.redrive_policy).deadLetterTargetArn == aws_sqs_queue.dead_letter[name].arn
      && jsondecode(policy.redrive_policy).maxReceiveCount == 5
    ])
    error_message = "Each queue's dead letters must go to its own dead-letter queue, after 5 receives."
  }

  assert {
    condition     = keys(aws_sqs_queue_redrive_policy.worker) == ["isolated", "jobs"] && length(distinct([for queue in aws_sqs_queue.dead_letter : queue.arn])) == length(local.worker_queues)
    error_message = "Every queue must have a dead-letter queue of its own."
  }

  assert {
    condition = alltrue([
      for name, policy in aws_sqs_queue_redrive_allow_policy.dead_letter :
      jsondecode(policy.redrive_allow_policy).sourceQueueArns == [aws_sqs_queue.worker[name].arn]
    ])
    error_message = "A dead-letter queue must accept messages of its own queue only."
  }

  assert {
    condition     = aws_lambda_event_source_mapping.worker["jobs"].batch_size == 10 && aws_lambda_event_source_mapping.worker["isolated"].batch_size == 1
    error_message = "The queue `jobs` must deliver ten messages at a time, `isolated` one."
  }
}

run "policies" {
  command = plan

  # No wildcard in an action, and no statement about everything.
  assert {
    condition = alltrue(flatten([
      for policy in values(local.function_policies) : [
        for statement in jsondecode(policy).Statement : [
          for action in flatten([statement.Action]) : !strcontains(action, "*")
        ]
      ]
    ]))
    error_message = "No policy may use a wildcard in an action."
  }

  # IAM refuses a policy in which two statements have one name.
  assert {
    condition = alltrue([
      for policy in values(local.function_policies) :
      length(distinct(jsondecode(policy).Statement[*].Sid)) == length(jsondecode(policy).Statement)
    ])
    error_message = "No policy may have two statements with the same Sid."
  }

  assert {
    condition = alltrue(flatten([
      for policy in values(local.function_policies) : [
        for statement in jsondecode(policy).Statement : [
          for resource in flatten([statement.Resource]) : resource != "*" && startswith(resource, "arn:aws:")
        ]
      ]
    ]))
    error_message = "No policy may allow an action on every resource."
  }

  # A wildcard stands for names below something named: `bucket/prefix/*`, `log-group:name:*`.
  assert {
    condition = alltrue(flatten([
      for policy in values(local.function_policies) : [
        for statement in jsondecode(policy).Statement : [
          for resource in flatten([statement.Resource]) :
          can(regex("^arn:aws:[a-z0-9]+:[^:*]*:[^:*]*:[^:/*][^*]*([:/]\\*)?$", resource)) && !endswith(resource, ":log-group:*")
        ]
      ]
    ]))
    error_message = "No policy may allow more resources than it names."
  }

  assert {
    condition = alltrue(flatten([
      for policy in values(local.function_policies) : [
        for statement in jsondecode(policy).Statement :
        statement.Effect == "Allow" && length(setsubtract(keys(statement), ["Sid", "Effect", "Action", "Resource", "Condition"])) == 0
      ]
    ]))
    error_message = "No policy may use NotAction or NotResource."
  }

  # The local cloud does not know this condition's key, and lets everything pass.
  assert {
    condition = [
      for statement in jsondecode(local.function_policies.auth).Statement : try(statement.Condition, null)
      if contains(flatten([statement.Resource]), aws_dynamodb_table.jobs.arn) && contains(flatten([statement.Action]), "dynamodb:UpdateItem")
    ] == [{ "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["warmup#*"] } }]
    error_message = "auth may access only the warm-ups in the table jobs."
  }

  assert {
    condition     = keys(local.function_policies) == keys(local.manifest.functions)
    error_message = "The test must cover the policies of all functions."
  }

  # Tables, queues and objects are encrypted: without these two every call on them fails, on AWS alone.
  assert {
    condition = alltrue(flatten([
      for policy in values(local.function_policies) : [
        for action in ["kms:Decrypt", "kms:GenerateDataKey"] : anytrue([
          for statement in jsondecode(policy).Statement :
          contains(flatten([statement.Action]), action) && contains(flatten([statement.Resource]), aws_kms_key.data.arn)
        ])
      ]
    ]))
    error_message = "Every function must be able to use the key that encrypts its data."
  }

  assert {
    condition = [
      for name, policy in local.function_policies : name
      if anytrue([for statement in jsondecode(policy).Statement : contains(flatten([statement.Action]), "kms:Sign")])
    ] == ["auth"]
    error_message = "Only auth may sign."
  }

  # What the local cloud does not check, because services do it and not functions.
  assert {
    condition = alltrue([
      for permission in aws_lambda_permission.api :
      permission.principal == "apigateway.amazonaws.com" && permission.action == "lambda:InvokeFunction"
      && startswith(permission.source_arn, "arn:aws:execute-api:") && permission.qualifier == "live"
    ])
    error_message = "Only the gateway may invoke the alias by this permission."
  }

  assert {
    condition     = toset(keys(aws_lambda_permission.api)) == toset(values(local.routes))
    error_message = "The gateway must be allowed to invoke each function that has a route."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.scheduler.policy).Statement == [{
      Sid = "InvokeJanitor", Effect = "Allow", Action = ["lambda:InvokeFunction"], Resource = [module.janitor.alias_arn]
    }]
    error_message = "The scheduler may invoke the janitor's alias and nothing else."
  }

  assert {
    condition = alltrue(flatten([
      for name in ["jobs", "isolated"] : [
        for action in ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"] : anytrue([
          for statement in jsondecode(local.function_policies.worker).Statement :
          contains(flatten([statement.Action]), action) && contains(flatten([statement.Resource]), aws_sqs_queue.worker[name].arn)
        ])
      ]
    ]))
    error_message = "The worker's role must allow its mappings to poll."
  }
}

run "rotation_of_the_signing_key" {
  command = plan

  variables {
    published_keys = ["k1", "k2"]
    signing_key    = "k2"
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(local.function_policies.auth).Statement : statement.Resource if contains(flatten([statement.Action]), "kms:Sign")
    ])) == toset([for key in aws_kms_key.signing : key.arn])
    error_message = "The former key must stay usable until the function is updated."
  }

  assert {
    condition     = output.settings.auth.SIGNING_KEY_ARN == aws_kms_key.signing["k2"].arn && keys(local.public_keys) == ["k1", "k2"]
    error_message = "The new key must sign, and both must be published."
  }
}

run "api" {
  command = plan

  assert {
    condition = alltrue([
      for route in aws_apigatewayv2_route.route :
      route.target == "integrations/${strcontains(route.route_key, "oauth") || strcontains(route.route_key, ".well-known") ? "auth" : "submit"}"
    ])
    error_message = "auth must serve tokens, keys and metadata; submit must serve every other route."
  }

  assert {
    condition     = alltrue([for name, integration in aws_apigatewayv2_integration.function : integration.payload_format_version == "2.0" && integration.integration_uri == local.api_functions[name].invoke_arn])
    error_message = "Each integration must call its function's alias, with payload 2.0."
  }

  assert {
    condition = [
      for settings in aws_apigatewayv2_stage.default.route_settings : settings.throttling_rate_limit if settings.route_key == "POST /oauth/token"
    ] == [var.token_throttle.rate] && var.token_throttle.rate < var.throttle.rate
    error_message = "POST /oauth/token must have its own throttle."
  }

  assert {
    condition = toset(keys(aws_apigatewayv2_route.route)) == toset([
      "POST /oauth/token", "GET /.well-known/jwks.json", "GET /.well-known/oauth-authorization-server",
      "POST /analyze", "POST /uploads", "GET /jobs", "GET /jobs/{id}", "DELETE /jobs/{id}", "POST /jobs/{id}/cancel",
      "POST /jobs/{id}/retry", "GET /jobs/{id}/input", "GET /jobs/{id}/deliveries", "POST /jobs/{id}/deliveries",
      "GET /health", "GET /openapi.json", "$default",
    ])
    error_message = "The routes must be those of docs/api.md, and $default."
  }

  assert {
    condition = toset([
      for settings in aws_apigatewayv2_stage.default.route_settings : settings.route_key
      if settings.throttling_rate_limit >= 1 && settings.throttling_burst_limit >= 1
    ]) == toset(keys(local.routes))
    error_message = "Every route must have a throttle with rate and burst."
  }

  assert {
    condition = [
      for settings in aws_apigatewayv2_stage.default.default_route_settings :
      settings.throttling_rate_limit >= 1 && settings.throttling_burst_limit >= 1
    ] == [true]
    error_message = "The default throttle must have rate and burst, because 0 refuses every request."
  }

  assert {
    condition     = length(aws_apigatewayv2_stage.default.access_log_settings) == 1
    error_message = "The stage must log accesses."
  }
}

run "functions" {
  command = plan

  assert {
    condition     = module.worker.timeout_seconds == 900
    error_message = "The worker's time-out must be 15 minutes."
  }

  assert {
    condition     = alltrue([for function in local.functions : function.publishes])
    error_message = "Every function must publish versions, because an alias of $LATEST is not a release."
  }

  assert {
    condition     = aws_lambda_function_recursion_config.worker.recursive_loop == "Allow"
    error_message = "Recursion detection must allow the shards that the worker sends to itself."
  }

  assert {
    condition     = output.settings.janitor.JOBS_DEAD_LETTER_QUEUE_URL != output.settings.janitor.JOBS_QUEUE_URL && output.settings.janitor.ISOLATED_DEAD_LETTER_QUEUE_URL != output.settings.janitor.ISOLATED_QUEUE_URL
    error_message = "The janitor must drain the dead-letter queues only."
  }

  assert {
    condition     = local.worker_storage_mb == 550 + 1024
    error_message = "/tmp must hold 2.5 times the artifact of 220 MiB, and a result of half a GiB twice."
  }

  assert {
    condition = alltrue([
      for config in [aws_lambda_function_event_invoke_config.worker, aws_lambda_function_event_invoke_config.janitor] :
      config.maximum_retry_attempts == 0 && config.maximum_event_age_in_seconds == 60 && config.qualifier == "live"
    ])
    error_message = "Lambda must try a ping or a tick once, within a minute."
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.worker.function_name == module.worker.function_name && aws_lambda_function_event_invoke_config.janitor.function_name == module.janitor.function_name
    error_message = "The worker and the janitor must have an invoke configuration."
  }

  assert {
    condition     = aws_scheduler_schedule.janitor.schedule_expression == "rate(1 minute)" && aws_scheduler_schedule.janitor.target[0].arn == module.janitor.alias_arn
    error_message = "The scheduler must invoke the janitor's alias every minute."
  }

  assert {
    condition = alltrue(concat(
      [for retention in values(local.log_retentions) : retention == var.log_retention_days],
      [aws_cloudwatch_log_group.api.retention_in_days == var.log_retention_days],
    ))
    error_message = "Every log group must have a retention."
  }
}

run "data" {
  command = plan

  assert {
    condition     = alltrue([for table in [aws_dynamodb_table.jobs, aws_dynamodb_table.clients] : try(table.server_side_encryption[0].kms_key_arn == aws_kms_key.data.arn, false)])
    error_message = "Tables must be encrypted with the data key."
  }

  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_server_side_encryption_configuration.main.rule :
      rule.apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms" && rule.bucket_key_enabled
      && rule.apply_server_side_encryption_by_default[0].kms_master_key_id == aws_kms_key.data.arn
    ])
    error_message = "The bucket must be encrypted with the data key."
  }

  assert {
    condition     = aws_kms_key.data.enable_key_rotation && alltrue([for key in aws_kms_key.signing : key.key_usage == "SIGN_VERIFY" && key.customer_master_key_spec == "RSA_2048"])
    error_message = "The data key must rotate, and signing keys be RSA for RS256."
  }

  # Nobody of another account; and the account can always change it.
  assert {
    condition = alltrue([
      for key in concat(values(aws_kms_key.signing), [aws_kms_key.data]) :
      [for statement in jsondecode(key.policy).Statement : statement.Principal] == [{ AWS = "arn:aws:iam::123456789012:root" }]
    ])
    error_message = "Only this account may use a key."
  }

  assert {
    condition     = aws_s3_bucket_ownership_controls.main.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "The bucket must not use access control lists."
  }

  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.main.rule : rule.filter[0].prefix => rule.expiration[0].days if length(rule.expiration) > 0 } == { "inputs/" = 8, "results/" = 8, "uploads/" = 16 }
    error_message = "Inputs and results must live for 8 days, and uploads for 16."
  }

  assert {
    condition     = alltrue([for table in [aws_dynamodb_table.jobs, aws_dynamodb_table.clients] : table.point_in_time_recovery[0].enabled && table.deletion_protection_enabled])
    error_message = "Tables must have point-in-time recovery and deletion protection."
  }

  assert {
    condition     = alltrue([for table in [aws_dynamodb_table.jobs, aws_dynamodb_table.clients] : table.billing_mode == "PAY_PER_REQUEST"])
    error_message = "Tables must be paid by request."
  }

  assert {
    condition     = [aws_dynamodb_table.jobs.hash_key, aws_dynamodb_table.jobs.range_key, aws_dynamodb_table.clients.hash_key] == ["id", "part", "client_id"]
    error_message = "Jobs must be keyed by id and part, clients by client_id."
  }

  assert {
    condition     = aws_dynamodb_table.jobs.ttl[0].attribute_name == "expires_at" && aws_dynamodb_table.jobs.ttl[0].enabled
    error_message = "Jobs must expire."
  }

  assert {
    condition = { for index in aws_dynamodb_table.jobs.global_secondary_index : index.name => [index.hash_key, index.range_key, index.projection_type] } == {
      by_client = ["client_id", "id", "KEYS_ONLY"]
      open      = ["open_client", "id", "KEYS_ONLY"]
      checks    = ["check_partition", "next_check_at", "KEYS_ONLY"]
    }
    error_message = "The indexes must be by_client, open and checks, and project keys only."
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.main.block_public_acls, aws_s3_bucket_public_access_block.main.block_public_policy,
      aws_s3_bucket_public_access_block.main.ignore_public_acls, aws_s3_bucket_public_access_block.main.restrict_public_buckets,
    ])
    error_message = "Nothing in the bucket may become public."
  }

  assert {
    condition     = length(aws_s3_bucket_policy.main) == 1 && [for statement in jsondecode(aws_s3_bucket_policy.main[0].policy).Statement : [statement.Effect, statement.Condition]] == [["Deny", { Bool = { "aws:SecureTransport" = "false" } }]]
    error_message = "The bucket must refuse plain HTTP."
  }

  assert {
    condition = toset([
      for rule in aws_s3_bucket_lifecycle_configuration.main.rule : rule.filter[0].prefix if length(rule.expiration) > 0
    ]) == toset(["inputs/", "results/", "uploads/"])
    error_message = "Inputs, results and uploads must expire, and nothing else."
  }
}

run "local_cloud_differs_where_it_must" {
  command = plan

  variables {
    environment = "local"
  }

  assert {
    condition     = aws_s3_bucket.main.force_destroy && !aws_dynamodb_table.jobs.deletion_protection_enabled
    error_message = "The local cloud's resources must be deletable."
  }
}
