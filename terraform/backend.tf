# The state's bucket and key are given at `terraform init -backend-config=…`; see docs/deploy.md.
terraform {
  backend "s3" {}
}
