variable "name" {
  type        = string
  description = "The function's short name, which is also its package below functions/."
}

variable "prefix" {
  type        = string
  description = "What every name of the deployment begins with."
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
  description = "Memory; the CPU is in proportion."
}

variable "timeout_seconds" {
  type        = number
  description = "The longest an invoke may take."
}

variable "storage_mb" {
  type        = number
  description = "Size of /tmp."
  default     = 512
}

variable "snapstart" {
  type        = bool
  description = "Whether environments begin from a snapshot of an initialised one."
  default     = false
}

variable "bucket" {
  type        = string
  description = "Bucket with the code."
}

variable "artifact" {
  type        = object({ key = string, sha256_base64 = string })
  description = "The code's object in the bucket, and its SHA-256 as Lambda writes it."
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
  description = "What the function may do: IAM statements, each with Sid, Effect, Action, Resource, and a Condition where one is needed."
}

variable "log_retention_days" {
  type        = number
  description = "Days that logs are kept."
}
