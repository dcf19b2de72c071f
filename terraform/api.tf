locals {
  # The function and the throttle of every route. `python -m local.routes` makes the file from the functions' tables.
  # The route `$default` takes all other requests, so that the API itself answers 404 and 405.
  route_table = jsondecode(file("${path.module}/routes.json"))

  routes = { for route, entry in local.route_table : route => entry.function }

  throttles       = { default = var.throttle, token = var.token_throttle }
  route_throttles = { for route, entry in local.route_table : route => local.throttles[entry.throttle] }

  api_functions = { auth = module.auth, submit = module.submit }
}

resource "aws_apigatewayv2_api" "http" {
  name          = "${local.prefix}-api"
  description   = "Samovar, ${var.environment}"
  protocol_type = "HTTP"
}

resource "aws_apigatewayv2_integration" "function" {
  for_each = local.api_functions

  api_id                 = aws_apigatewayv2_api.http.id
  integration_type       = "AWS_PROXY"
  integration_uri        = each.value.invoke_arn
  payload_format_version = "2.0"
}

# The functions verify tokens, not the gateway. docs/adr/0010 gives the reason.
resource "aws_apigatewayv2_route" "route" {
  for_each = local.routes

  api_id    = aws_apigatewayv2_api.http.id
  route_key = each.key
  target    = "integrations/${aws_apigatewayv2_integration.function[each.value].id}"
}

resource "aws_apigatewayv2_stage" "default" {
  api_id      = aws_apigatewayv2_api.http.id
  name        = "$default"
  auto_deploy = true

  default_route_settings {
    throttling_rate_limit  = var.throttle.rate
    throttling_burst_limit = var.throttle.burst
  }

  # A block without both numbers would set them to 0.
  dynamic "route_settings" {
    for_each = local.route_throttles

    content {
      route_key              = route_settings.key
      throttling_rate_limit  = route_settings.value.rate
      throttling_burst_limit = route_settings.value.burst
    }
  }

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.api.arn
    format = jsonencode({
      time        = "$context.requestTime"
      request_id  = "$context.requestId"
      ip          = "$context.identity.sourceIp"
      route       = "$context.routeKey"
      path        = "$context.path"
      status      = "$context.status"
      latency_ms  = "$context.responseLatency"
      function_ms = "$context.integrationLatency"
      bytes       = "$context.responseLength"
      error       = "$context.error.message"
    })
  }

  depends_on = [aws_apigatewayv2_route.route]
}

resource "aws_cloudwatch_log_group" "api" {
  name              = "/aws/apigateway/${local.prefix}"
  retention_in_days = var.log_retention_days
}

resource "aws_lambda_permission" "api" {
  for_each = local.api_functions

  statement_id  = "HttpApi"
  action        = "lambda:InvokeFunction"
  function_name = each.value.function_name
  qualifier     = each.value.alias_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.http.execution_arn}/*/*"
}
