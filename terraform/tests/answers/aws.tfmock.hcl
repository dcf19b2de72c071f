# Mocked answers of AWS. Resources that a test must distinguish have names of their own.

mock_resource "aws_sqs_queue" {
  defaults = { arn = "arn:aws:sqs:eu-west-2:123456789012:queue", id = "https://sqs.example/queue" }
}
mock_resource "aws_dynamodb_table" {
  defaults = { arn = "arn:aws:dynamodb:eu-west-2:123456789012:table/table" }
}
mock_resource "aws_s3_bucket" {
  defaults = { arn = "arn:aws:s3:::bucket", id = "bucket" }
}
mock_resource "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-west-2:123456789012:key/00000000-0000-4000-8000-000000000000" }
}
mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::123456789012:role/role" }
}
mock_resource "aws_cloudwatch_log_group" {
  defaults = { arn = "arn:aws:logs:eu-west-2:123456789012:log-group:group" }
}
mock_resource "aws_lambda_function" {
  defaults = { arn = "arn:aws:lambda:eu-west-2:123456789012:function:function", version = "7" }
}
mock_resource "aws_lambda_alias" {
  defaults = {
    arn        = "arn:aws:lambda:eu-west-2:123456789012:function:function:live"
    invoke_arn = "arn:aws:apigateway:eu-west-2:lambda:path/2015-03-31/functions/function:live/invocations"
  }
}
mock_resource "aws_lambda_layer_version" {
  defaults = { arn = "arn:aws:lambda:eu-west-2:123456789012:layer:layer:1" }
}
mock_resource "aws_apigatewayv2_api" {
  defaults = {
    api_endpoint  = "https://api.execute-api.eu-west-2.amazonaws.com"
    execution_arn = "arn:aws:execute-api:eu-west-2:123456789012:api"
  }
}
mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}
mock_data "aws_region" {
  defaults = { name = "eu-west-2" }
}
mock_data "aws_kms_public_key" {
  defaults = { public_key = "AAAA" }
}

override_resource {
  target = aws_sqs_queue.worker["jobs"]
  values = { arn = "arn:aws:sqs:eu-west-2:123456789012:jobs", id = "https://sqs.example/jobs" }
}
override_resource {
  target = aws_sqs_queue.worker["isolated"]
  values = { arn = "arn:aws:sqs:eu-west-2:123456789012:isolated", id = "https://sqs.example/isolated" }
}
override_resource {
  target = aws_sqs_queue.dead_letter["jobs"]
  values = { arn = "arn:aws:sqs:eu-west-2:123456789012:jobs-dead-letter", id = "https://sqs.example/jobs-dead-letter" }
}
override_resource {
  target = aws_sqs_queue.dead_letter["isolated"]
  values = { arn = "arn:aws:sqs:eu-west-2:123456789012:isolated-dead-letter", id = "https://sqs.example/isolated-dead-letter" }
}
override_resource {
  target = aws_sqs_queue.webhooks
  values = { arn = "arn:aws:sqs:eu-west-2:123456789012:webhooks", id = "https://sqs.example/webhooks" }
}
override_resource {
  target = aws_sqs_queue.webhooks_dead_letter
  values = { arn = "arn:aws:sqs:eu-west-2:123456789012:webhooks-dead-letter", id = "https://sqs.example/webhooks-dead-letter" }
}
override_resource {
  target = aws_kms_key.webhook_secrets
  values = { arn = "arn:aws:kms:eu-west-2:123456789012:key/eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee" }
}
override_resource {
  target = aws_kms_key.data
  values = { arn = "arn:aws:kms:eu-west-2:123456789012:key/dddddddd-dddd-4ddd-8ddd-dddddddddddd" }
}
override_resource {
  target = aws_kms_key.signing["k1"]
  values = { arn = "arn:aws:kms:eu-west-2:123456789012:key/11111111-1111-4111-8111-111111111111" }
}
override_resource {
  target = aws_kms_key.signing["k2"]
  values = { arn = "arn:aws:kms:eu-west-2:123456789012:key/22222222-2222-4222-8222-222222222222" }
}
override_resource {
  target = aws_dynamodb_table.clients
  values = { arn = "arn:aws:dynamodb:eu-west-2:123456789012:table/clients" }
}
override_resource {
  target = aws_apigatewayv2_integration.function["auth"]
  values = { id = "auth" }
}
override_resource {
  target = aws_apigatewayv2_integration.function["submit"]
  values = { id = "submit" }
}
override_resource {
  target = module.worker.aws_lambda_alias.live
  values = { arn = "arn:aws:lambda:eu-west-2:123456789012:function:worker:live" }
}
override_resource {
  target = module.webhook.aws_lambda_alias.live
  values = { arn = "arn:aws:lambda:eu-west-2:123456789012:function:webhook:live" }
}
override_resource {
  target = module.janitor.aws_lambda_alias.live
  values = { arn = "arn:aws:lambda:eu-west-2:123456789012:function:janitor:live" }
}
override_resource {
  target = module.auth.aws_lambda_alias.live
  values = {
    arn        = "arn:aws:lambda:eu-west-2:123456789012:function:auth:live"
    invoke_arn = "arn:aws:apigateway:eu-west-2:lambda:path/2015-03-31/functions/auth:live/invocations"
  }
}
override_resource {
  target = module.submit.aws_lambda_alias.live
  values = {
    arn        = "arn:aws:lambda:eu-west-2:123456789012:function:submit:live"
    invoke_arn = "arn:aws:apigateway:eu-west-2:lambda:path/2015-03-31/functions/submit:live/invocations"
  }
}
