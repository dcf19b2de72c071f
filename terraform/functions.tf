locals {
  # Each block: exactly the fields of the function's settings model in shared/settings.py.
  auth_settings = {
    PUBLIC_URL               = local.public_url
    PUBLIC_KEYS              = jsonencode(local.public_keys)
    SIGNING_KEY_ARN          = aws_kms_key.signing[var.signing_key].arn
    SIGNING_KEY_ID           = var.signing_key
    CLIENTS_TABLE            = aws_dynamodb_table.clients.name
    JOBS_TABLE               = aws_dynamodb_table.jobs.name
    WORKER_ALIAS_ARN         = module.worker.alias_arn
    WORKER_VERSION           = module.worker.version
    WARM_UP_ENVIRONMENTS     = tostring(var.warming.on_token.environments)
    WARM_UP_COOLDOWN_SECONDS = tostring(var.warming.on_token.cooldown_seconds)
  }

  submit_settings = {
    PUBLIC_URL              = local.public_url
    PUBLIC_KEYS             = jsonencode(local.public_keys)
    CLIENTS_TABLE           = aws_dynamodb_table.clients.name
    JOBS_TABLE              = aws_dynamodb_table.jobs.name
    BUCKET                  = aws_s3_bucket.main.id
    LIMITS                  = jsonencode(var.limits)
    WAITS_FOR_WARMING       = tostring(var.warming.provisioned == null && var.warming.fleet == null)
    WORKER_VERSION          = module.worker.version
    JOBS_QUEUE_URL          = aws_sqs_queue.lane["jobs"].id
    SOLO_QUEUE_URL          = aws_sqs_queue.lane["solo"].id
    WEBHOOKS_QUEUE_URL      = aws_sqs_queue.webhooks.id
    ALLOW_LOOPBACK_WEBHOOKS = tostring(var.allow_loopback_webhooks)
    MODEL_NAME              = local.model.name
    MODEL_VERSION           = local.model.version
  }

  worker_settings = {
    JOBS_TABLE         = aws_dynamodb_table.jobs.name
    BUCKET             = aws_s3_bucket.main.id
    JOBS_QUEUE_URL     = aws_sqs_queue.lane["jobs"].id
    SOLO_QUEUE_URL     = aws_sqs_queue.lane["solo"].id
    WEBHOOKS_QUEUE_URL = aws_sqs_queue.webhooks.id
    MODEL_NAME         = local.model.name
    MODEL_VERSION      = local.model.version
    MODEL_KEY          = aws_s3_object.model.key
    MODEL_SHA256       = local.model.sha256
    MODEL_SIZE         = tostring(local.model.size)
  }

  webhook_settings = {
    PUBLIC_URL              = local.public_url
    JOBS_TABLE              = aws_dynamodb_table.jobs.name
    CLIENTS_TABLE           = aws_dynamodb_table.clients.name
    WEBHOOKS_QUEUE_URL      = aws_sqs_queue.webhooks.id
    WEBHOOK_DELAYS_SECONDS  = jsonencode(var.webhook_delays_seconds)
    ALLOW_LOOPBACK_WEBHOOKS = tostring(var.allow_loopback_webhooks)
  }

  janitor_settings = {
    JOBS_TABLE                     = aws_dynamodb_table.jobs.name
    BUCKET                         = aws_s3_bucket.main.id
    JOBS_QUEUE_URL                 = aws_sqs_queue.lane["jobs"].id
    SOLO_QUEUE_URL                 = aws_sqs_queue.lane["solo"].id
    WEBHOOKS_QUEUE_URL             = aws_sqs_queue.webhooks.id
    WORKER_ALIAS_ARN               = module.worker.alias_arn
    WORKER_VERSION                 = module.worker.version
    JOBS_DEAD_LETTER_QUEUE_URL     = aws_sqs_queue.dead_letter["jobs"].id
    SOLO_DEAD_LETTER_QUEUE_URL     = aws_sqs_queue.dead_letter["solo"].id
    WEBHOOKS_DEAD_LETTER_QUEUE_URL = aws_sqs_queue.webhooks_dead_letter.id
  }

  # /tmp: the artifact and what is unpacked from it, with some room; then the biggest result, twice, while it is merged.
  # SnapStart allows 512 MB.
  worker_storage_mb = var.warming.snapstart ? 512 : ceil(local.model.size * 2.5 / 1048576) + 1024

  # All of them, for what is said about each.
  functions = {
    auth    = module.auth
    janitor = module.janitor
    submit  = module.submit
    webhook = module.webhook
    worker  = module.worker
  }
  function_policies = { for name, function in local.functions : name => function.policy }
  log_retentions    = { for name, function in local.functions : name => function.log_retention_days }

  code = {
    for name, entry in local.manifest.functions :
    name => { key = aws_s3_object.artifact[name].key, sha256_base64 = filebase64sha256("${var.artifacts}/${entry.file}") }
  }

  # Of the function, and of the machines of a fleet.
  worker_statements = [
    {
      Sid      = "Jobs"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
      Resource = [local.jobs_table_arn]
    },
    {
      Sid      = "Lanes"
      Effect   = "Allow"
      Action   = concat(local.delete_messages, ["sqs:ReceiveMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"])
      Resource = local.lane_arns
    },
    {
      Sid      = "QueueShards"
      Effect   = "Allow"
      Action   = local.send_messages
      Resource = [aws_sqs_queue.lane["solo"].arn]
    },
    local.announce,
    {
      Sid      = "ReadModelAndInputs"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = [for prefix in ["models", "inputs", "uploads"] : "${aws_s3_bucket.main.arn}/${prefix}/*"]
    },
    {
      # Results, and the outcomes of shards that become one.
      Sid      = "Results"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject"]
      Resource = ["${aws_s3_bucket.main.arn}/results/*"]
    },
    local.use_data_key,
  ]

  jobs_table_arn = aws_dynamodb_table.jobs.arn
  lane_arns      = [for queue in aws_sqs_queue.lane : queue.arn]

  # The end of a run is announced by whoever writes it.
  announce = {
    Sid      = "Announce"
    Effect   = "Allow"
    Action   = ["sqs:SendMessage"]
    Resource = [aws_sqs_queue.webhooks.arn]
  }

  # AWS authorizes a batch as its one call; the local cloud asks for the name of the call.
  send_messages   = ["sqs:SendMessage", "sqs:SendMessageBatch"]
  delete_messages = ["sqs:DeleteMessage", "sqs:DeleteMessageBatch"]
}

resource "aws_lambda_layer_version" "main" {
  for_each = local.manifest.layers

  layer_name               = "${local.prefix}-${each.key}"
  s3_bucket                = aws_s3_bucket.main.id
  s3_key                   = aws_s3_object.artifact["layer-${each.key}"].key
  source_code_hash         = filebase64sha256("${var.artifacts}/${each.value.file}")
  compatible_runtimes      = [var.runtime]
  compatible_architectures = [var.architecture]
  skip_destroy             = true # older versions of the functions go on with it

  lifecycle {
    precondition {
      condition     = local.manifest.runtime == var.runtime && local.manifest.architecture == var.architecture
      error_message = "The artifacts were built for ${local.manifest.runtime} on ${local.manifest.architecture}, not for ${var.runtime} on ${var.architecture}: run `make package` with RUNTIME and ARCHITECTURE."
    }
  }
}

module "auth" {
  source = "./modules/function"

  name               = "auth"
  prefix             = local.prefix
  runtime            = var.runtime
  architecture       = var.architecture
  memory_mb          = 512
  timeout_seconds    = 10
  bucket             = aws_s3_bucket.main.id
  artifact           = local.code.auth
  layers             = [aws_lambda_layer_version.main["api"].arn]
  environment        = merge(local.powertools, local.auth_settings)
  log_retention_days = var.log_retention_days

  statements = [
    {
      Sid      = "ReadClients"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem"]
      Resource = [aws_dynamodb_table.clients.arn]
    },
    {
      # Of the table `jobs` only the warm-up rounds.
      Sid       = "WarmUpRounds"
      Effect    = "Allow"
      Action    = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
      Resource  = [local.jobs_table_arn]
      Condition = { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["warmup#*"] } }
    },
    {
      # Every published key: this policy changes before the function does, and until then it signs with the former key.
      Sid      = "SignTokens"
      Effect   = "Allow"
      Action   = ["kms:Sign"]
      Resource = [for key in aws_kms_key.signing : key.arn]
    },
    {
      Sid      = "WarmUpWorker"
      Effect   = "Allow"
      Action   = ["lambda:InvokeFunction"]
      Resource = [module.worker.alias_arn]
    },
    local.use_data_key,
  ]
}

module "submit" {
  source = "./modules/function"

  name               = "submit"
  prefix             = local.prefix
  runtime            = var.runtime
  architecture       = var.architecture
  memory_mb          = 512
  timeout_seconds    = 29
  bucket             = aws_s3_bucket.main.id
  artifact           = local.code.submit
  layers             = [aws_lambda_layer_version.main["api"].arn]
  environment        = merge(local.powertools, local.submit_settings)
  log_retention_days = var.log_retention_days

  statements = [
    {
      Sid      = "Jobs"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:BatchWriteItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query"]
      Resource = [local.jobs_table_arn]
    },
    {
      Sid      = "ListJobs"
      Effect   = "Allow"
      Action   = ["dynamodb:Query"]
      Resource = ["${local.jobs_table_arn}/index/by_client", "${local.jobs_table_arn}/index/open"]
    },
    {
      Sid      = "ReadClients"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem"]
      Resource = [aws_dynamodb_table.clients.arn]
    },
    {
      Sid      = "QueueJobs"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = local.lane_arns
    },
    local.announce,
    {
      Sid      = "StoreInputs"
      Effect   = "Allow"
      Action   = ["s3:PutObject"]
      Resource = ["${aws_s3_bucket.main.arn}/inputs/*"]
    },
    {
      # By the URLs that it signs; and to pin what was uploaded.
      Sid      = "Uploads"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject"]
      Resource = ["${aws_s3_bucket.main.arn}/uploads/*"]
    },
    {
      Sid      = "ReadResults"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["${aws_s3_bucket.main.arn}/results/*"]
    },
    {
      Sid      = "PurgeDeletedJobs"
      Effect   = "Allow"
      Action   = ["s3:DeleteObject"]
      Resource = [for prefix in ["inputs", "uploads", "results"] : "${aws_s3_bucket.main.arn}/${prefix}/*"]
    },
    {
      Sid       = "FindWhatToPurge"
      Effect    = "Allow"
      Action    = ["s3:ListBucket"]
      Resource  = [aws_s3_bucket.main.arn]
      Condition = { StringLike = { "s3:prefix" = ["inputs/*", "uploads/*", "results/*"] } }
    },
    local.use_data_key,
  ]
}

module "worker" {
  source = "./modules/function"

  name               = "worker"
  prefix             = local.prefix
  runtime            = var.runtime
  architecture       = var.architecture
  memory_mb          = var.worker_memory_mb
  timeout_seconds    = local.worker_timeout_seconds
  storage_mb         = local.worker_storage_mb
  snapstart          = var.warming.snapstart
  bucket             = aws_s3_bucket.main.id
  artifact           = local.code.worker
  layers             = [aws_lambda_layer_version.main["worker"].arn]
  environment        = merge(local.powertools, local.worker_settings, { OMP_NUM_THREADS = "1" }) # more threads cost 13 %
  log_retention_days = var.log_retention_days

  statements = local.worker_statements
}

# Memory: 128 MB would hold it, as it takes 62 MB whatever a receiver answers. But CPU goes with memory, and a first
# delivery takes 0.3 s of a core: 4 s there, 2 s with twice as much. More would be paid for in vain while it waits.
module "webhook" {
  source = "./modules/function"

  name               = "webhook"
  prefix             = local.prefix
  runtime            = var.runtime
  architecture       = var.architecture
  memory_mb          = 256
  timeout_seconds    = local.webhook_timeout_seconds
  bucket             = aws_s3_bucket.main.id
  artifact           = local.code.webhook
  layers             = [aws_lambda_layer_version.main["api"].arn]
  environment        = merge(local.powertools, local.webhook_settings)
  log_retention_days = var.log_retention_days

  statements = [
    {
      # Deliveries, and the job whose end they announce.
      Sid      = "Deliveries"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
      Resource = [local.jobs_table_arn]
    },
    {
      Sid      = "ReadClients"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem"]
      Resource = [aws_dynamodb_table.clients.arn]
    },
    {
      Sid      = "OpenSigningSecrets"
      Effect   = "Allow"
      Action   = ["kms:Decrypt"]
      Resource = [aws_kms_key.webhook_secrets.arn]
    },
    {
      Sid      = "Queue"
      Effect   = "Allow"
      Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
      Resource = [aws_sqs_queue.webhooks.arn]
    },
    local.announce, # the next attempt, when it is wanted soon
    local.use_data_key,
  ]
}

module "janitor" {
  source = "./modules/function"

  name               = "janitor"
  prefix             = local.prefix
  runtime            = var.runtime
  architecture       = var.architecture
  memory_mb          = 512
  timeout_seconds    = 55 # a tick is over before the next begins
  bucket             = aws_s3_bucket.main.id
  artifact           = local.code.janitor
  layers             = [aws_lambda_layer_version.main["api"].arn]
  environment        = merge(local.powertools, local.janitor_settings)
  log_retention_days = var.log_retention_days

  statements = [
    {
      Sid      = "Jobs"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:UpdateItem"]
      Resource = [local.jobs_table_arn]
    },
    {
      Sid      = "WhatIsDue"
      Effect   = "Allow"
      Action   = ["dynamodb:Query"]
      Resource = ["${local.jobs_table_arn}/index/due"]
    },
    {
      Sid      = "QueueAgain"
      Effect   = "Allow"
      Action   = concat(local.send_messages, ["sqs:GetQueueAttributes"])
      Resource = local.lane_arns
    },
    {
      Sid      = "WarmUpWorker"
      Effect   = "Allow"
      Action   = ["lambda:InvokeFunction"]
      Resource = [module.worker.alias_arn]
    },
    {
      Sid      = "DrainDeadLetters"
      Effect   = "Allow"
      Action   = concat(local.delete_messages, ["sqs:ReceiveMessage"])
      Resource = concat([for queue in aws_sqs_queue.dead_letter : queue.arn], [aws_sqs_queue.webhooks_dead_letter.arn])
    },
    local.announce,
    local.use_data_key,
  ]
}

# Shards: the worker queues them to itself through `solo`. Lambda would drop such a chain after 16 hops; ours ends
# by itself, because a shard queues nothing and a job has a limited number of attempts.
resource "aws_lambda_function_recursion_config" "worker" {
  function_name  = module.worker.function_name
  recursive_loop = "Allow"
}

# A tick is repeated by the next one, not by Lambda; the same for a ping, by the next token.
resource "aws_lambda_function_event_invoke_config" "janitor" {
  function_name                = module.janitor.function_name
  qualifier                    = module.janitor.alias_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 60
}

resource "aws_lambda_function_event_invoke_config" "worker" {
  function_name                = module.worker.function_name
  qualifier                    = module.worker.alias_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 60
}
