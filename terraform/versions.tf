terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  # The local cloud answers on one host name, so buckets are in the path.
  s3_use_path_style = local.is_local

  default_tags {
    tags = merge({ project = "samovar", environment = var.environment }, var.tags)
  }
}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}
