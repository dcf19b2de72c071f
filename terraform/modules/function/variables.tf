variable "name" {
  type        = string
  description = "Short name of the function. It is also the name of its package in functions/."
}

variable "prefix" {
  type        = string
  description = "Prefix of every name in the deployment."
}

variable "runtime" {
  type        = string
  description = "Lambda runtime."
}

variable "architecture" {
  type        = string
  description = "Instruction set, x86_64 or arm64."
}

variable "memory_mb" {
  type        = number
  description = "Memory in MB. CPU is proportional to it."
}

variable "timeout_seconds" {
  type        = number
  description = "Time-out of an invocation in seconds."
}

variable "storage_mb" {
  type        = number
  description = "Size of /tmp in MB."
  default     = 512
}

variable "snapstart" {
  type        = bool
  description = "Says whether environments start from a snapshot (SnapStart)."
  default     = false
}

variable "bucket" {
  type        = string
  description = "Bucket with the code."
}

variable "artifact" {
  type        = object({ key = string, sha256_base64 = string })
  description = "S3 key of the code, and its SHA-256 in base64."
}

variable "layers" {
  type        = list(string)
  description = "ARNs of layer versions."
}

variable "environment" {
  type        = map(string)
  description = "Environment variables."
}

variable "statements" {
  type        = any
  description = "IAM statements of the function's policy, each with Sid, Effect, Action, Resource and, if needed, Condition."
}

variable "log_retention_days" {
  type        = number
  description = "Days for which CloudWatch Logs keeps the logs."
}
