output "api_url" {
  description = "URL of the API. It is also the issuer and the audience of the tokens."
  value       = local.public_url
}

output "region" {
  description = "Region of the deployment."
  value       = data.aws_region.current.name
}

output "jobs_table" {
  description = "Table of jobs."
  value       = aws_dynamodb_table.jobs.name
}

output "clients_table" {
  description = "Table of clients."
  value       = aws_dynamodb_table.clients.name
}

output "bucket" {
  description = "Bucket of artifacts, inputs and results."
  value       = aws_s3_bucket.main.id
}

output "queue_urls" {
  description = "URLs of the queues by name: `jobs`, `isolated` and `webhooks`."
  value       = merge({ for name, queue in aws_sqs_queue.worker : name => queue.id }, { webhooks = aws_sqs_queue.webhooks.id })
}

output "dead_letter_queue_urls" {
  description = "URLs of the dead-letter queues, by the name of the queue that they belong to."
  value       = merge({ for name, queue in aws_sqs_queue.dead_letter : name => queue.id }, { webhooks = aws_sqs_queue.webhooks_dead_letter.id })
}

output "worker_alias_arn" {
  description = "The worker's alias `live`."
  value       = module.worker.alias_arn
}

output "signing_key_arns" {
  description = "ARNs of the keys that sign tokens, by name."
  value       = { for name, key in aws_kms_key.signing : name => key.arn }
}

output "data_key_arn" {
  description = "ARN of the key that encrypts data."
  value       = aws_kms_key.data.arn
}

output "webhook_secrets_key_arn" {
  description = "ARN of the key that encrypts the secrets that sign webhooks."
  value       = aws_kms_key.webhook_secrets.arn
}

output "log_groups" {
  description = "Names of the log groups by function. `api` holds the access logs."
  value       = merge({ api = aws_cloudwatch_log_group.api.name }, { for name, function in local.functions : name => function.log_group })
}

output "settings" {
  description = "Environment variables of each function."
  value       = { for name, function in local.functions : name => function.settings }
}
