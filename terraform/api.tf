locals {
  # Every route, and the function that answers. `$default` makes 404 and 405 ours too.
  routes = {
    "POST /oauth/token"                           = "auth"
    "GET /.well-known/jwks.json"                  = "auth"
    "GET /.well-known/oauth-authorization-server" = "auth"
    "POST /analyze"                               = "submit"
    "POST /uploads"                               = "submit"
    "GET /jobs"                                   = "submit"
    "GET /jobs/{id}"                              = "submit"
    "DELETE /jobs/{id}"                           = "submit"
    "POST /jobs/{id}/cancel"                      = "submit"
    "POST /jobs/{id}/retry"                       = "submit"
    "GET /health"                                 = "submit"
    "GET /openapi.json"                           = "submit"
    "GET /jobs/{id}/deliveries"                   = "submit"
    "POST /jobs/{id}/deliveries"                  = "submit"
    "$default"                                    = "submit"
  }

  route_throttles = { for route in keys(local.routes) : route => route == "POST /oauth/token" ? var.token_throttle : var.throttle }

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

# Tokens are verified in the function, not here; ARCHITECTURE.md says why.
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
