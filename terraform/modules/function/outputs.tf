output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.main.function_name
}

output "alias_name" {
  description = "Name of the alias that is called."
  value       = aws_lambda_alias.live.name
}

output "alias_arn" {
  description = "ARN of the alias that is called."
  value       = aws_lambda_alias.live.arn
}

output "invoke_arn" {
  description = "ARN by which API Gateway calls the alias."
  value       = aws_lambda_alias.live.invoke_arn
}

output "version" {
  description = "The published version behind the alias."
  value       = aws_lambda_function.main.version
}

output "log_group" {
  description = "Name of the log group."
  value       = aws_cloudwatch_log_group.main.name
}

output "policy" {
  description = "The function's policy as JSON."
  value       = aws_iam_role_policy.main.policy
}

output "timeout_seconds" {
  description = "Time-out of an invocation in seconds."
  value       = aws_lambda_function.main.timeout
}

output "log_retention_days" {
  description = "Days for which CloudWatch Logs keeps the logs."
  value       = aws_cloudwatch_log_group.main.retention_in_days
}

output "settings" {
  description = "Environment variables, without those of Powertools and OpenBLAS."
  value       = { for name, value in aws_lambda_function.main.environment[0].variables : name => value if !startswith(name, "POWERTOOLS_") && name != "OMP_NUM_THREADS" }
}

output "publishes" {
  description = "Says whether each change publishes a version."
  value       = aws_lambda_function.main.publish
}

output "snapstart" {
  description = "Versions that have snapshots: PublishedVersions or None."
  value       = try(aws_lambda_function.main.snap_start[0].apply_on, "None")
}

output "storage_mb" {
  description = "Size of /tmp in MB."
  value       = aws_lambda_function.main.ephemeral_storage[0].size
}
