locals {
  # Each block has exactly the fields of the function's settings model in shared/settings.py.
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
    ASSIGN_JOBS_TO_WARM_UPS = tostring(var.warming.provisioned == null && var.warming.fleet == null)
    WORKER_VERSION          = module.worker.version
    JOBS_QUEUE_URL          = aws_sqs_queue.worker["jobs"].id
    ISOLATED_QUEUE_URL      = aws_sqs_queue.worker["isolated"].id
    WEBHOOKS_QUEUE_URL      = aws_sqs_queue.webhooks.id
    ALLOW_LOOPBACK_WEBHOOKS = tostring(var.allow_loopback_webhooks)
    MODEL_NAME              = local.model.name
    MODEL_VERSION           = local.model.version
  }

  worker_settings = {
    JOBS_TABLE         = aws_dynamodb_table.jobs.name
    BUCKET             = aws_s3_bucket.main.id
    JOBS_QUEUE_URL     = aws_sqs_queue.worker["jobs"].id
    ISOLATED_QUEUE_URL = aws_sqs_queue.worker["isolated"].id
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
    JOBS_QUEUE_URL                 = aws_sqs_queue.worker["jobs"].id
    ISOLATED_QUEUE_URL             = aws_sqs_queue.worker["isolated"].id
    WEBHOOKS_QUEUE_URL             = aws_sqs_queue.webhooks.id
    WORKER_ALIAS_ARN               = module.worker.alias_arn
    WORKER_VERSION                 = module.worker.version
    JOBS_DEAD_LETTER_QUEUE_URL     = aws_sqs_queue.dead_letter["jobs"].id
    ISOLATED_DEAD_LETTER_QUEUE_URL = aws_sqs_queue.dead_letter["isolated"].id
    WEBHOOKS_DEAD_LETTER_QUEUE_URL = aws_sqs_queue.webhooks_dead_letter.id
  }

  # /tmp holds the unpacked model, with some room, and the biggest result twice while it is merged.
  # SnapStart allows 512 MB.
  worker_storage_mb = var.warming.snapstart ? 512 : ceil(local.model.size * 2.5 / 1048576) + 1024

  # All functions.
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

  # Permissions of the function `worker` and of the machines of the fleet.
  worker_statements = [
    {
      Sid      = "Jobs"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
      Resource = [local.jobs_table_arn]
    },
    {
      Sid      = "ReceiveJobs"
      Effect   = "Allow"
      Action   = concat(local.delete_messages, ["sqs:ReceiveMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"])
      Resource = local.worker_queue_arns
    },
    {
      Sid      = "QueueShards"
      Effect   = "Allow"
      Action   = local.send_messages
      Resource = [aws_sqs_queue.worker["isolated"].arn]
    },
    local.notify,
    {
      Sid      = "ReadModelAndInputs"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = [for prefix in ["models", "inputs", "uploads"] : "${aws_s3_bucket.main.arn}/${prefix}/*"]
    },
    {
      # Results, and the outcomes of shards.
      Sid      = "Results"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject"]
      Resource = ["${aws_s3_bucket.main.arn}/results/*"]
    },
    local.use_data_key,
  ]

  jobs_table_arn    = aws_dynamodb_table.jobs.arn
  worker_queue_arns = [for queue in aws_sqs_queue.worker : queue.arn]

  # The function that ends a run also sends the webhook message.
  notify = {
    Sid      = "NotifyWebhooks"
    Effect   = "Allow"
    Action   = ["sqs:SendMessage"]
    Resource = [aws_sqs_queue.webhooks.arn]
  }

  # AWS authorizes a batch by the name of the single call.
  send_messages   = concat(["sqs:SendMessage"], lookup(var.emulator_actions, "sqs:SendMessage", []))
  delete_messages = concat(["sqs:DeleteMessage"], lookup(var.emulator_actions, "sqs:DeleteMessage", []))
}

resource "aws_lambda_layer_version" "main" {
  for_each = local.manifest.layers

  layer_name               = "${local.prefix}-${each.key}"
  s3_bucket                = aws_s3_bucket.main.id
  s3_key                   = aws_s3_object.artifact["layer-${each.key}"].key
  source_code_hash         = filebase64sha256("${var.artifacts}/${each.value.file}")
  compatible_runtimes      = [var.runtime]
  compatible_architectures = [var.architecture]
  skip_destroy             = true # older versions of the functions use it

  lifecycle {
    precondition {
      condition     = local.manifest.runtime == var.runtime && local.manifest.architecture == var.architecture
      error_message = "The artifacts were built for ${local.manifest.runtime} on ${local.manifest.architecture}, not for ${var.runtime} on ${var.architecture}. Run `make package` with RUNTIME and ARCHITECTURE."
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
      # Only the warm-ups in the table `jobs`.
      Sid       = "WarmUps"
      Effect    = "Allow"
      Action    = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
      Resource  = [local.jobs_table_arn]
      Condition = { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["warmup#*"] } }
    },
    {
      # Every published key, because Terraform updates this policy before the function switches to another key.
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
      Resource = local.worker_queue_arns
    },
    local.notify,
    {
      Sid      = "Inputs"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject"]
      Resource = ["${aws_s3_bucket.main.arn}/inputs/*"]
    },
    {
      # For the presigned URLs, and to pin the uploaded object.
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
      Resource = [for prefix in ["inputs", "results"] : "${aws_s3_bucket.main.arn}/${prefix}/*"]
    },
    {
      Sid       = "ListObjectsToPurge"
      Effect    = "Allow"
      Action    = ["s3:ListBucket"]
      Resource  = [aws_s3_bucket.main.arn]
      Condition = { StringLike = { "s3:prefix" = ["inputs/*", "results/*"] } }
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
  environment        = merge(local.powertools, local.worker_settings, { OMP_NUM_THREADS = "1" }) # more threads are 13 % slower
  log_retention_days = var.log_retention_days

  statements = local.worker_statements
}

# The function uses at most 62 MB, so 128 MB would suffice. But CPU is proportional to memory, and a first delivery needs
# 0.3 s of a core: it takes 4 s with 128 MB and 2 s with 256 MB. More memory would be wasted while the function waits.
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
      # Deliveries, and their jobs.
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
      Sid      = "DecryptSigningSecrets"
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
    local.notify, # sends the message for an attempt that follows soon
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
  timeout_seconds    = 55 # a tick ends before the next one begins
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
      Sid      = "ListChecks"
      Effect   = "Allow"
      Action   = ["dynamodb:Query"]
      Resource = ["${local.jobs_table_arn}/index/checks"]
    },
    {
      Sid      = "ResendJobs"
      Effect   = "Allow"
      Action   = concat(local.send_messages, ["sqs:GetQueueAttributes"])
      Resource = local.worker_queue_arns
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
    local.notify,
    local.use_data_key,
  ]
}

# The worker sends shards to itself through the queue `isolated`. Lambda's recursion detection would drop such a chain
# after 16 hops. This chain is bounded: a shard sends no messages, and a job has a limited number of attempts.
resource "aws_lambda_function_recursion_config" "worker" {
  function_name  = module.worker.function_name
  recursive_loop = "Allow"
}

# Lambda does not repeat a failed tick or ping: the next tick, or the next token, does the same work.
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
