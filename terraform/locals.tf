locals {
  prefix   = "samovar-${var.environment}"
  is_local = var.environment == "local"

  # The artifacts to upload.
  manifest = jsondecode(file("${var.artifacts}/manifest.json"))
  model    = local.manifest.model

  public_url  = coalesce(var.public_url, aws_apigatewayv2_api.http.api_endpoint)
  public_keys = { for name, key in data.aws_kms_public_key.signing : name => key.public_key }

  # Settings of every function.
  powertools = { POWERTOOLS_LOG_LEVEL = "INFO" }
}
